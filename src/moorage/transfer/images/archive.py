"""The ports to files of images: what is read from, and what is written."""

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol


class Member(NamedTuple):
    """A file in an archive: its bytes, and where it stands, for whoever reads several in their order."""

    size: int
    position: int


class Archive(Protocol):
    """Files by names such as `blobs/sha256/<hex>`. To be called from any thread, but by one at a time."""

    def find(self, name: str) -> Member | None:
        """A file of this name; None when there is none. Raises ArchiveRefused."""
        ...

    def read(self, name: str, max_bytes: int) -> bytes:
        """All of a small file. Raises ArchiveRefused: it is not there, or larger."""
        ...

    def pieces(self, name: str) -> Iterator[bytes]:
        """A file's bytes, at most 1 MiB at a time. Raises ArchiveRefused, also on the way."""
        ...


class Sink(Protocol):
    """Where an archive is written. Nothing stands under its name before `finish`."""

    def add(self, name: str, size: int, read: Callable[[int], bytes]) -> None:
        """Write a file of `size` bytes, which `read` gives, so many at a time at most. Raises OSError."""
        ...

    def finish(self) -> None:
        """Put what was written in its place, durably. Raises OSError."""
        ...

    def discard(self) -> None:
        """Forget what was written."""
        ...


class ArchiveRefused(Exception):
    """A file is no archive of images, or one that cannot be trusted; the sentence says why."""
