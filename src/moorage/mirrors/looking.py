"""What an upstream has, asked before or without fetching it: a blob, a tag, its lists.

What a client asks in vain is charged to it, and believed for a while.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from moorage.clock import now_ms
from moorage.errors import BlobUnknown
from moorage.mirrors.absent import Absent
from moorage.mirrors.asking import (
    Failed,
    NotAllowed,
    NotThere,
    Registry,
    Unreachable,
    UpstreamFailure,
)
from moorage.mirrors.fetching import ASK_AGAIN_S, FETCH_S
from moorage.mirrors.lines import Lines
from moorage.mirrors.misses import Misses
from moorage.mirrors.placing import Upstreams
from moorage.mirrors.refusing import refusal_of
from moorage.mirrors.upstreams import Address, Upstream
from moorage.oci.digest import Digest
from moorage.oci.names import RepositoryName, Tag

_AT_ONCE: Final = 16
"""Whoever asks for what there is not shall not take all the connections."""

_LISTS_AT_ONCE: Final = 16
"""Lists may be long: the same holds of whoever asks for many at once."""

_TAGS: Final = "tags"


class Looks:
    """As one process asks."""

    def __init__(self, registry: Registry, upstreams: Upstreams, lines: Lines, misses: Misses) -> None:
        self._registry = registry
        self._upstreams = upstreams
        self._lines = lines
        self._misses = misses
        self._absent = Absent()
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._lists = asyncio.Semaphore(_LISTS_AT_ONCE)

    def may_ask(self, upstream: Upstream) -> bool:
        """Whether there is an address that may be asked now."""
        return not self._upstreams.is_disconnected(upstream) and bool(self._lines.usable(upstream))

    async def head(
        self, upstream: Upstream, repository: RepositoryName, digest: Digest, client: str | None = None
    ) -> int | None:
        """The size in bytes of a blob that this repository of an upstream has, None where that is not said.

        Raises BlobUnknown (404), TooManyMisses (429), UpstreamFailed (502), UpstreamUnreachable (504).
        """
        reason = self._absent.find((repository, digest))
        if reason is not None:
            raise BlobUnknown(digest=digest, reason=reason)
        self._misses.check(client, upstream.name)
        try:
            with self._misses.asking(client):
                return await self._head(upstream, repository, digest)
        except (NotThere, NotAllowed) as failure:
            reason = f"{upstream.name}: {failure}"
            self._absent.note((repository, digest), reason)
            raise BlobUnknown(digest=digest, reason=reason) from failure
        except UpstreamFailure as failure:
            raise refusal_of(upstream, failure, self._lines.describe(upstream)) from failure

    async def _head(self, upstream: Upstream, repository: RepositoryName, digest: Digest) -> int | None:
        """Raises UpstreamFailure."""
        if self._upstreams.is_disconnected(upstream):
            raise Unreachable("it was disconnected by an operator")
        first: UpstreamFailure | None = None
        for address in await self._lines.find_usable(upstream):
            asked_at = now_ms()
            try:
                async with self._slots:
                    size = await self._registry.head_blob(
                        address, upstream.remote_of(repository), digest, ASK_AGAIN_S
                    )
            except UpstreamFailure as failure:
                await self._lines.failed(upstream, address, failure, asked_at)
                if isinstance(failure, NotThere | NotAllowed) and address == upstream.address:
                    raise
                first = first or failure
            else:
                await self._lines.succeeded(upstream, address, asked_at)
                return size
        if first is None or isinstance(first, NotThere | NotAllowed):
            # that an alternative lacks it says nothing of the upstream
            raise Unreachable(self._lines.describe(upstream))
        raise first

    async def list_tags(
        self,
        upstream: Upstream,
        repository: RepositoryName,
        last: str,
        limit: int,
        client: str | None = None,
    ) -> list[str]:
        """A page of the tags that the upstream has.

        Raises TooManyMisses (429), UpstreamFailed (502), UpstreamUnreachable (504), the latter too where it
        has no such repository.
        """
        reason = self._absent.find((repository, _TAGS))
        if reason is not None:
            raise refusal_of(upstream, NotThere(reason), self._lines.describe(upstream))
        self._misses.check(client, upstream.name)
        try:
            with self._misses.asking(client):
                return await self._list_tags(upstream, repository, last, limit)
        except UpstreamFailure as failure:
            if isinstance(failure, NotThere | NotAllowed):
                self._absent.note((repository, _TAGS), str(failure))
            raise refusal_of(upstream, failure, self._lines.describe(upstream)) from failure

    async def _list_tags(
        self, upstream: Upstream, repository: RepositoryName, last: str, limit: int
    ) -> list[str]:
        """Raises UpstreamFailure."""
        address = await self._address(upstream)
        asked_at = now_ms()
        try:
            async with asyncio.timeout(FETCH_S), self._lists:
                found = await self._registry.list_tags(
                    address, upstream.remote_of(repository), last, limit, ASK_AGAIN_S
                )
        except TimeoutError as error:
            # of one list; the line may be good
            raise Unreachable(f"no list of tags came within {FETCH_S:.0f} s") from error
        except UpstreamFailure as failure:
            await self._lines.failed(upstream, address, failure, asked_at)
            raise
        await self._lines.succeeded(upstream, address, asked_at)
        return found

    async def _address(self, upstream: Upstream) -> Address:
        """Raises Unreachable."""
        if self._upstreams.is_disconnected(upstream):
            raise Unreachable("it was disconnected by an operator")
        usable = await self._lines.find_usable(upstream)
        if not usable:
            raise Unreachable("its line is open")
        return usable[0]

    async def list_referrers(
        self, upstream: Upstream, repository: RepositoryName, subject: Digest
    ) -> list[Mapping[str, Any]] | None:
        """What the upstream lists of a manifest that is here; None where it cannot be asked."""
        try:
            return await self._list_referrers(upstream, repository, subject)
        except UpstreamFailure:
            return None

    async def list_referrers_of_unknown(
        self, upstream: Upstream, repository: RepositoryName, subject: Digest, client: str | None
    ) -> list[Mapping[str, Any]] | None:
        """The same of a manifest that is not here: that there are none is what it says of made-up ones too.

        Raises TooManyMisses (429).
        """
        key = repository, f"referrers/{subject}"
        if self._absent.find(key) is not None:
            return []
        self._misses.check(client, upstream.name)
        try:
            with self._misses.asking(client):
                return await self._list_some_referrers(upstream, repository, subject)
        except (NotThere, NotAllowed) as failure:
            self._absent.note(key, str(failure))
            return []
        except UpstreamFailure:
            return None

    async def _list_some_referrers(
        self, upstream: Upstream, repository: RepositoryName, subject: Digest
    ) -> list[Mapping[str, Any]]:
        """Raises UpstreamFailure: NotThere, where there are none."""
        found = await self._list_referrers(upstream, repository, subject)
        if not found:
            raise NotThere(f"it lists no referrers of {subject}")
        return found

    async def _list_referrers(
        self, upstream: Upstream, repository: RepositoryName, subject: Digest
    ) -> list[Mapping[str, Any]]:
        """Raises UpstreamFailure."""
        address = await self._address(upstream)
        asked_at = now_ms()
        try:
            async with self._lists:
                found = await self._registry.list_referrers(
                    address, upstream.remote_of(repository), subject, ASK_AGAIN_S
                )
        except UpstreamFailure as failure:
            # not every registry knows of referrers: that it fails here says nothing of images
            if not isinstance(failure, Failed):
                await self._lines.failed(upstream, address, failure, asked_at)
            raise
        await self._lines.succeeded(upstream, address, asked_at)
        return found

    async def has_tag(self, upstream: Upstream, repository: RepositoryName, tag: Tag) -> bool:
        """Whether the upstream has a tag, by a HEAD: most have none, and a GET may count.

        Raises UpstreamFailure.
        """
        addresses = self._lines.usable(upstream)
        if not addresses:
            raise Unreachable(self._lines.describe(upstream))
        address = addresses[0]
        asked_at = now_ms()
        try:
            await self._registry.head_manifest(address, upstream.remote_of(repository), tag, ASK_AGAIN_S)
        except (NotThere, NotAllowed):
            return False
        except UpstreamFailure as failure:
            # what no client has asked for shall not open the line to it, but where no one answers at all
            if not isinstance(failure, Failed):
                await self._lines.failed(upstream, address, failure, asked_at)
            raise
        return True
