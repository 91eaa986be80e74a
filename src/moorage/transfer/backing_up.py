"""Making a backup while others push: pause garbage, copy the rows, then bring the blobs that they name."""

import asyncio
import hashlib
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, Protocol, TypeVar, TypeVarTuple

import structlog

from moorage.clock import now_ms
from moorage.database import Database
from moorage.lifecycle.checking.rows import BlobRow, find_blob_row, list_damaged_needed
from moorage.lifecycle.progress import Progress
from moorage.oci.digest import Digest
from moorage.records.audit.rows import Actor, record
from moorage.registry.blobs.rows import Blob, get_total, list_live
from moorage.registry.blobs.store import BlobDamaged, BlobFile, BlobStore
from moorage.registry.blobs.withdrawing import withdraw
from moorage.threads import in_thread
from moorage.transfer import copying
from moorage.transfer.backup_folder import (
    FORMAT,
    BackupFolder,
    BackupRefused,
    Generation,
    sync_folder,
    write_synced,
)
from moorage.transfer.pausing import GarbagePause
from moorage.transfer.ports import SnapshotFailed, Snapshots
from moorage.transfer.pruning import prune
from moorage.transfer.telling import Telling

THREADS: Final = 4
_BATCH: Final = 64

Outcome = Literal["here", "linked", "cloned", "copied", "missing", "damaged"]

Args = TypeVarTuple("Args")
T = TypeVar("T")

log = structlog.get_logger()


class BackedUpStore(BlobStore, Protocol):
    """All that a backup needs of the bytes."""

    def path_of(self, digest: Digest, generation: int) -> Path:
        """Where a blob's file lies, or would."""
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """What is backed up. `data`: where certificate and keys lie; `version`: of this program."""

    db: Database
    store: BackedUpStore
    snapshots: Snapshots
    data: Path
    version: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a backup is to be made.

    `keep`: how many generations stay; `by_link`: files are shared with the store where both lie on one file
    system; `is_verifying`: what is there already is read again, not only what comes.
    """

    keep: int = 7
    by_link: bool = False
    is_verifying: bool = False


@dataclass(slots=True)
class BackedUp:
    """What was made. Bytes are of blobs: all that the generation names, and those brought just now.

    `how` counts blobs by how they came; `missing` are those that the store itself has lost,
    just now or before: withdrawn, and still needed by an image.
    """

    generation: str
    blobs: int = 0
    bytes: int = 0
    brought_blobs: int = 0
    brought_bytes: int = 0
    how: dict[str, int] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    removed_generations: list[str] = field(default_factory=list)
    removed_blobs: int = 0
    removed_bytes: int = 0


async def make_backup(
    source: Source, folder: BackupFolder, wanted: Wanted, progress: Progress, made_by: Actor
) -> BackedUp:
    """One generation, whole and durable when this returns.

    It may be repeated at any time after it was cut: what is there already is not brought again.

    Raises BackupRefused, StorageFailed (500), and what the database raises.
    """
    telling = Telling(progress)
    threads = ThreadPoolExecutor(THREADS, thread_name_prefix="backup")
    try:
        with folder.held():
            making = _Making(source, folder, wanted, telling, threads)
            async with GarbagePause(source.db, "backup") as pause:
                made = await making.make(pause)
            await making.tidy(made)
    except SnapshotFailed as error:
        raise BackupRefused(str(error)) from error
    except OSError as error:
        raise BackupRefused(
            f"the backup cannot be written to {folder.root}: {error.strerror}. What is there of it is none"
            " yet; those before are whole."
        ) from error
    finally:
        threads.shutdown()
    detail = f"{made.generation}: {made.blobs} blobs"
    await source.db.write(lambda tx: record(tx, made_by, "backup", "store", detail=detail))
    log.info(
        "backup_made",
        folder=str(folder.root),
        generation=made.generation,
        blobs=made.blobs,
        brought_bytes=made.brought_bytes,
        missing=len(made.missing),
    )
    return made


class _Making:
    """One run."""

    def __init__(
        self,
        source: Source,
        folder: BackupFolder,
        wanted: Wanted,
        telling: Telling,
        threads: ThreadPoolExecutor,
    ) -> None:
        self._source = source
        self._folder = folder
        self._wanted = wanted
        self._telling = telling
        self._threads = threads
        self._written: set[Path] = set()
        """Folders of blobs that have to be synced before the generation counts."""

    async def make(self, pause: GarbagePause) -> BackedUp:
        """Rows first: what they name stays where it is until the pause is over."""
        made = BackedUp(self._name_generation())
        part = await self._in_thread(self._folder.begin, made.generation)
        database = part / "moorage.db"
        self._telling.begin(None, "pages", "database")
        await self._telling.until(self._in_thread(self._source.snapshots.take, database, self._telling.set))
        await self._in_thread(_copy_secrets, self._source.data / "tls", part / "tls")
        snapshot = self._source.snapshots.open(database)
        try:
            self._telling.begin((await get_total(snapshot))[1], "bytes", "blobs")
            after = ""
            while blobs := await list_live(snapshot, after, _BATCH):
                await self._telling.until(self._bring_all(blobs, made))
                after = blobs[-1].digest
            withdrawn = await list_withdrawn(snapshot)
        finally:
            snapshot.close()
        await pause.prolong()
        if made.missing and pause.is_over:
            raise BackupRefused(
                "garbage was collected meanwhile: this process stood still for too long. Make it again."
            )
        self._miss(withdrawn, made)
        for shard in self._written:
            await self._in_thread(sync_folder, shard)
        await self._in_thread(sync_folder, self._folder.shards)
        await self._in_thread(self._publish, made, database)
        return made

    def _name_generation(self) -> str:
        """By the time, and after all that are there, whatever the clock says."""
        name = datetime.fromtimestamp(now_ms() / 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
        names = self._folder.names()
        last = names[-1] if names else ""
        return name if name > last else f"{last}+"

    async def _bring_all(self, blobs: list[Blob], made: BackedUp) -> None:
        outcomes = await asyncio.gather(*(self._bring(blob) for blob in blobs))
        for blob, outcome in zip(blobs, outcomes, strict=True):
            made.blobs += 1
            made.bytes += blob.size
            made.how[outcome] = made.how.get(outcome, 0) + 1
            if outcome in {"missing", "damaged"}:
                made.missing.append(blob.digest)
            elif outcome != "here":
                made.brought_blobs += 1
                made.brought_bytes += blob.size

    @staticmethod
    def _miss(withdrawn: list[BlobRow], made: BackedUp) -> None:
        """Count what was lost before as what is lost now is counted."""
        for blob in withdrawn:
            made.blobs += 1
            made.bytes += blob.size
            made.how["missing"] = made.how.get("missing", 0) + 1
            made.missing.append(blob.digest)

    async def _bring(self, blob: Blob) -> Outcome:
        """One blob. A push may have replaced its file since the rows were copied."""
        outcome = await self._in_thread(self._bring_file, blob)
        if outcome != "missing":
            if outcome == "damaged":
                await withdraw(self._source.db, self._source.store, blob, "wrong bytes")
            return outcome
        now = await find_blob_row(self._source.db, blob.digest)
        if now is None or now.state != "live" or now.generation == blob.generation:
            return "missing"
        return await self._in_thread(self._bring_file, Blob(now.digest, None, now.size, now.generation))

    def _bring_file(self, blob: Blob) -> Outcome:
        target = self._folder.path_of(blob.digest)
        if self._folder.has(blob.digest, blob.size):
            if not self._wanted.is_verifying:
                self._telling.count(blob.size)
                return "here"
            if copying.is_whole(target, blob.digest, self._telling.count):
                return "here"
        if target.parent not in self._written:
            target.parent.mkdir(mode=0o700, exist_ok=True)
            self._written.add(target.parent)
        source = self._source.store.path_of(blob.digest, blob.generation)
        with suppress(FileNotFoundError):
            if self._wanted.by_link and source.stat().st_size == blob.size and copying.link(source, target):
                self._telling.count(blob.size)
                return "linked"
        file = self._source.store.open_blob(blob.digest, blob.generation)
        return "missing" if file is None else self._copy_file(file, source, target, blob)

    def _copy_file(self, file: BlobFile, source: Path, target: Path, blob: Blob) -> Outcome:
        try:
            return copying.bring(file, source, target, blob.digest, self._telling.count)
        except BlobDamaged:
            return "damaged"
        finally:
            file.close()

    def _publish(self, made: BackedUp, database: Path) -> None:
        generation = Generation(
            format=FORMAT,
            made_at=datetime.fromtimestamp(now_ms() / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            version=self._source.version,
            blobs=made.blobs,
            bytes=made.bytes,
            database_bytes=database.stat().st_size,
            database_sha256=sha256_of(database),
            missing=made.missing,
        )
        self._folder.publish(made.generation, generation)

    async def tidy(self, made: BackedUp) -> None:
        """Remove the generations that are too many, and what only they named."""
        retired = await self._in_thread(self._folder.retire, self._wanted.keep)
        if not retired:
            return
        self._telling.begin(None, "blobs", "removing what no generation names")
        work = prune(self._folder, self._source.snapshots, self._threads, self._telling.count)
        made.removed_blobs, made.removed_bytes = await self._telling.until(work)
        for name in retired:
            await self._in_thread(self._folder.forget, name)
        made.removed_generations = [name.removesuffix(".old") for name in retired]

    async def _in_thread(self, function: Callable[[*Args], T], *arguments: *Args) -> T:
        return await in_thread(self._threads, function, *arguments)


async def list_withdrawn(snapshot: Database) -> list[BlobRow]:
    """The blobs that were taken out of service, not pushed again, and are needed by an image."""
    found: list[BlobRow] = []
    while some := await list_damaged_needed(snapshot, found[-1].digest if found else "", _BATCH):
        found += some
    return found


def sha256_of(path: Path) -> str:
    """Of a whole file. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy_secrets(source: Path, target: Path) -> None:
    """The certificate and the root that issued it, for their owner alone. Raises OSError."""
    if not source.is_dir():
        return
    target.mkdir(mode=0o700)
    for each in source.glob("*.pem*"):
        if not each.name.endswith(".tmp"):
            write_synced(target / each.name, each.read_bytes())
            shutil.copystat(each, target / each.name)
    sync_folder(target)
