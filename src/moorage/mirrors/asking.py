"""The port to another registry: what a mirror asks of it, and how that can end.

`upstream/` implements it. Whatever comes is checked against its digest there, or said to be unchecked here.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from moorage.mirrors.upstreams import Address
from moorage.oci.digest import Digest
from moorage.oci.names import RepositoryName


@dataclass(frozen=True, slots=True)
class Shown:
    """What a registry says that a reference names. `size` in bytes; what it did not say is None.

    `namespace`: the registry whose content it says it is, where that is another one that it mirrors.
    """

    digest: Digest | None
    media_type: str
    size: int | None
    namespace: str | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """A manifest as it came; its bytes match `digest`, which is sha256 where none was asked for."""

    digest: Digest
    media_type: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class BlobStream:
    """A blob on its way, from the offset that was asked for. Not checked: whoever has the whole can.

    `size`: of the whole blob in bytes; None where the registry did not say.
    """

    size: int | None
    pieces: AsyncIterator[bytes]


class Registry(Protocol):
    """Other registries, each asked at its address.

    Each method raises an `UpstreamFailure`; none waits longer than `timeout_s` for its answer's head. What
    a registry says of its quota is kept for `quota_of`.
    """

    async def ping(self, at: Address, timeout_s: float) -> None:
        """Ask whether it is a registry, and what it says of our credentials."""
        ...

    async def head_manifest(
        self, at: Address, repository: RepositoryName, reference: str, timeout_s: float
    ) -> Shown:
        """What a tag or digest names."""
        ...

    async def get_manifest(
        self, at: Address, repository: RepositoryName, reference: str, max_bytes: int, timeout_s: float
    ) -> Fetched:
        """A manifest, checked: against the digest asked for, or the one that its headers name.

        All of it is here within `timeout_s`.
        """
        ...

    async def head_blob(
        self, at: Address, repository: RepositoryName, digest: Digest, timeout_s: float
    ) -> int | None:
        """The size of a blob in bytes, None where it is not said."""
        ...

    def open_blob(
        self, at: Address, repository: RepositoryName, digest: Digest, offset: int, timeout_s: float
    ) -> AbstractAsyncContextManager[BlobStream]:
        """A blob from an offset on, by Range. Reading it raises `UpstreamFailure` too, as when it is cut."""
        ...

    async def list_tags(
        self, at: Address, repository: RepositoryName, last: str, limit: int, timeout_s: float
    ) -> list[str]:
        """At most `limit` tags after one, as the registry orders them."""
        ...

    async def list_referrers(
        self, at: Address, repository: RepositoryName, subject: Digest, timeout_s: float
    ) -> list[Mapping[str, Any]]:
        """Descriptors of the manifests with this subject, a few pages at most; none where it lists none."""
        ...

    def quota_of(self, at: Address) -> "Quota | None":
        """What the registry last said of its rate limit."""
        ...


@dataclass(frozen=True, slots=True)
class Quota:
    """A registry's rate limit: how many pulls it allows, and how many are left, if it said so."""

    limit: int | None
    left: int | None


class UpstreamFailure(Exception):
    """Another registry did not give what it was asked for; the sentence is for a person."""


class NotThere(UpstreamFailure):
    """It has no such thing (404)."""


class NotAllowed(UpstreamFailure):
    """It wants other credentials (401, 403), or they may not be shown where it asks for them."""


class Unreachable(UpstreamFailure):
    """Not heard of: its name does not resolve, no answer in time, TLS fails, its address is not allowed."""


class Busy(UpstreamFailure):
    """It answered 429, or 503 with a time: to be asked again after so many seconds."""

    def __init__(self, sentence: str, retry_after_s: float) -> None:
        super().__init__(sentence)
        self.retry_after_s = retry_after_s


class Failed(UpstreamFailure):
    """It failed: 5xx, cut, too large, bytes that do not match, nothing of a registry's."""


class Unfit(Failed):
    """It answered well, but with what is of no use here, or not as what points at it says: no fault of it."""
