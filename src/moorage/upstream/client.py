"""Other registries, asked over HTTP: the port `Registry` of `moorage.mirrors.asking`.

Source: distribution-spec v1.1.1, "Pull", "Content Discovery"; RFC 9110; see the package for what is refused.
"""

from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from moorage.mirrors.asking import BlobStream, Fetched, Quota, Shown
from moorage.mirrors.upstreams import Address
from moorage.oci.digest import Digest
from moorage.oci.names import RepositoryName


class HttpRegistry:
    """As one process asks them, in one event loop; `close` it in the end.

    `private_addresses`: networks, as 10.0.0.0/8, in which registries may be asked though they are not public.
    """

    def __init__(self, private_addresses: Iterable[str]) -> None: ...

    async def close(self) -> None:
        """Close the connections."""
        raise NotImplementedError

    async def ping(self, at: Address, timeout_s: float) -> None:
        raise NotImplementedError

    async def head_manifest(
        self, at: Address, repository: RepositoryName, reference: str, timeout_s: float
    ) -> Shown:
        raise NotImplementedError

    async def get_manifest(
        self, at: Address, repository: RepositoryName, reference: str, max_bytes: int, timeout_s: float
    ) -> Fetched:
        raise NotImplementedError

    async def head_blob(
        self, at: Address, repository: RepositoryName, digest: Digest, timeout_s: float
    ) -> int | None:
        raise NotImplementedError

    def open_blob(
        self, at: Address, repository: RepositoryName, digest: Digest, offset: int, timeout_s: float
    ) -> AbstractAsyncContextManager[BlobStream]:
        raise NotImplementedError

    async def list_tags(
        self, at: Address, repository: RepositoryName, last: str, limit: int, timeout_s: float
    ) -> list[str]:
        raise NotImplementedError

    async def list_referrers(
        self, at: Address, repository: RepositoryName, subject: Digest, timeout_s: float
    ) -> list[Mapping[str, Any]]:
        raise NotImplementedError

    def quota_of(self, at: Address) -> Quota | None:
        raise NotImplementedError
