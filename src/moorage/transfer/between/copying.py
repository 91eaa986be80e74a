"""Copying images: what is missing at the destination is brought there, several blobs at once."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from moorage.oci.manifest import Reference
from moorage.transfer.between.planning import Plan, Planning, Wanted
from moorage.transfer.between.ports import Absent, CopyRefused, Destination, How, Source, Watch
from moorage.transfer.between.streaming import reading

BLOBS_AT_ONCE: Final = 3


@dataclass(slots=True)
class Copied:
    """What came of it: each image by its tag or digest at the destination; counts of all that is theirs.

    `bytes_sent` are those that have travelled, again after a cut too; `bytes_skipped` those of blobs that
    were there. Blobs below a manifest that was there are not looked at, nor counted.
    """

    images: list[dict[str, Any]] = field(default_factory=list)
    manifests_sent: int = 0
    manifests_there: int = 0
    referrers: int = 0
    blobs_sent: int = 0
    blobs_skipped: int = 0
    blobs_mounted: int = 0
    blobs_left_out: int = 0
    bytes_sent: int = 0
    bytes_skipped: int = 0
    bytes_mounted: int = 0

    def as_fact(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Copying:
    """Copies from one source to one destination; what goes by is hashed in `threads`."""

    def __init__(
        self, source: Source, destination: Destination, planning: Planning, watch: Watch, threads: Executor
    ) -> None:
        self._threads = threads
        self._source = source
        self._destination = destination
        self._planning = planning
        self._watch = watch
        self.copied = Copied()

    async def run(self, wanted: Sequence[Wanted]) -> Copied:
        """Copy images one after the other. Raises CopyRefused; what came until then stays."""
        for each in wanted:
            plan = await self._planning.plan(each)
            self._watch.image(each.tag or plan.root.digest, len(plan.blobs))
            await self._bring_blobs(list(plan.blobs.values()))
            await self._put_manifests(plan)
            self.copied.referrers += plan.referrers
            self.copied.images.append(
                {
                    "source": each.reference or None,
                    "tag": each.tag,
                    "digest": plan.root.digest,
                    "media_type": plan.root.media_type,
                }
            )
        await self._destination.finish()
        return self.copied

    async def _bring_blobs(self, blobs: Sequence[Reference]) -> None:
        """The first to fail ends the others, whose bytes so far are gone on from another time."""
        free = asyncio.Semaphore(BLOBS_AT_ONCE)

        async def bring(blob: Reference) -> None:
            async with free:
                await self._bring(blob)

        try:
            async with asyncio.TaskGroup() as group:
                for blob in sorted(blobs, key=lambda each: self._source.position_of(each.target)):
                    group.create_task(bring(blob))
        except BaseExceptionGroup as group_of:
            first: BaseException = group_of
            while isinstance(first, BaseExceptionGroup):
                first = first.exceptions[0]
            raise first from None

    async def _bring(self, blob: Reference) -> None:
        target = blob.target
        self._watch.begin(target)

        def moved(count: int) -> None:
            self.copied.bytes_sent += count
            self._watch.moved(target, count)

        try:
            how: How = "there"
            if not await self._destination.has_blob(target):
                read = reading(self._source, target, self._threads)
                how = await self._destination.put_blob(target, read, moved)
        except Absent as absent:
            if not blob.may_be_absent:
                self._watch.leave(target)
                raise CopyRefused(f"{absent}; a manifest needs it") from absent
            how = "left out"
        except BaseException:
            self._watch.leave(target)
            raise
        self._note(how, target.size)
        self._watch.end(target, how)

    def _note(self, how: How, size: int) -> None:
        match how:
            case "sent":
                self.copied.blobs_sent += 1
            case "mounted":
                self.copied.blobs_mounted += 1
                self.copied.bytes_mounted += size
            case "there":
                self.copied.blobs_skipped += 1
                self.copied.bytes_skipped += size
            case "left out":
                self.copied.blobs_left_out += 1

    async def _put_manifests(self, plan: Plan) -> None:
        self.copied.manifests_there += len(plan.there)
        for step in plan.steps:
            digest = step.content.digest
            if step.tag is None:
                is_done = step.is_there
            else:
                is_done = await self._destination.find_manifest(step.tag, is_listed=True) == digest
            if is_done:
                self.copied.manifests_there += 1
                continue
            await self._destination.put_manifest(step.content, step.tag, is_listed=step.is_listed)
            self.copied.manifests_sent += 1
