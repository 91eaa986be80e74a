"""Variants of the server's code that are wrong on purpose, each with what has to find it.

They are planted in the process of a case by replacing a method of the real store or database.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from moorage.database import Transaction
from moorage.databases import sqlite
from moorage.databases.sqlite import SqliteDatabase
from moorage.storage.filesystem import FilesystemStore
from tests.lifecycle import mutants

LATE_S = 0.05

Work = Callable[[Transaction], Any]


@dataclass(frozen=True)
class Planted:
    """A wrong variant and the means that must find it in a case: sweep, lint, power."""

    plant: Callable[[], None]
    found_by: frozenset[str]
    case: str = "blob"
    every: int = 1
    """Of so many points one is enough to find it."""


def row_before_rename() -> None:
    """The row says that a blob is live before its file is there."""
    late: list[tuple[Any, ...]] = []
    commit, write = FilesystemStore.commit, SqliteDatabase.write

    def postpone(*arguments: Any) -> None:
        late.append(arguments)

    async def write_then_rename(self: SqliteDatabase, work: Work) -> Any:
        answer = await write(self, work)
        while late:
            commit(*late.pop())
        return answer

    _replace(FilesystemStore, "commit", postpone)
    _replace(SqliteDatabase, "write", write_then_rename)


def early_reply() -> None:
    """A push of a blob is answered before its transaction is begun."""
    committed: list[bool] = []
    commit, write = FilesystemStore.commit, SqliteDatabase.write

    def remember(*arguments: Any) -> None:
        commit(*arguments)
        committed.append(True)

    async def answer_then_write(self: SqliteDatabase, work: Work) -> Any:
        if not committed:
            return await write(self, work)
        committed.clear()

        def late(tx: Transaction) -> Any:
            time.sleep(LATE_S)
            return work(tx)

        _running.append(asyncio.create_task(write(self, late)))
        await asyncio.sleep(0)
        return True

    _replace(FilesystemStore, "commit", remember)
    _replace(SqliteDatabase, "write", answer_then_write)


def no_folder_sync() -> None:
    """No folder's entries are made durable."""

    def sync_folder(self: FilesystemStore, folder: Path) -> None:
        pass

    _replace(FilesystemStore, "sync_folder", sync_folder)


def no_file_sync() -> None:
    """No blob's bytes are made durable; the folders are."""
    sync = FilesystemStore.sync

    def sync_folders_only(self: FilesystemStore, fd: int) -> None:
        if Path(f"/proc/self/fd/{fd}").is_dir():
            sync(self, fd)

    _replace(FilesystemStore, "sync", sync_folders_only)


def no_database_sync() -> None:
    """A transaction is answered before the write-ahead log is durable."""
    connect = sqlite._connect

    def connect_carelessly(path: Path, *, can_write: bool) -> apsw.Connection:
        connection = connect(path, can_write=can_write)
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    _replace(sqlite, "_connect", connect_carelessly)


def _replace(owner: Any, name: str, function: Callable[..., Any]) -> None:
    assert hasattr(owner, name), f"{owner} has no {name} any more"
    setattr(owner, name, function)


def _collector(plant: mutants.Plant, case: str, every: int = 12) -> Planted:
    """A collector of garbage that is wrong."""
    return Planted(lambda: plant(_replace), frozenset({"sweep"}), case, every)


_running: list[asyncio.Task[Any]] = []
"""The loop keeps no task alive by itself."""

PLANTED = {
    "row-before-rename": Planted(row_before_rename, frozenset({"sweep", "power"})),
    "early-reply": Planted(early_reply, frozenset({"sweep", "power"})),
    "no-folder-sync": Planted(no_folder_sync, frozenset({"lint", "power"})),
    "no-file-sync": Planted(no_file_sync, frozenset({"lint", "power"})),
    "no-database-sync": Planted(no_database_sync, frozenset({"lint", "power"})),
    "children-ignored": _collector(mutants.ignore_children, "collect"),
    "trash-ignored": _collector(mutants.forget_trash, "collect"),
    "new-ignored": _collector(mutants.ignore_the_new, "collect"),
    "row-before-unlink": _collector(mutants.forget_before_unlink, "collect", every=2),
    "wrong-generation": _collector(mutants.unlink_any_generation, "revive"),
    "look-without-lease": _collector(mutants.look_without_lease, "look"),
}
