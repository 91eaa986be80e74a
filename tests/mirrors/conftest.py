"""Mirrors on a store of the test's own: its clock is moved by the test, other registries are what it says."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

import pytest

from moorage.config import Settings, UploadSettings
from moorage.databases.sqlite import SqliteDatabase
from moorage.mirrors.claims import Claims
from moorage.mirrors.fetching import Manifests
from moorage.mirrors.filling import Fills
from moorage.mirrors.lines import Lines
from moorage.mirrors.looking import Looks
from moorage.mirrors.mirrors import Mirrors
from moorage.mirrors.misses import Misses
from moorage.mirrors.placing import Upstreams
from moorage.mirrors.saving import Savings
from moorage.mirrors.upstreams import Address, Upstream
from moorage.registry.uploads.uploading import Uploads
from moorage.storage.filesystem import FilesystemStore
from tests.mirrors.elsewhere import Elsewhere, Everywhere
from tests.registry.conftest import anyio_backend, clock, db, health, offline, store, threads, uploads

__all__ = ["anyio_backend", "clock", "db", "health", "offline", "store", "threads", "uploads"]

HUB = Upstream(
    "docker.io",
    Address("https://hub.example"),
    hosts=("registry-1.docker.io",),
    alternatives=(Address("https://other.example"),),
    is_root=True,
    freshness_ms=60_000,
)

Open = Callable[..., Mirrors]


async def until(is_so: Callable[[], bool]) -> None:
    """Give way to the others until it is."""
    for _ in range(12_000):
        if is_so():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come to pass")


@pytest.fixture
def settings() -> UploadSettings:
    return replace(Settings().uploads, max_open=5)


@pytest.fixture
def hub() -> Elsewhere:
    """The upstream itself."""
    return Elsewhere()


@pytest.fixture
def other() -> Elsewhere:
    """Its alternative."""
    return Elsewhere()


@pytest.fixture
async def open_mirrors(
    db: SqliteDatabase,
    store: FilesystemStore,
    threads: Executor,
    uploads: Uploads,
    hub: Elsewhere,
    other: Elsewhere,
    tmp_path: Path,
) -> AsyncIterator[Open]:
    """The mirrors of one process after the other; each is closed in the end."""
    opened: list[Mirrors] = []

    def open_one(*upstreams: Upstream) -> Mirrors:
        registry = Everywhere({"https://hub.example": hub, "https://other.example": other})
        lines, savings = Lines(db, registry), Savings(db)
        known = Upstreams(db, upstreams or (HUB,), lines)
        misses, claims = Misses(), Claims(tmp_path / "mirrors.lock")
        manifests = Manifests(db, registry, known, lines, savings, 4 << 20, misses, claims)
        looks = Looks(registry, known, lines, misses)
        fills = Fills(db, store, threads, uploads, registry, known, lines, savings, 86_400_000, looks)
        opened.append(Mirrors(db, known, lines, manifests, fills, savings))
        return opened[-1]

    yield open_one
    for each in opened:
        await each.close()


@pytest.fixture
async def mirrors(open_mirrors: Open) -> Mirrors:
    return open_mirrors()
