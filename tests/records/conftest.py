import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from moorage.databases import sqlite
from moorage.databases.sqlite import SqliteDatabase
from moorage.health import Health
from tests.offline import offline
from tests.records.shop import Shop

__all__ = ["offline"]


class Clock:
    """The wall clock, which a test may set forward or back. It stands still otherwise."""

    def __init__(self) -> None:
        self.now_ns = time.time_ns()

    def move(self, by: timedelta) -> None:
        self.now_ns += int(by.total_seconds() * 1e9)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "time_ns", lambda: clock.now_ns)
    return clock


@pytest.fixture
def db(tmp_path: Path) -> Iterator[SqliteDatabase]:
    path = tmp_path / "moorage.db"
    sqlite.prepare(path)
    db = SqliteDatabase(path, Health())
    yield db
    db.close()


@pytest.fixture
def shop(db: SqliteDatabase, tmp_path: Path) -> Shop:
    return Shop(db, tmp_path)
