"""Real rows and real bytes in a folder of the test's own, a clock that the test moves, no network."""

import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from moorage.config import Settings, UploadSettings
from moorage.databases import sqlite
from moorage.databases.sqlite import SqliteDatabase
from moorage.health import Health
from moorage.registry.uploads.uploading import Uploads
from moorage.storage.filesystem import FilesystemStore
from tests.offline import offline
from tests.registry.in_process import InProcess

__all__ = ["offline"]


class Clock:
    """The clocks: time may pass, or the wall clock be set forward or back."""

    def __init__(self) -> None:
        self.now_ns = time.time_ns()
        self.passed_ns = 0

    def move(self, by: timedelta) -> None:
        """Let time pass."""
        self.leap(by)
        self.passed_ns += int(by.total_seconds() * 1e9)

    def leap(self, by: timedelta) -> None:
        """Set the wall clock."""
        self.now_ns += int(by.total_seconds() * 1e9)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "time_ns", lambda: clock.now_ns)
    read = time.clock_gettime_ns
    monkeypatch.setattr(time, "clock_gettime_ns", lambda which: read(which) + clock.passed_ns)
    return clock


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def db(tmp_path: Path, health: Health) -> Iterator[SqliteDatabase]:
    path = tmp_path / "moorage.db"
    sqlite.prepare(path)
    db = SqliteDatabase(path, health)
    yield db
    db.close()


@pytest.fixture
def store(tmp_path: Path, health: Health) -> FilesystemStore:
    store = FilesystemStore(tmp_path, health, 0)
    store.prepare()
    return store


@pytest.fixture
def threads() -> Iterator[Executor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


@pytest.fixture
def settings() -> UploadSettings:
    return replace(Settings().uploads, max_open=5)


@pytest.fixture
def uploads(
    db: SqliteDatabase, store: FilesystemStore, threads: Executor, settings: UploadSettings
) -> Uploads:
    return Uploads(db, store, threads, settings)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[InProcess]:
    """All of it, as one worker has it."""
    registry = InProcess(tmp_path / "data")
    registry.open()
    yield registry
    registry.end()
