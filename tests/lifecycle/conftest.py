"""A store on a folder of the test's own, its clock moved by the test, no network."""

from concurrent.futures import Executor
from datetime import timedelta
from pathlib import Path

import pytest

from moorage.config import ScrubSettings
from moorage.databases.sqlite import SqliteDatabase
from moorage.lifecycle.checking.check import StoreCheck
from moorage.lifecycle.scrubbing.scrub import Scrub
from moorage.lifecycle.store.sequence import Sequence
from moorage.registry.uploads.uploading import Uploads
from moorage.storage.filesystem import FilesystemStore
from moorage.storage.upkeep import FilesystemUpkeep
from tests.lifecycle.keeping import Kept
from tests.registry.conftest import (
    anyio_backend,
    clock,
    db,
    health,
    offline,
    registry,
    settings,
    store,
    threads,
    uploads,
)

__all__ = [
    "anyio_backend",
    "clock",
    "db",
    "health",
    "offline",
    "registry",
    "settings",
    "store",
    "threads",
    "uploads",
]


@pytest.fixture
def files(store: FilesystemStore) -> FilesystemUpkeep:
    return FilesystemUpkeep(store)


@pytest.fixture
def check(
    db: SqliteDatabase, store: FilesystemStore, files: FilesystemUpkeep, threads: Executor
) -> StoreCheck:
    return StoreCheck(db, store, files, threads, timedelta(days=30))


@pytest.fixture
def scrub(db: SqliteDatabase, store: FilesystemStore) -> Scrub:
    return Scrub(db, store, ScrubSettings())


@pytest.fixture
def sequence(db: SqliteDatabase, tmp_path: Path) -> Sequence:
    return Sequence(db, tmp_path)


@pytest.fixture
def kept(db: SqliteDatabase, store: FilesystemStore, uploads: Uploads) -> Kept:
    return Kept(db, store, uploads)
