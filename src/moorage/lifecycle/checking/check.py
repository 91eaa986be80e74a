"""The check itself: walk, re-check, act, report."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor
from datetime import timedelta
from typing import Final, TypeVar, TypeVarTuple

import msgspec
import structlog

from moorage.clock import now_ms
from moorage.database import Database
from moorage.lifecycle.checking import rows
from moorage.lifecycle.checking.files import StoredFile, StoreFiles
from moorage.lifecycle.checking.report import IMAGES_MAX, SHOWN_MAX, Report
from moorage.lifecycle.checking.rows import BlobRow
from moorage.lifecycle.progress import Progress
from moorage.lifecycle.store import rows as store_rows
from moorage.oci.digest import SHA256
from moorage.registry.blobs import rows as blob_rows
from moorage.registry.blobs.rows import Blob
from moorage.registry.blobs.store import BlobStore
from moorage.registry.blobs.withdrawing import withdraw
from moorage.threads import in_thread

WAIT_MS: Final = 86_400_000
"""What no row names is left alone for a day, and then for another from when it was first noticed."""

_BATCH = 500
_MISSING_SHARE = 0.1
_MISSING_MIN = 20
_SHARDS = 256
_BLOB = re.compile(r"([0-9a-f]{64})\.([1-9][0-9]{0,8})", re.ASCII)

log = structlog.get_logger()

Args = TypeVarTuple("Args")
T = TypeVar("T")


class StoreCheck:
    """Checks of one store. `quarantine`: how long what was put aside is kept."""

    def __init__(
        self, db: Database, store: BlobStore, files: StoreFiles, threads: Executor, quarantine: timedelta
    ) -> None:
        self._db = db
        self._store = store
        self._files = files
        self._threads = threads
        self._quarantine_ms = int(quarantine.total_seconds() * 1000)

    async def run(self, progress: Progress, *, is_certain: bool = False) -> Report:
        """Compare everything; what it found, which is also kept for whoever asks later.

        When a great part of all files is missing nothing is withdrawn and the store is mistrusted: a disk
        may not be mounted. `is_certain`: they are lost, and all are withdrawn.

        Raises StorageFailed (500) where a folder cannot be read: half a look proves nothing.
        """
        mistrusted = (await store_rows.read_state(self._db)).mistrusted
        report = Report(now_ms(), mistrusted=mistrusted, counts={}, findings=[])
        total, _ = await blob_rows.get_total(self._db)
        broken: list[BlobRow] = []
        await self._list_damaged(report)
        for shard in range(_SHARDS):
            broken += await self._check_shard(f"{shard:02x}", report)
            await progress.say(report.blobs, max(total, report.blobs), "blobs")
        await self._find_odd_folders(report)
        await self._check_broken(broken, report, is_certain=is_certain)
        await self._check_strays(report)
        await self._check_uploads(report)
        await self._check_rows(report, progress)
        if report.mistrusted is None:
            await self._empty_quarantine()
        report.finished_at = now_ms()
        encoded = msgspec.json.encode(report).decode()
        await self._db.write(lambda tx: store_rows.set_checked(tx, report.started_at, encoded))
        blobs, damage, orphans = report.blobs, report.weights["damage"], report.weights["orphan"]
        if report.is_sound:
            log.info("store_checked", blobs=blobs, damage=damage, orphans=orphans)
        else:
            log.error("store_checked", blobs=blobs, damage=damage, orphans=orphans)
        return report

    async def _check_shard(self, shard: str, report: Report) -> list[BlobRow]:
        """The rows whose file is missing or of the wrong size, which is to be looked at again.

        Rows before files: what a push adds in between is a suspicion that the re-check lifts.
        """
        named = {_name_of(row): row for row in await self._rows_of(shard)}
        files = {file.name: file for file in await self._in_thread(self._files.list_blobs, shard)}
        report.files += len(files)
        live = {name: row for name, row in named.items() if row.state == "live"}
        report.blobs += len(live)
        report.bytes += sum(row.size for row in live.values())
        odd = [file for name, file in files.items() if name not in named]
        strays = [file.name for file in odd if await self._is_stray(shard, file, report)]
        for start in range(0, len(strays), _BATCH):
            await self._note_strays(strays[start : start + _BATCH])
        return [row for name, row in live.items() if name not in files or files[name].size != row.size]

    async def _rows_of(self, shard: str) -> list[BlobRow]:
        found: list[BlobRow] = []
        after = f"{SHA256}:{shard}"
        while True:
            # "g" follows every digit
            batch = await rows.list_blob_rows(self._db, after, f"{SHA256}:{shard}g", _BATCH)
            found += batch
            if len(batch) < _BATCH:
                return found
            after = batch[-1].digest
            await asyncio.sleep(0)

    async def _check_broken(self, suspects: list[BlobRow], report: Report, *, is_certain: bool) -> None:
        """Withdraw each live blob whose file is still missing or of the wrong size."""
        broken = [found for row in suspects if (found := await self._look_again(row)) is not None]
        is_much = len(broken) > max(_MISSING_MIN, report.blobs * _MISSING_SHARE)
        if is_much and not is_certain:
            reason = (
                f"{len(broken)} of {report.blobs} blobs have no file, or a wrong one: is a disk not mounted?"
            )
            report.mistrusted = report.mistrusted or reason
            await self._db.write(lambda tx: store_rows.mistrust(tx, reason))
            log.error("store_mistrusted", reason=reason, remedy="mount it, then moorage store accept")
        for row, size in broken:
            blob = Blob(row.digest, None, row.size, row.generation)
            finding = "missing" if size is None else "wrong size"
            if (is_much and not is_certain) or await withdraw(self._db, self._store, blob, finding):
                images = await rows.list_images_of(self._db, row.digest, IMAGES_MAX)
                report.add("blob_missing" if size is None else "blob_wrong_size", row.digest, images)

    async def _look_again(self, row: BlobRow) -> tuple[BlobRow, int | None] | None:
        """The row as it is now and its file's size; None when all is well with it."""
        now = await rows.find_blob_row(self._db, row.digest)
        if now is None or now.state != "live":
            return None
        size = await self._in_thread(self._store.blob_size, now.digest, now.generation)
        return None if size == now.size else (now, size)

    async def _note_strays(self, names: list[str]) -> None:
        await self._db.write(lambda tx: store_rows.note_strays(tx, names, now_ms()))

    async def _is_stray(self, shard: str, file: StoredFile, report: Report) -> bool:
        """Whether it is a blob's file that no row names by now. What a crash left halfway is removed."""
        match = _BLOB.fullmatch(file.name)
        if match is not None and match[1][:2] == shard:
            return not await self._is_named(file.name)
        if not file.name.endswith(".tmp"):
            report.add("file_unknown", f"{shard}/{file.name}")
        elif file.age_ms > WAIT_MS:
            await self._in_thread(self._files.discard, shard, file.name)
            report.add("file_left_over", f"{shard}/{file.name}")
        return False

    async def _is_named(self, name: str) -> bool:
        """Whether a row, of whatever state, has this file."""
        encoded, _, generation = name.partition(".")
        row = await rows.find_blob_row(self._db, f"{SHA256}:{encoded}")
        return row is not None and str(row.generation) == generation

    async def _find_odd_folders(self, report: Report) -> None:
        known = {f"{shard:02x}" for shard in range(_SHARDS)}
        for name in await self._in_thread(self._files.list_shards):
            if name not in known:
                report.add("file_unknown", f"{name}/")

    async def _check_strays(self, report: Report) -> None:
        """Each file that this or an earlier check found without a row: once more, then aside in time."""
        listed, files = "", dict[str, StoredFile]()
        async for name, found_at in self._strays():
            shard = name[:2]
            if shard != listed:
                listed = shard
                files = {each.name: each for each in await self._in_thread(self._files.list_blobs, shard)}
            file = files.get(name)
            if file is None or await self._is_named(name):
                await self._forget_stray(name)
                continue
            waited_ms = min(now_ms() - found_at, file.age_ms)
            if report.mistrusted is None and waited_ms > WAIT_MS and await self._put_aside(shard, name):
                report.add("file_put_aside", name)
            elif file.links == 1 or file.age_ms > WAIT_MS:
                # any other is just being pushed
                report.add("file_stray", name)

    async def _put_aside(self, shard: str, name: str) -> bool:
        if not await self._in_thread(self._files.put_aside, shard, name):
            return False
        if await self._is_named(name):
            # a row came in this very moment
            await self._in_thread(self._files.put_back, shard, name)
            return False
        await self._forget_stray(name)
        log.warning("file_put_aside", file=name)
        return True

    async def _forget_stray(self, name: str) -> None:
        await self._db.write(lambda tx: store_rows.forget_stray(tx, name))

    async def _check_uploads(self, report: Report) -> None:
        files = {each.name: each for each in await self._in_thread(self._files.list_uploads)}
        async for upload, received in self._uploads():
            file = files.pop(upload, None)
            has = 0 if file is None else file.size
            if has >= received or await rows.find_received(self._db, upload) is None:
                continue
            if await self._in_thread(self._store.upload_size, upload) < received:
                report.add("upload_lost", upload)
        for name, file in files.items():
            if file.age_ms > WAIT_MS and await rows.find_received(self._db, name) is None:
                report.add("upload_stray", name)

    async def _check_rows(self, report: Report, progress: Progress) -> None:
        last = await rows.last_manifest(self._db)
        for after in range(0, last, _BATCH):
            for kind, target in await rows.find_broken(self._db, after, after + _BATCH):
                report.add(kind, target)
            report.manifests += await rows.count_manifests(self._db, after, after + _BATCH)
            await progress.say(min(after + _BATCH, last), last, "manifests")
        for target in await rows.list_lost_links(self._db, SHOWN_MAX):
            report.add("link_without_blob", target)
        short = await rows.compare_totals(self._db)
        if any(short):
            await self._db.write(lambda tx: blob_rows.correct_total(tx, *short))
            report.add("total_wrong", f"{short.blobs:+} blobs, {short.bytes:+} bytes")

    async def _list_damaged(self, report: Report) -> None:
        """What was withdrawn before this check began."""
        after = ""
        while batch := await rows.list_damaged(self._db, after, _BATCH):
            for digest in batch:
                report.add("blob_damaged", digest, await rows.list_images_of(self._db, digest, IMAGES_MAX))
            after = batch[-1]

    async def _empty_quarantine(self) -> None:
        for file in await self._in_thread(self._files.list_aside):
            if file.age_ms > self._quarantine_ms:
                await self._in_thread(self._files.discard_aside, file.name)
                log.info("quarantine_emptied", file=file.name, bytes=file.size)

    def _strays(self) -> AsyncIterator[tuple[str, int]]:
        return _pages(lambda after: store_rows.list_strays(self._db, after, _BATCH))

    def _uploads(self) -> AsyncIterator[tuple[str, int]]:
        return _pages(lambda after: rows.list_uploads(self._db, after, _BATCH))

    async def _in_thread(self, function: Callable[[*Args], T], *arguments: *Args) -> T:
        return await in_thread(self._threads, function, *arguments)


async def _pages(read: Callable[[str], Awaitable[list[tuple[str, int]]]]) -> AsyncIterator[tuple[str, int]]:
    """All rows of a list that is read in parts, by their first column."""
    after = ""
    while batch := await read(after):
        for each in batch:
            yield each
        after = batch[-1][0]


def _name_of(row: BlobRow) -> str:
    return f"{row.digest.partition(':')[2]}.{row.generation}"
