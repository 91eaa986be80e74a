"""What lies in the other registry's folder, and the ports to it and to our own bytes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from moorage.oci.digest import Digest

Means = Literal["hard link", "reflink", "copy"]
"""How a blob's bytes came: a second name for the same file, a copy that shares its blocks, a copy."""


class Problem(NamedTuple):
    """What cannot be brought: in which repository, what it is, and why."""

    repository: str
    what: str
    reason: str


class Tagged(NamedTuple):
    """What a tag names there, and since when in milliseconds."""

    digest: Digest
    at: int


@dataclass(frozen=True, slots=True)
class FoundRepository:
    """A repository as it lies there.

    `revisions` are its manifests with the time each came, in milliseconds; `layers` its blobs by the digests
    under which it serves them, each with the sha256 digest that the content has.
    """

    name: str
    revisions: Mapping[Digest, int]
    tags: Mapping[str, Tagged]
    layers: Mapping[Digest, Digest]
    problems: list[Problem] = field(default_factory=list)


class Source(Protocol):
    """Another registry's folder. Nothing in it is ever written to."""

    def list_repositories(self) -> list[str]:
        """The names of all repositories, in order. Raises SourceRefused."""
        ...

    def read_repository(self, name: str) -> FoundRepository:
        """What a repository holds now. What is unreadable of it is among its problems."""
        ...

    def find_size(self, digest: Digest) -> int | None:
        """The bytes of a content's file; None when there is none."""
        ...

    def read_content(self, digest: Digest, max_bytes: int) -> bytes:
        """A small content's bytes, one more than `max_bytes` at most. Raises ContentBroken."""
        ...

    def path_of(self, digest: Digest) -> Path:
        """The file in which a content is, if it is."""
        ...


class Adopted(NamedTuple):
    """A blob whose file is here now; no row says so yet. `sha512` where it was computed."""

    digest: Digest
    sha512: Digest | None
    size: int
    generation: int
    means: Means


class Adopting(Protocol):
    """Where the bytes go. Every method may be called from any thread."""

    def probe(self, source: Path) -> Means:
        """How a file like this one would come."""
        ...

    def adopt(self, source: Path, digest: Digest, generation: int, *, with_sha512: bool) -> Adopted:
        """Make a file's bytes, once they are found to be those of `digest`, a blob's file.

        Durable only after `settle`. The file itself is never written to.
        Raises ContentBroken, StorageFull, StorageFailed, StorageReadOnly.
        """
        ...

    def settle(self, digests: Iterable[Digest]) -> None:
        """Make the names of adopted blobs durable."""
        ...


class ContentBroken(Exception):
    """A content is not there, or is not what its digest says; the sentence says which."""


class SourceRefused(Exception):
    """The folder is no such registry's; the sentence says why and what to do."""
