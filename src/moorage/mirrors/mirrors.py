"""The mirrors of one process: what the endpoints of `/v2`, and the jobs, ask for."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import structlog

from moorage.clock import now_ms
from moorage.database import Database
from moorage.errors import BlobUnknown, ManifestUnknown, RegistryError
from moorage.mirrors import rows
from moorage.mirrors.along import REFERRERS_MAX, Companions
from moorage.mirrors.fetching import FETCH_S, Manifests
from moorage.mirrors.filling import Fills
from moorage.mirrors.lines import Lines
from moorage.mirrors.placing import Upstreams
from moorage.mirrors.refusing import CANNOT_KEEP
from moorage.mirrors.saving import Savings
from moorage.mirrors.upstreams import Upstream
from moorage.oci.digest import Digest, is_digest
from moorage.oci.names import RepositoryName
from moorage.registry.manifests.rows import find_by_digest

_TRY_EVERY_S: Final = 2.0
_WRITE_EVERY_S: Final = 10.0
_AT_ONCE: Final = 4

log = structlog.get_logger()


class Mirrors:
    """Made once for each process; `keep` runs beside the requests, `close` ends it."""

    def __init__(
        self,
        db: Database,
        upstreams: Upstreams,
        lines: Lines,
        manifests: Manifests,
        fills: Fills,
        savings: Savings,
    ) -> None:
        self._db = db
        self._lines = lines
        self.upstreams = upstreams
        self.manifests = manifests
        self.fills = fills
        self.looks = fills.looks
        self.savings = savings
        self.companions = Companions(db, manifests, fills, self.bring_referrers)

    def bring_companions(self) -> None:
        """From now on see to what comes along with each manifest, beside the requests."""
        self.manifests.on_seen = self.companions.note

    async def keep(self) -> None:
        """Until cancelled: try the lines that are due, so that no client has to, and write counts down."""
        written_s = time.monotonic()
        while True:
            await asyncio.sleep(_TRY_EVERY_S)
            if time.monotonic() - written_s >= _WRITE_EVERY_S:
                written_s = time.monotonic()
                await self.savings.write()
            try:
                await self.upstreams.look()
                connected = [each for each in self.upstreams.all if not self.upstreams.is_disconnected(each)]
                await self._lines.try_due(tuple(connected))
            except RegistryError as refusal:
                log.warning("upstream_lines_not_tried", reason=str(refusal))

    async def close(self) -> None:
        """End what is under way."""
        await self.companions.close()
        await self.fills.close()
        await self.manifests.close()
        await self.savings.write()

    async def bring_referrers(
        self, upstream: Upstream, repository: RepositoryName, subject: Digest, client: str | None = None
    ) -> int | None:
        """See that the referrers of a manifest are here; None, or for how many milliseconds no one has asked.

        What cannot be had is left out: the next who asks tries again.
        Raises TooManyMisses (429) where the manifest is not here.
        """
        checked_at = await rows.read_subject_checked(self._db, repository, subject)
        now = now_ms()
        if checked_at is not None and 0 <= now - checked_at < upstream.freshness_ms:
            return None
        age_ms = max(0, now - checked_at) if checked_at is not None else 0
        is_here = await find_by_digest(self._db, repository, subject) is not None
        try:
            async with asyncio.timeout(FETCH_S):
                if is_here:
                    found = await self.looks.list_referrers(upstream, repository, subject)
                else:
                    found = await self.looks.list_referrers_of_unknown(upstream, repository, subject, client)
                is_all = found is not None and await self._bring_listed(upstream, repository, found)
        except TimeoutError:
            # those that have begun to come go on, for who asks next
            return age_ms
        if not is_all:
            return age_ms
        if is_here:
            # nothing is written down of digests that someone has made up; what cannot be is asked again
            with suppress(*CANNOT_KEEP):
                await self._db.write(lambda tx: rows.note_subject_checked(tx, repository, subject))
        return None

    async def _bring_listed(
        self, upstream: Upstream, repository: RepositoryName, found: Sequence[Mapping[str, Any]]
    ) -> bool:
        """The manifests that a list of referrers names; whether none is left to be had."""
        limit = asyncio.Semaphore(_AT_ONCE)

        async def bring(descriptor: Mapping[str, Any]) -> bool:
            digest = descriptor.get("digest")
            if not isinstance(digest, str) or not is_digest(digest):
                return True
            async with limit:
                if await find_by_digest(self._db, repository, Digest(digest)) is not None:
                    return True
                try:
                    await self.manifests.bring(upstream, repository, digest)
                except ManifestUnknown:
                    return True
                except RegistryError:
                    return False
            return True

        return all(await asyncio.gather(*map(bring, found[:REFERRERS_MAX])))

    async def head_blob(
        self, upstream: Upstream, repository: RepositoryName, digest: Digest, client: str | None = None
    ) -> int:
        """The size in bytes of a blob that the upstream has.

        Raises BlobUnknown (404), TooManyMisses (429), UpstreamFailed (502), UpstreamUnreachable (504).
        """
        size = await self.looks.head(upstream, repository, digest, client)
        if size is None:
            raise BlobUnknown(digest=digest, reason=f"{upstream.name} does not say how large it is")
        return size
