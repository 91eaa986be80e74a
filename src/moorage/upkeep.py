"""The wiring of what keeps a store: garbage, checks, scrubs and backups, as jobs and as their schedules."""

from collections.abc import Mapping
from concurrent.futures import Executor
from importlib import metadata
from typing import Any

import msgspec

from moorage.config import Settings
from moorage.database import Database
from moorage.databases.snapshots import SqliteSnapshots
from moorage.lifecycle.checking.check import StoreCheck
from moorage.lifecycle.garbage import rows as garbage_rows
from moorage.lifecycle.garbage.collecting import Garbage
from moorage.lifecycle.scrubbing.scrub import Scrub
from moorage.lifecycle.scrubbing.verifying import Verifier
from moorage.records.audit.rows import Actor
from moorage.records.jobs.running import CannotBeDone, Handler, Running
from moorage.records.jobs.scheduling import Scheduled
from moorage.schedule import read_schedule
from moorage.storage.filesystem import FilesystemStore
from moorage.storage.upkeep import FilesystemUpkeep
from moorage.transfer.backing_up import Source, Wanted, make_backup
from moorage.transfer.backup_folder import BackupFolder, BackupRefused


class Upkeep:
    """What is done to one store. Each method but the last is a job's handler."""

    def __init__(self, db: Database, store: FilesystemStore, threads: Executor, settings: Settings) -> None:
        self._settings = settings
        self._check = StoreCheck(db, store, FilesystemUpkeep(store), threads, settings.storage.quarantine)
        self._scrub = Scrub(db, store, settings.scrub)
        self._verifier = Verifier(db, store)
        self._source = backup_source(db, store, settings)
        self._garbage = Garbage(db, store, threads, settings.delete.delay_ms)

    def handlers(self) -> Mapping[str, Handler]:
        """By kind of job."""
        return {
            "garbage": self.garbage,
            "check": self.check,
            "scrub": self.scrub,
            "verify": self.verify,
            "backup": self.backup,
        }

    def schedules(self) -> Mapping[str, Scheduled]:
        """What of it is done again and again."""
        jobs = self._settings.jobs
        found = {
            "garbage": Scheduled(read_schedule(jobs.garbage), garbage_rows.is_due),
            "check": Scheduled(read_schedule(jobs.check)),
            "scrub": Scheduled(read_schedule(jobs.scrub), lambda _: self._scrub.is_due()),
        }
        if self._settings.backup.folder is not None:
            found["backup"] = Scheduled(read_schedule(jobs.backup))
        return found

    async def garbage(self, running: Running) -> Mapping[str, object]:
        """What nothing needs any more, off the disk."""
        return _fact(await self._garbage.collect(running.say))

    async def check(self, running: Running) -> Mapping[str, object]:
        """Rows against files, both ways."""
        report = await self._check.run(running, is_certain=bool(running.arguments.get("withdraw_all")))
        return _fact(report)

    async def scrub(self, running: Running) -> Mapping[str, object]:
        """Everything read again."""
        return await self._scrub.run(running)

    async def verify(self, running: Running) -> Mapping[str, object]:
        """One image read again."""
        asked = running.arguments
        return _fact(await self._verifier.verify(asked["repository"], asked.get("reference"), running))

    async def backup(self, running: Running) -> Mapping[str, object]:
        """A generation in the folder of the settings."""
        settings = self._settings.backup
        if settings.folder is None:
            raise CannotBeDone("backup.folder is not set")
        wanted = Wanted(settings.keep, settings.by_link)
        try:
            folder = BackupFolder.make(settings.folder, self._settings.storage.data)
            made = await make_backup(self._source, folder, wanted, running, Actor(running.created_by))
        except BackupRefused as refusal:
            raise CannotBeDone(str(refusal)) from refusal
        except OSError as error:
            raise CannotBeDone(f"{settings.folder}: {error.strerror}. Mend it, or backup.folder.") from error
        return _fact(made)


def backup_source(db: Database, store: FilesystemStore, settings: Settings) -> Source:
    """What a backup is made of."""
    snapshots = SqliteSnapshots(settings.storage.database)
    return Source(db, store, snapshots, settings.storage.data, metadata.version("moorage"))


def _fact(value: Any) -> Mapping[str, object]:
    built: dict[str, object] = msgspec.to_builtins(value)
    return built
