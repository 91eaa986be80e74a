"""Copies of the database, taken while it is written to."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import apsw

from moorage.database import Row, Transaction
from moorage.databases import sqlite
from moorage.errors import StorageReadOnly
from moorage.health import Health
from moorage.transfer.backup_folder import BackupRefused
from moorage.transfer.ports import SnapshotFailed

_PAGES_AT_ONCE = 1000

T = TypeVar("T")


class SqliteSnapshots:
    """Of one database."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def take(self, target: Path, told: Callable[[int, int], None]) -> None:
        try:
            source = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READWRITE)
            try:
                source.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
                # one reading transaction: what others write meanwhile would make the copy begin again
                source.execute("BEGIN")
                source.execute("SELECT count(*) FROM migration").fetchall()
                _copy(source, target, told)
            finally:
                source.close()
            _sync(target)
        except (apsw.Error, OSError) as error:
            raise SnapshotFailed(f"the database cannot be copied to {target}: {error}") from error

    @staticmethod
    def open(path: Path) -> "SqliteSnapshot":
        try:
            return SqliteSnapshot(path)
        except apsw.Error as error:
            raise SnapshotFailed(f"{path} cannot be read: {error}") from error


def _copy(source: apsw.Connection, target: Path, told: Callable[[int, int], None]) -> None:
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    copy = apsw.Connection(str(target), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        # synced once, at the end
        copy.execute("PRAGMA synchronous = OFF")
        with copy.backup("main", source, "main") as backup:
            while not backup.done:
                backup.step(_PAGES_AT_ONCE)
                told(backup.page_count - backup.remaining, backup.page_count)
        # one file, which can be read from a folder that cannot be written to
        copy.execute("PRAGMA journal_mode = DELETE")
        (found,) = copy.execute("PRAGMA quick_check(1)").fetchone() or ("nothing",)
        if found != "ok":
            raise apsw.CorruptError(f"the copy is damaged: {found}")
    finally:
        copy.close()


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class SqliteRestored:
    """A copy that becomes a database again."""

    @staticmethod
    def prepare(path: Path) -> None:
        try:
            sqlite.prepare(path)
        except sqlite.DatabaseRefused as refusal:
            raise BackupRefused(str(refusal)) from refusal

    @staticmethod
    def open(path: Path) -> sqlite.SqliteDatabase:
        return sqlite.SqliteDatabase(path, Health())


class SqliteSnapshot:
    """A copy, which is read only."""

    def __init__(self, path: Path) -> None:
        self._connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        self._connection.execute("SELECT count(*) FROM migration").fetchall()

    async def one(self, sql: str, values: Sequence[object] = ()) -> Row | None:
        return self._connection.execute(sql, values).fetchone()

    async def all(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        return self._connection.execute(sql, values).fetchall()

    async def scan(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        return await self.all(sql, values)

    async def write(self, work: Callable[[Transaction], T]) -> T:  # noqa: ARG002 - whatever it is
        raise StorageReadOnly

    def close(self) -> None:
        self._connection.close()
