"""Whether an upstream has a blob, asked before anything is done for it here."""

import asyncio
from typing import Final

from moorage.errors import BlobUnknown
from moorage.mirrors.absences import Absences
from moorage.mirrors.asking import NotAllowed, NotThere, Registry, Unreachable, UpstreamFailure
from moorage.mirrors.fetching import ASK_AGAIN_S
from moorage.mirrors.lines import Lines
from moorage.mirrors.placing import Upstreams
from moorage.mirrors.refusing import refusal_of
from moorage.mirrors.upstreams import Upstream
from moorage.oci.digest import Digest
from moorage.oci.names import RepositoryName

_AT_ONCE: Final = 16
"""Whoever asks for what there is not shall not take all the connections."""


class Looks:
    """As one process asks."""

    def __init__(self, registry: Registry, upstreams: Upstreams, lines: Lines) -> None:
        self._registry = registry
        self._upstreams = upstreams
        self._lines = lines
        self._absences = Absences()
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def head(self, upstream: Upstream, repository: RepositoryName, digest: Digest) -> int | None:
        """The size in bytes of a blob that this repository of an upstream has, None where that is not said.

        Raises BlobUnknown (404), UpstreamFailed (502), UpstreamUnreachable (504).
        """
        reason = self._absences.find(repository, digest)
        if reason is not None:
            raise BlobUnknown(digest=digest, reason=reason)
        try:
            return await self._ask(upstream, repository, digest)
        except (NotThere, NotAllowed) as failure:
            reason = f"{upstream.name}: {failure}"
            self._absences.note(repository, digest, reason)
            raise BlobUnknown(digest=digest, reason=reason) from failure
        except UpstreamFailure as failure:
            raise refusal_of(upstream, failure, self._lines.describe(upstream)) from failure

    async def _ask(self, upstream: Upstream, repository: RepositoryName, digest: Digest) -> int | None:
        """Raises UpstreamFailure."""
        if self._upstreams.is_disconnected(upstream):
            raise Unreachable("it was disconnected by an operator")
        first: UpstreamFailure | None = None
        for address in await self._lines.find_usable(upstream):
            try:
                async with self._slots:
                    size = await self._registry.head_blob(
                        address, upstream.remote_of(repository), digest, ASK_AGAIN_S
                    )
            except UpstreamFailure as failure:
                await self._lines.failed(upstream, address, failure)
                if isinstance(failure, NotThere | NotAllowed) and address == upstream.address:
                    raise
                first = first or failure
            else:
                await self._lines.succeeded(upstream, address)
                return size
        if first is None or isinstance(first, NotThere | NotAllowed):
            # that an alternative lacks it says nothing of the upstream
            raise Unreachable(self._lines.describe(upstream))
        raise first
