"""Garbage goes, and nothing else, by leases, references and the trash; pauses and mistrust hold it up."""

import asyncio
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from datetime import timedelta
from pathlib import Path

import apsw
import pytest

from moorage.clock import now_ms
from moorage.database import Row
from moorage.databases.sqlite import SqliteDatabase
from moorage.lifecycle.checking.rows import list_lost_links
from moorage.lifecycle.garbage import collecting
from moorage.lifecycle.garbage.collecting import Garbage
from moorage.lifecycle.garbage.rows import is_due, list_garbage, read_totals
from moorage.lifecycle.garbage.status import measure_store, plan
from moorage.oci.digest import Digest
from moorage.registry.blobs.rows import LEASE_MS, find_blob, find_generation
from moorage.registry.trash.deleting import delete_manifest
from moorage.registry.uploads.uploading import Uploads
from moorage.storage.filesystem import FilesystemStore
from moorage.storage.upkeep import FilesystemUpkeep
from tests.content import image, some_bytes
from tests.registry.conftest import Clock
from tests.registry.pushing import CLIENT, OTHER, REPOSITORY, push_blob, push_document

pytestmark = pytest.mark.anyio

LEASE = timedelta(milliseconds=LEASE_MS + 1)
GRACE_MS = 7 * 86_400_000


@pytest.fixture
def garbage(db: SqliteDatabase, store: FilesystemStore, threads: Executor) -> Garbage:
    return Garbage(db, store, threads, LEASE_MS)


async def test_blob_that_nothing_refers_to_goes_when_its_lease_is_over(
    garbage: Garbage, uploads: Uploads, db: SqliteDatabase, store: FilesystemStore, clock: Clock
) -> None:
    digest = await push_blob(uploads, b"some bytes")
    clock.move(LEASE - timedelta(seconds=1))
    assert (await garbage.collect()).removed_blobs == 0
    assert await find_blob(db, REPOSITORY, digest) is not None
    clock.move(timedelta(seconds=2))

    done = await garbage.collect()

    assert (done.removed_blobs, done.removed_bytes) == (1, len(b"some bytes"))
    assert store.blob_size(digest, 1) is None
    assert await db.one("SELECT blobs, bytes, disk_bytes FROM blob_total") == (0, 0, 0)


async def test_blob_that_an_image_needs_stays(
    garbage: Garbage, uploads: Uploads, db: SqliteDatabase, store: FilesystemStore, clock: Clock
) -> None:
    digest = await push_blob(uploads, b"some bytes")
    await push_document(db, store, image(b"some bytes"), "1.0")
    clock.move(LEASE * 100)

    assert (await garbage.collect()).removed_blobs == 0
    assert await find_blob(db, REPOSITORY, digest) is not None


async def test_repository_that_needs_a_blob_no_more_lets_go_of_it_alone(
    garbage: Garbage, uploads: Uploads, db: SqliteDatabase, store: FilesystemStore, clock: Clock
) -> None:
    digest = await push_blob(uploads, b"some bytes")
    await push_document(db, store, image(b"some bytes"), "1.0")
    await push_blob(uploads, b"some bytes", OTHER)
    clock.move(LEASE)

    assert (await garbage.collect()).removed_blobs == 0
    assert await find_blob(db, OTHER, digest) is None
    assert await find_blob(db, REPOSITORY, digest) is not None


async def test_generation_is_never_used_twice(
    garbage: Garbage, uploads: Uploads, db: SqliteDatabase, store: FilesystemStore, clock: Clock
) -> None:
    """D12: a removal that comes late hits nothing."""
    digest = await push_blob(uploads, b"some bytes")
    clock.move(LEASE)
    await garbage.collect()
    await push_blob(uploads, b"some bytes")
    assert await find_generation(db, digest) == (2, True)

    store.remove_blobs([(digest, 1)])

    assert store.blob_size(digest, 2) == len(b"some bytes")


async def test_long_run_rests_after_each_step_for_longer_than_the_step_took(
    garbage: Garbage, uploads: Uploads, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleep = asyncio.sleep
    rests: list[float] = []

    async def note(delay_s: float) -> None:
        rests.append(delay_s)
        await sleep(0)

    for number in range(5):
        await push_blob(uploads, b"%d" % number)
    clock.move(LEASE)
    monkeypatch.setattr(collecting, "BATCH", 2)
    monkeypatch.setattr(asyncio, "sleep", note)
    began = time.monotonic()
    done = await garbage.collect()

    assert done.removed_blobs == 5
    assert len([rest for rest in rests if rest]) == 3
    # twice what the steps took; what took time besides is the last look, which finds nothing
    assert (time.monotonic() - began) * 2 > sum(rests) > 0


async def test_blob_pushed_while_it_is_removed_is_kept(
    garbage: Garbage,
    uploads: Uploads,
    db: SqliteDatabase,
    store: FilesystemStore,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """F37."""
    digest = await push_blob(uploads, b"some bytes")
    clock.move(LEASE)
    remove = store.remove_blobs
    monkeypatch.setattr(store, "remove_blobs", lambda _: None)
    monkeypatch.setattr("moorage.lifecycle.garbage.rows.forget_garbage", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        await garbage.collect()
    monkeypatch.undo()
    assert await find_blob(db, REPOSITORY, digest) is None

    await push_blob(uploads, b"some bytes")
    remove([(digest, 1)])
    await Garbage(db, store, garbage._threads, LEASE_MS).collect()

    assert await find_blob(db, REPOSITORY, digest) is not None
    assert store.blob_size(digest, 2) == len(b"some bytes")


@pytest.mark.parametrize(
    "obstacle",
    [
        "INSERT INTO garbage_pause (holder, until) VALUES ('a backup', 9999999999999)",
        "UPDATE store_state SET mistrusted = 'the database was put back'",
    ],
)
async def test_nothing_is_collected_against_an_obstacle(
    garbage: Garbage,
    uploads: Uploads,
    db: SqliteDatabase,
    store: FilesystemStore,
    clock: Clock,
    obstacle: str,
) -> None:
    """F19, F55."""
    digest = await push_blob(uploads, b"some bytes")
    clock.move(LEASE)
    await db.write(lambda tx: tx.run(obstacle))

    done = await garbage.collect()

    assert (done.removed_blobs, done.settled_leases) == (0, 0)
    assert done.obstacle is not None
    assert store.blob_size(digest, 1) is not None


async def test_clock_set_forward_takes_nothing(
    garbage: Garbage, uploads: Uploads, db: SqliteDatabase, store: FilesystemStore, clock: Clock
) -> None:
    """F40."""
    await garbage.collect()
    digest = await push_blob(uploads, b"some bytes")
    await push_blob(uploads, b"others")
    await push_document(db, store, image(b"others"), "1.0")
    deleted = await db.one("SELECT digest FROM manifest")
    assert deleted is not None
    await delete_manifest(db, REPOSITORY, Digest(deleted[0]), CLIENT, GRACE_MS)
    for days in (1, 3650):
        clock.leap(timedelta(days=days))
        done = await garbage.collect()
        assert (done.removed_blobs, done.settled_leases, done.purged_manifests) == (0, 0, 0)

    assert await find_blob(db, REPOSITORY, digest) is not None


async def test_schedule_asks_only_when_there_is_something_to_do(
    garbage: Garbage, uploads: Uploads, db: SqliteDatabase, clock: Clock
) -> None:
    await push_blob(uploads, b"some bytes")
    assert not await is_due(db)
    clock.move(LEASE)
    assert await is_due(db)
    await garbage.collect()

    assert not await is_due(db)


async def test_numbers_add_up_to_what_the_disk_says(
    garbage: Garbage,
    uploads: Uploads,
    db: SqliteDatabase,
    store: FilesystemStore,
    clock: Clock,
) -> None:
    """Needed, in the trash, waiting, garbage; and `du`, within one percent."""
    contents = {name: some_bytes(size) for name, size in SIZES.items()}
    digests = {name: await push_blob(uploads, content) for name, content in contents.items()}
    await push_document(db, store, image(contents["config"], [contents["layer"]]), "1.0")
    doomed = await push_document(db, store, image(contents["config"], [contents["trashed"]]), "2.0")
    await garbage.collect()
    clock.move(LEASE / 2)
    await delete_manifest(db, REPOSITORY, doomed, CLIENT, GRACE_MS)
    await push_blob(uploads, contents["config"], OTHER)
    clock.move(LEASE / 2)
    waiting = await push_blob(uploads, some_bytes(70_000))
    # settled, not yet removed
    store.remove_blobs = lambda _: 1 / 0  # type: ignore[assignment]
    with pytest.raises(ZeroDivisionError):
        await garbage.collect()

    usage = FilesystemUpkeep(store).measure()
    held = await measure_store(db, usage)

    assert held.needed_bytes == SIZES["config"] + SIZES["layer"]
    assert held.trash_bytes == SIZES["trashed"]
    assert held.waiting_bytes == 70_000
    assert held.garbage_bytes == SIZES["loose"]
    assert held.shared_bytes == SIZES["config"], "two images, one config"
    du = await asyncio.to_thread(ask_du, store.root)
    assert abs(held.disk_bytes - du) <= du / 100, (held, du)
    planned = await plan(db, LEASE_MS, 10)
    assert [
        (each.kind, each.digest, each.frees_bytes) for each in planned if each.digest != digests["config"]
    ] == [
        ("lease", waiting, 70_000),
        ("deletion", doomed, SIZES["trashed"]),
    ]
    assert planned[0].at > now_ms()


def ask_du(folder: Path) -> int:
    """The bytes that a folder takes of the disk."""
    said = subprocess.run(["du", "-s", "-B1", folder], capture_output=True, check=True).stdout
    return int(said.split()[0])


SIZES = {"config": 500, "layer": 3_000_000, "trashed": 1_000_000, "loose": 200_000}


async def test_garbage_is_found_without_a_look_at_what_is_live(
    db: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, Sequence[object]]] = []
    read = db._execute

    def note(sql: str, values: Sequence[object] = ()) -> apsw.Cursor:
        asked.append((sql, values))
        return read(sql, values)

    async def scan(sql: str, values: Sequence[object] = ()) -> list[Row]:
        return await db.all(sql, values)

    monkeypatch.setattr(db, "_execute", note)
    monkeypatch.setattr(db, "scan", scan)
    await list_garbage(db, 200)
    await is_due(db)
    await read_totals(db)
    await list_lost_links(db, 20)

    plans = [str(row[3]) for sql, values in asked for row in read(f"EXPLAIN QUERY PLAN {sql}", values)]
    assert len([plan for plan in plans if "blob_not_live" in plan]) == 4
    assert not [plan for plan in plans if plan.split()[:2] in (["SCAN", name] for name in ("blob", "b", "l"))]
