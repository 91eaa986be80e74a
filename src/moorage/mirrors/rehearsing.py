"""The rehearsal: what was pulled of late that could not be pulled if the line to its upstream went now.

A tag or a digest needs its manifest, of an index those of the platforms that are in use, and all of their
blobs. In use is what was pulled of the repository, and what the upstream's settings want; where neither says
it, what was pulled of its other repositories; where nothing does, every platform.
"""

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog

from moorage.clock import now_ms
from moorage.database import Database
from moorage.errors import RegistryError
from moorage.mirrors import rehearsing_rows as rows
from moorage.mirrors.bringing import Brought, Images, named
from moorage.mirrors.mirrors import Mirrors
from moorage.mirrors.prefetching import choose_upstreams
from moorage.mirrors.rehearsing_rows import Pulled
from moorage.mirrors.upstreams import DAY_MS, Upstream
from moorage.mirrors.wholeness import Child, Missing, Wanted, find_missing, read_children, wants
from moorage.oci.digest import Digest, is_digest
from moorage.oci.names import RepositoryName
from moorage.records.jobs.running import Running
from moorage.registry.manifests.rows import StoredManifest, find_by_digest, find_by_tag

KIND: Final = "rehearse"
DAYS: Final = 30
DAYS_MAX: Final = 365
GAPS_MAX: Final = 200
"""Gaps that are told; the others are counted."""

_PARTS_MAX: Final = 50

log = structlog.get_logger()


class Gap(msgspec.Struct, frozen=True):
    """An image that could not be pulled whole. `missing`: the first parts that are not here.

    `missing_bytes` counts all of them, as far as is known: of a manifest that is not here its own alone.
    """

    upstream: str
    image: str
    pulled_at: int
    missing: list[Missing]
    missing_parts: int
    missing_bytes: int


class Rehearsal(msgspec.Struct):
    """What was found. `gaps` holds the first GAPS_MAX of `gap_count`; of `whole` images all is here."""

    days: int
    upstreams: list[str]
    images: int = 0
    whole: int = 0
    gap_count: int = 0
    missing_bytes: int = 0
    gaps: list[Gap] = []
    fetched_blobs: int = 0
    fetched_bytes: int = 0
    failed: int = 0
    failures: list[object] = []

    def add(self, gap: Gap | None) -> None:
        """Count an image, with what it lacks."""
        self.images += 1
        if gap is None:
            self.whole += 1
            return
        self.gap_count += 1
        self.missing_bytes += gap.missing_bytes
        if len(self.gaps) < GAPS_MAX:
            self.gaps.append(gap)


@dataclass(frozen=True, slots=True)
class _InUse:
    """What of a repository's indexes was pulled."""

    digests: Collection[Digest] = ()
    platforms: Collection[str] = ()

    def wants(self, upstream: Upstream, everywhere: Collection[str]) -> Wanted:
        """Which children count; `everywhere`: the platforms in use of the upstream's other repositories."""
        of_platforms = wants({*upstream.platforms, *self.platforms} or everywhere)

        def is_wanted(child: Child) -> bool:
            return child.digest in self.digests or of_platforms(child)

        return is_wanted


class Rehearse:
    """The job's handler. Its arguments: `upstream`, without it all; `days`; `fetch`: to close gaps."""

    def __init__(self, db: Database, mirrors: Mirrors) -> None:
        self._db = db
        self._mirrors = mirrors
        self._images = Images(db, mirrors.manifests, mirrors.fills, mirrors.companions)

    async def run(self, running: Running) -> Mapping[str, object]:
        """Look, and fetch if that is wanted; what could not be pulled in the end."""
        await self._mirrors.upstreams.look(at_once=True)
        chosen = choose_upstreams(self._mirrors, running)
        days = int(running.arguments.get("days", DAYS))
        is_fetching = bool(running.arguments.get("fetch"))
        found = Rehearsal(days, [each.name for each in chosen], gaps=[], failures=[])
        brought = Brought()
        try:
            for upstream in chosen:
                await self._look_through(upstream, found, brought if is_fetching else None, running)
        finally:
            await self._mirrors.savings.write()
        found.fetched_blobs, found.fetched_bytes = brought.blobs, brought.bytes
        found.failed, found.failures = brought.failed, [*brought.failures]
        log.info("upstreams_rehearsed", images=found.images, gaps=found.gap_count)
        result: dict[str, object] = msgspec.to_builtins(found)
        return result

    async def _look_through(
        self, upstream: Upstream, found: Rehearsal, brought: Brought | None, running: Running
    ) -> None:
        since = now_ms() - found.days * DAY_MS
        pulled = await rows.list_pulled(self._db, upstream.name, since)
        if brought is not None:
            # by what they list it can be told which platforms were pulled
            for each in pulled:
                await running.say(0, len(pulled), "images", named(each.repository, each.reference))
                await self._bring_root(upstream, each)
        in_use = {each.repository_id: _InUse() for each in pulled}
        for repository_id in in_use:
            in_use[repository_id] = await self._find_in_use(repository_id, since)
        everywhere = {platform for each in in_use.values() for platform in each.platforms}
        for number, each in enumerate(pulled):
            note = named(each.repository, each.reference)

            async def say(note: str = note, number: int = number) -> None:
                await running.say(number, len(pulled), "images", note)

            await say()
            is_wanted = in_use[each.repository_id].wants(upstream, everywhere)
            gap = await self._find_gap(upstream, each, is_wanted)
            if gap is not None and brought is not None:
                await self._images.bring(upstream, each.repository, each.reference, is_wanted, brought, say)
                gap = await self._find_gap(upstream, each, is_wanted)
            found.add(gap)
            await asyncio.sleep(0)
        await running.say(len(pulled), len(pulled), "images")

    async def _bring_root(self, upstream: Upstream, pulled: Pulled) -> None:
        """The manifest of an image, if it is not here. That it cannot be had is told later."""
        if await self._find(pulled.repository, pulled.reference) is None:
            with suppress(RegistryError):
                await self._mirrors.manifests.bring(upstream, pulled.repository, pulled.reference)

    async def _find_in_use(self, repository_id: int, since: int) -> "_InUse":
        """Which children of a repository's indexes were pulled."""
        digests: set[Digest] = set()
        platforms: set[str] = set()
        for digest, payload in await rows.list_pulled_children(self._db, repository_id, since):
            digests.add(digest)
            children = read_children(payload)
            platforms |= {child.platform for child in children if child.digest == digest and child.platform}
        return _InUse(digests, platforms)

    async def _find_gap(self, upstream: Upstream, pulled: Pulled, is_wanted: Wanted) -> Gap | None:
        stored = await self._find(pulled.repository, pulled.reference)
        if stored is None:
            digest = pulled.reference if is_digest(pulled.reference) else ""
            missing = [Missing(digest, "manifest", 0)]
        else:
            missing = await find_missing(self._db, pulled.repository, stored, is_wanted)
        if not missing:
            return None
        return Gap(
            upstream.name,
            named(pulled.repository, pulled.reference),
            pulled.pulled_at,
            missing[:_PARTS_MAX],
            len(missing),
            sum(each.size for each in missing),
        )

    async def _find(self, repository: RepositoryName, reference: str) -> StoredManifest | None:
        if is_digest(reference):
            return await find_by_digest(self._db, repository, Digest(reference))
        return await find_by_tag(self._db, repository, reference)
