"""Making a data folder of a backup: blobs first, each read against its digest, the database last.

Until the database has its name the folder is not a registry; a restore that was cut goes on where it was.
"""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, TypeVar, TypeVarTuple

import structlog

from moorage.database import Database
from moorage.lifecycle.progress import Progress
from moorage.lifecycle.store.rows import read_state
from moorage.lifecycle.store.sequence import FILE_NAME, write_sequence
from moorage.oci.digest import Digest
from moorage.registry.blobs.rows import Blob, get_total, list_live
from moorage.registry.blobs.store import BlobDamaged
from moorage.threads import in_thread
from moorage.transfer import rows
from moorage.transfer.backing_up import THREADS, list_withdrawn, sha256_of
from moorage.transfer.backup_folder import BackupFolder, BackupRefused, sync_file, sync_folder, write_synced
from moorage.transfer.copying import PIECE_BYTES, bring_verified
from moorage.transfer.telling import Telling

MARKER: Final = "restoring"
"""In a data folder: it is being made of this generation, and not to be served yet."""

_DATABASE: Final = "moorage.db"
_EMPTY: Final = ("uploads", "quarantine")
_BATCH: Final = 64

Args = TypeVarTuple("Args")
T = TypeVar("T")

log = structlog.get_logger()


class Databases(Protocol):
    """How the copy becomes a database again."""

    def prepare(self, path: Path) -> None:
        """Bring it to this program's schema. Raises BackupRefused."""
        ...

    def open(self, path: Path) -> "OpenDatabase":
        """Open it for reading and writing."""
        ...


class OpenDatabase(Database, Protocol):
    """A database that has to be closed."""

    def close(self) -> None:
        """Let go of it, with all that was written in the one file."""
        ...


@dataclass(slots=True)
class Restored:
    """What was made. `missing` are blobs that the backup does not hold whole: 404 until they are pushed."""

    generation: str
    made_at: str
    blobs: int = 0
    bytes: int = 0
    were_there: int = 0
    missing: list[str] = field(default_factory=list)


async def restore(
    folder: BackupFolder, data: Path, at: str | None, databases: Databases, progress: Progress
) -> Restored:
    """Make `data` of a generation, the newest unless `at` names another.

    Raises BackupRefused: for a folder that holds anything but the same restore, cut.
    """
    threads = ThreadPoolExecutor(THREADS, thread_name_prefix="restore")
    try:
        with folder.held():
            name = _choose(folder, at)
            restoring = _Restoring(folder, data, name, databases, Telling(progress), threads)
            return await restoring.restore()
    except OSError as error:
        raise BackupRefused(
            f"{data} cannot be made: {error.filename or data}: {error.strerror}. Mend it and repeat."
        ) from error
    finally:
        threads.shutdown()


def _choose(folder: BackupFolder, at: str | None) -> str:
    names = folder.names()
    if not names:
        raise BackupRefused(f"{folder.root} holds no whole backup")
    if at is not None and at not in names:
        raise BackupRefused(f"{folder.root} has no generation {at}; there are {', '.join(names)}")
    return at or names[-1]


class _Restoring:
    """One run."""

    def __init__(
        self,
        folder: BackupFolder,
        data: Path,
        name: str,
        databases: Databases,
        telling: Telling,
        threads: ThreadPoolExecutor,
    ) -> None:
        self._folder = folder
        self._data = data
        self._name = name
        self._databases = databases
        self._telling = telling
        self._threads = threads
        self._shards = data / "blobs" / "sha256"

    async def restore(self) -> Restored:
        held = self._folder.read(self._name)
        restored = Restored(self._name, held.made_at)
        await self._in_thread(self._begin)
        part = self._data / f"{_DATABASE}.part"
        await self._in_thread(self._bring_database, part, held.database_sha256)
        await self._in_thread(self._databases.prepare, part)
        db = self._databases.open(part)
        try:
            restored.missing = [blob.digest for blob in await list_withdrawn(db)]
            lost = await self._bring_blobs(db, restored)
            await db.write(rows.settle_restored)
            for start in range(0, len(lost), _BATCH):
                await self._lose(db, lost[start : start + _BATCH])
            sequence = (await read_state(db)).sequence
        finally:
            db.close()
        write_sequence(self._data / FILE_NAME, sequence)
        await self._in_thread(self._end, part)
        log.info("store_restored", generation=self._name, blobs=restored.blobs, missing=len(restored.missing))
        return restored

    def _begin(self) -> None:
        """Take an empty folder, or the one that this very restore has begun to make."""
        marker = self._data / MARKER
        found = [each.name for each in self._data.iterdir()] if self._data.exists() else []
        begun = marker.read_text("utf-8").strip() if MARKER in found else None
        if found:
            if begun is None:
                raise BackupRefused(f"{self._data} is not empty. Name a folder that is, or is not there yet.")
            # one that was cut while it wrote the name has made nothing else
            is_cut = found == [MARKER] and self._name.startswith(begun)
            if begun != self._name and not is_cut:
                raise BackupRefused(
                    f"{self._data} is half a restore of {begun}. Repeat it with --at {begun}, or remove it."
                )
        self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if begun != self._name:
            write_synced(marker, self._name.encode())
        for each in (self._shards.parent, self._shards, *(self._data / name for name in _EMPTY)):
            each.mkdir(mode=0o700, exist_ok=True)
        sync_folder(self._data)

    def _bring_database(self, part: Path, sha256: str) -> None:
        """The rows as they were copied, whatever a run before has made of them."""
        source = self._folder.generations / self._name / _DATABASE
        for each in (part, *(part.with_name(f"{part.name}-{kind}") for kind in ("wal", "shm", "journal"))):
            each.unlink(missing_ok=True)
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file, source.open("rb") as copied:
            while piece := copied.read(PIECE_BYTES):
                file.write(piece)
        if sha256_of(part) != sha256:
            raise BackupRefused(f"{source} is damaged. Restore another generation, with --at.")

    async def _bring_blobs(self, db: Database, restored: Restored) -> list[tuple[Digest, int]]:
        """All live blobs; those that are not here whole, by digest and generation."""
        lost: list[tuple[Digest, int]] = []
        self._telling.begin((await get_total(db))[1], "bytes", "blobs")
        after = ""
        while blobs := await list_live(db, after, _BATCH):
            whole = await self._telling.until(
                asyncio.gather(*(self._in_thread(self._bring, blob, restored) for blob in blobs))
            )
            for blob, is_whole in zip(blobs, whole, strict=True):
                if is_whole:
                    restored.blobs += 1
                    restored.bytes += blob.size
                else:
                    lost.append((blob.digest, blob.generation))
                    restored.missing.append(blob.digest)
            after = blobs[-1].digest
        for shard in self._shards.iterdir():
            await self._in_thread(sync_folder, shard)
        await self._in_thread(sync_folder, self._shards)
        return lost

    def _bring(self, blob: Blob, restored: Restored) -> bool:
        source = self._folder.path_of(blob.digest)
        name = f"{source.name}.{blob.generation}"
        target = self._shards / source.parent.name / name
        if target.exists():
            # it got its name when all of it was read, written and synced
            restored.were_there += 1
            self._telling.count(blob.size)
            return True
        target.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            bring_verified(source, target, blob.digest, blob.size, self._telling.count)
        except (FileNotFoundError, BlobDamaged):
            return False
        return True

    @staticmethod
    async def _lose(db: Database, lost: list[tuple[Digest, int]]) -> None:
        await db.write(lambda tx: rows.lose(tx, lost))

    def _end(self, part: Path) -> None:
        """Certificate and root, then the database by its name; now it is a registry."""
        tls = self._folder.generations / self._name / "tls"
        if tls.is_dir():
            (self._data / "tls").mkdir(mode=0o700, exist_ok=True)
            for each in tls.iterdir():
                write_synced(self._data / "tls" / each.name, each.read_bytes())
            sync_folder(self._data / "tls")
        sync_file(part)
        part.rename(self._data / _DATABASE)
        sync_folder(self._data)
        (self._data / MARKER).unlink()
        sync_folder(self._data)

    async def _in_thread(self, function: Callable[[*Args], T], *arguments: *Args) -> T:
        return await in_thread(self._threads, function, *arguments)
