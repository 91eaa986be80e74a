"""Budgets: of an upstream of which too much is kept, whole images leave, the least recently used first.

An image is a manifest with its tags, its children and what signs or describes it. What a pin means stays,
and what was used just now. Nothing but rows is removed here: bytes that another image needs, be it a local
one, stay where they are, and the others leave as all garbage does, only sooner: whoever asks for them again
has them fetched again.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from moorage.clock import now_ms
from moorage.database import Database, Transaction
from moorage.errors import TagImmutable
from moorage.mirrors import evicting_rows as rows
from moorage.mirrors.evicting_rows import Image, Place
from moorage.mirrors.pinning import read_pins
from moorage.mirrors.placing import Upstreams
from moorage.mirrors.upstreams import Upstream
from moorage.oci.names import Tag
from moorage.records.audit.rows import Actor, record
from moorage.records.jobs.running import Running
from moorage.registry.tags import rows as tag_rows
from moorage.registry.tags.rows import list_tags
from moorage.registry.trash import rows as trash_rows
from moorage.registry.trash.deleting import put_in_trash
from moorage.registry.trash.rows import EVICTED_LEASE_MS

KIND: Final = "evict"
IN_USE_MS: Final = 10 * 60_000
"""What was fetched or pulled so long ago is not evicted: its layers may be on their way to a client."""

_LOOSE_MS: Final = 3_600_000
_PULLS_KEPT_MS: Final = 400 * 86_400_000
_AT_ONCE: Final = 1000
_TAGS_AT_ONCE: Final = 500
_BY: Final = Actor("budget")

log = structlog.get_logger()


class Eviction:
    """The job's handler."""

    def __init__(self, db: Database, upstreams: Upstreams) -> None:
        self._db = db
        self._upstreams = upstreams

    async def is_due(self, db: Database) -> bool:
        """Whether more than its budget is kept of an upstream."""
        await self._upstreams.look()
        totals = await rows.read_totals(db)
        return any(_is_over(each, totals.get(each.name, 0)) for each in self._upstreams.all)

    async def run(self, running: Running) -> Mapping[str, object]:
        """Evict until each upstream is within its budget, or nothing more may leave; what came of it."""
        await self._upstreams.look(at_once=True)
        await self._db.write(lambda tx: rows.forget_pulls(tx, now_ms() - _PULLS_KEPT_MS))
        found = [
            await self._clear(each, running) for each in self._upstreams.all if each.budget_bytes is not None
        ]
        return {"upstreams": found}

    async def _clear(self, upstream: Upstream, running: Running) -> Mapping[str, object]:
        before = await self._correct_total(upstream)
        kept, images = before, 0
        if _is_over(upstream, kept):
            kept = await self._release_loose(upstream)
        if _is_over(upstream, kept):
            pinned = await self._list_pinned(upstream)
            after = Place()
            while _is_over(upstream, kept):
                found = await rows.list_images(self._db, upstream.name, after, now_ms() - IN_USE_MS, _AT_ONCE)
                if not found:
                    break
                for image in found:
                    left = await self._evict(upstream, image, pinned)
                    if left is not None:
                        kept, images = left, images + 1
                        await running.say(images, None, "images", upstream.name)
                    if not _is_over(upstream, kept):
                        break
                    await asyncio.sleep(0)
                after = Place(found[-1].used_at, found[-1].manifest)
        if images:
            log.info("images_evicted", upstream=upstream.name, images=images, kept_bytes=kept)
        if _is_over(upstream, kept):
            log.warning(
                "budget_exceeded", upstream=upstream.name, kept_bytes=kept, budget_bytes=upstream.budget_bytes
            )
        return {
            "upstream": upstream.name,
            "budget_bytes": upstream.budget_bytes,
            "images": images,
            "freed_bytes": before - kept,
            "kept_bytes": kept,
        }

    async def _correct_total(self, upstream: Upstream) -> int:
        """What is kept; where too much seems to be, the count is compared with the rows first."""
        kept = (await rows.read_totals(self._db)).get(upstream.name, 0)
        if not _is_over(upstream, kept):
            return kept
        difference = await rows.measure_total(self._db, upstream.name) - kept
        if not difference:
            return kept

        def work(tx: Transaction) -> int:
            rows.correct_total(tx, upstream.name, difference)
            return rows.find_total(tx, upstream.name)

        return await self._db.write(work)

    async def _release_loose(self, upstream: Upstream) -> int:
        """Blobs that were asked for alone, or whose manifest has gone meanwhile; what is kept then."""

        def work(tx: Transaction) -> tuple[int, int]:
            count = rows.release_loose(tx, upstream.name, now_ms() - _LOOSE_MS, EVICTED_LEASE_MS)
            return count, rows.find_total(tx, upstream.name)

        while True:
            count, kept = await self._db.write(work)
            if not count:
                return kept
            await asyncio.sleep(0)

    async def _list_pinned(self, upstream: Upstream) -> dict[int, set[str]]:
        """The tags that pins mean, by repository."""
        pins = read_pins(upstream)
        found: dict[int, set[str]] = {}
        for repository_id, name in await rows.list_mirrored(self._db, upstream.name):
            concerned = [pin for pin in pins if pin.is_of(upstream.remote_of(name))]
            if not concerned:
                continue
            tags: list[Tag] = []
            while some := await list_tags(self._db, repository_id, tags[-1] if tags else "", _TAGS_AT_ONCE):
                tags += some
                await asyncio.sleep(0)
            found[repository_id] = {tag for pin in concerned for tag in pin.select(tags)}
        return found

    async def _evict(self, upstream: Upstream, image: Image, pinned: Mapping[int, set[str]]) -> int | None:
        """Let an image go; the bytes that are kept then, None where it stays."""

        def work(tx: Transaction) -> int | None:
            now = rows.find_image(tx, image.manifest)
            if now is None or now.used_at > image.used_at:
                # pulled in this very moment
                return None
            tags = [tag for tag, _ in tag_rows.list_of(tx, image.manifest)]
            if pinned.get(image.repository_id, set()).intersection(tags):
                return None
            self._put_away(tx, image, tags)
            return rows.find_total(tx, upstream.name)

        try:
            return await self._db.write(work)
        except TagImmutable:
            # a rule here fixes it
            return None

    @staticmethod
    def _put_away(tx: Transaction, image: Image, tags: Sequence[Tag]) -> None:
        deleted = put_in_trash(tx, image.repository_id, image.manifest, "evicted", _BY, 0)
        trash_rows.make_due(tx, deleted.deletion)
        rows.let_go(tx, image.repository_id, deleted.deletion, EVICTED_LEASE_MS)
        rows.forget_checks(tx, image.repository_id, deleted.digests, deleted.tags)
        record(tx, _BY, "evict", image.repository, detail=" ".join([image.digest, *tags]))


def _is_over(upstream: Upstream, kept_bytes: int) -> bool:
    return upstream.budget_bytes is not None and kept_bytes > upstream.budget_bytes
