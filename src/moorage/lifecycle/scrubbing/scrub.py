"""A round: every blob, config and manifest read again and compared with its digest."""

import asyncio
import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog

from moorage.clock import now_ms
from moorage.config import ScrubSettings
from moorage.database import Database, Transaction
from moorage.errors import StorageFailed
from moorage.lifecycle.checking.rows import count_damaged
from moorage.lifecycle.progress import Progress
from moorage.lifecycle.scrubbing import rows
from moorage.lifecycle.scrubbing.reading import BlobReader, Finding, idle_thread
from moorage.lifecycle.scrubbing.rows import ManifestRow, Round
from moorage.oci.digest import encoded_of
from moorage.records.audit.rows import Actor, record
from moorage.registry.blobs import rows as blob_rows
from moorage.registry.blobs.rows import Blob
from moorage.registry.blobs.store import BlobStore
from moorage.registry.blobs.withdrawing import FOUND_BY, withdraw

_BLOBS = 100
_MANIFESTS = 16
_SAVED_EVERY_S = 1.0
_ABSENT_MAX = 3
_SHOWN_MAX = 100

log = structlog.get_logger()


class Scrub:
    """The rounds of one store."""

    def __init__(self, db: Database, store: BlobStore, settings: ScrubSettings) -> None:
        self._db = db
        self._store = store
        self._settings = settings

    async def is_due(self) -> bool:
        """Whether there is something to read now."""
        period_ms = int(self._settings.period.total_seconds() * 1000)
        return (await rows.read_round(self._db)).is_due(period_ms)

    async def run(self, progress: Progress) -> dict[str, Any]:
        """Go on with the round under way, or begin the next; its figures, and what this run found.

        Slowly and behind everyone else, unless someone waits for it.

        Raises StorageFailed (500) when the disk cannot be read at all: then nothing is withdrawn.
        """
        if not (await rows.read_round(self._db)).is_under_way:
            await self._db.write(rows.begin_round)
        round_ = await rows.read_round(self._db)
        threads = ThreadPoolExecutor(1, thread_name_prefix="scrub") if round_.is_urgent else idle_thread()
        try:
            while True:
                rate = None if round_.is_urgent else int(self._settings.rate) or None
                reader = BlobReader(self._store, threads, rate)
                try:
                    return await _Running(self._db, self._store, reader, progress, round_).run()
                except _Replaced:
                    round_ = await rows.read_round(self._db)
        finally:
            threads.shutdown(wait=False)


def begin_now(tx: Transaction, asked_by: Actor) -> None:
    """Begin a round that someone waits for, from the first blob; who reads already goes on with this one."""
    rows.begin_round(tx, is_urgent=True)
    record(tx, asked_by, "scrub", "store")


class _Replaced(Exception):
    """Another round was begun."""


class _Running:
    """One run of a round."""

    def __init__(
        self, db: Database, store: BlobStore, reader: BlobReader, progress: Progress, round_: Round
    ) -> None:
        self._db = db
        self._store = store
        self._reader = reader
        self._progress = progress
        self._round = round_
        self._read_bytes = round_.bytes
        self._saved_at = 0.0
        self._total_bytes = 0
        self._absent: list[tuple[Blob, Finding]] = []
        self._found: list[dict[str, str]] = []
        self._withdrawn = 0

    async def run(self) -> dict[str, Any]:
        """Raises _Replaced, StorageFailed, and what telling of it raises."""
        self._total_bytes = (await blob_rows.get_total(self._db))[1]
        while blobs := await blob_rows.list_live(self._db, self._round.blob_after, _BLOBS):
            for blob in blobs:
                await self._take(blob)
        await self._settle(is_end=True)
        while manifests := await rows.list_manifests(self._db, self._round.manifest_after, _MANIFESTS):
            for manifest in manifests:
                await self._check(manifest)
            await self._save(is_forced=True)
        self._round = self._round._replace(finished_at=max(now_ms(), self._round.started_at or 0))
        await self._save(is_forced=True)
        done = self._round
        log.info(
            "scrub_finished",
            blobs=done.blobs,
            bytes=done.bytes,
            manifests=done.manifests,
            damaged=done.damaged,
        )
        return {
            "blobs": done.blobs,
            "bytes": done.bytes,
            "manifests": done.manifests,
            "damaged": done.damaged,
            "damaged_before": max(0, await count_damaged(self._db) - self._withdrawn),
            "found": self._found[:_SHOWN_MAX],
        }

    async def _take(self, blob: Blob) -> None:
        found = await self._reader.look_at(blob, self._tell)
        if found == "unreadable":
            # once more: a disk that has just come back, or a file that has just gone
            found = await self._reader.look_at(blob, self._tell)
        if found in {"unreadable", "missing"}:
            self._absent.append((blob, found))
            if len(self._absent) == _ABSENT_MAX:
                raise StorageFailed(reason="blob after blob is missing or cannot be read. Look at the disk")
        elif found == "whole":
            # the disk reads: what it did not read before is lost
            await self._settle()
        else:
            await self._withdraw(blob, found)
        self._read_bytes = self._round.bytes + blob.size
        self._round = self._round._replace(
            blob_after=blob.digest, blobs=self._round.blobs + 1, bytes=self._read_bytes
        )
        await self._save()

    async def _settle(self, *, is_end: bool = False) -> None:
        absent, self._absent = self._absent, []
        if is_end and len(absent) > 1 and self._round.blobs == len(absent):
            raise StorageFailed(reason="no blob is there to be read. Look at the disk")
        for blob, finding in absent:
            await self._withdraw(blob, finding)

    async def _withdraw(self, blob: Blob, finding: Finding) -> None:
        if await withdraw(self._db, self._store, blob, finding):
            self._withdrawn += 1
            self._note(blob.digest, finding)

    def _note(self, target: str, finding: str) -> None:
        self._found.append({"target": target, "finding": finding})
        self._round = self._round._replace(damaged=self._round.damaged + 1)

    async def _check(self, manifest: ManifestRow) -> None:
        """A manifest is a row and has no second copy: it stays, is not served, and a push mends it."""
        if hashlib.sha256(manifest.payload).hexdigest() != encoded_of(manifest.digest):
            log.error("manifest_damaged", repository=manifest.repository, digest=manifest.digest)
            target = f"{manifest.repository}@{manifest.digest}"
            await self._db.write(lambda tx: record(tx, FOUND_BY, "find damaged", target))
            self._note(target, "wrong bytes")
        self._round = self._round._replace(
            manifest_after=manifest.row_id, manifests=self._round.manifests + 1
        )

    async def _tell(self, length: int) -> None:
        self._read_bytes += length
        await self._progress.say(self._read_bytes, max(self._total_bytes, self._read_bytes), "bytes")

    async def _save(self, *, is_forced: bool = False) -> None:
        now = asyncio.get_running_loop().time()
        # what was not there to be read is looked at again if this run is cut
        if not self._absent and (is_forced or now - self._saved_at > _SAVED_EVERY_S):
            self._saved_at = now
            round_ = self._round
            if not await self._db.write(lambda tx: rows.save_round(tx, round_)):
                raise _Replaced
            await self._progress.say(self._read_bytes, max(self._total_bytes, self._read_bytes), "bytes")
