"""Pushing to other registries, for `moorage copy` and `moorage push`.

Source: distribution-spec v1.1.1, "Push".
"""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from moorage.mirrors.upstreams import Address
from moorage.oci.digest import Digest
from moorage.oci.names import RepositoryName

OpenAt = Callable[[int], AbstractAsyncContextManager[AsyncIterator[bytes]]]
"""Opens a blob from an offset in bytes on; entered once more after each cut."""

Progress = Callable[[int], None]
"""Told how many bytes of a blob the registry has by now; it may be fewer than last time, after a cut."""


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload that a registry has begun: where it goes on (absolute), and how many bytes it has."""

    url: str
    received_bytes: int = 0


class HttpPusher:
    """As one process pushes, in one event loop; `close` it in the end.

    `private_addresses` as of `HttpRegistry`; `moorage.addresses.EVERYWHERE` for a command that a person runs.
    Each method raises an `UpstreamFailure` of `moorage.mirrors.asking`.
    """

    def __init__(self, private_addresses: Iterable[str]) -> None: ...

    async def close(self) -> None:
        """Close the connections."""
        raise NotImplementedError

    async def ping(self, at: Address, timeout_s: float) -> None:
        """Ask whether it is a registry, and whether it takes our credentials: for `moorage login`."""
        raise NotImplementedError

    async def head_blob(
        self, at: Address, repository: RepositoryName, digest: Digest, timeout_s: float
    ) -> int | None:
        """The size of a blob that is there, in bytes, None where it is not said.

        Raises NotThere too.
        """
        raise NotImplementedError

    async def mount_blob(
        self, at: Address, repository: RepositoryName, digest: Digest, source: RepositoryName, timeout_s: float
    ) -> Upload | None:
        """Have it take a blob from another of its repositories: None when it did, else an upload it began."""
        raise NotImplementedError

    async def start_upload(self, at: Address, repository: RepositoryName, timeout_s: float) -> Upload:
        """Begin an upload."""
        raise NotImplementedError

    async def find_upload(
        self, at: Address, repository: RepositoryName, upload: Upload, timeout_s: float
    ) -> Upload:
        """Where an upload stands.

        Raises NotThere when it is gone.
        """
        raise NotImplementedError

    async def append(
        self,
        at: Address,
        repository: RepositoryName,
        upload: Upload,
        pieces: AsyncIterator[bytes],
        length: int,
        on_progress: Progress | None = None,
    ) -> Upload:
        """Send the next `length` bytes in one request; the upload as it stands then."""
        raise NotImplementedError

    async def finish_upload(
        self, at: Address, repository: RepositoryName, upload: Upload, digest: Digest
    ) -> None:
        """Have it check and keep what it has; it may take minutes to."""
        raise NotImplementedError

    async def push_blob(
        self,
        at: Address,
        repository: RepositoryName,
        digest: Digest,
        size: int,
        open_at: OpenAt,
        *,
        upload: Upload | None = None,
        on_progress: Progress | None = None,
    ) -> None:
        """Send a whole blob, and go on after a cut from where the registry stands, a few times.

        `upload`: one that was begun already, as by a mount that was not to be.
        """
        raise NotImplementedError

    async def put_manifest(
        self,
        at: Address,
        repository: RepositoryName,
        reference: str,
        media_type: str,
        payload: bytes,
        timeout_s: float,
    ) -> Digest:
        """Push a manifest by tag or digest, as it is; its digest (sha256, or the one it is pushed by)."""
        raise NotImplementedError
