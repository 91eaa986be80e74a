"""What a client was told it need not send is kept for it: a lease for 24 hours."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import apsw
import pytest

from moorage.clock import now_ms
from moorage.databases.sqlite import SqliteDatabase
from moorage.lifecycle.garbage.rows import end_leases
from moorage.oci.digest import Digest
from moorage.registry.blobs import rows
from moorage.registry.blobs.linking import delete_blob, mount_blob
from moorage.registry.uploads.uploading import Uploads
from moorage.storage.filesystem import FilesystemStore
from tests.content import digest_of, encode, image
from tests.registry.conftest import Clock
from tests.registry.in_process import InProcess
from tests.registry.pushing import CLIENT, OTHER, REPOSITORY, push_blob

pytestmark = pytest.mark.anyio

DAY = timedelta(hours=24)
CONTENT = b"some bytes"
DIGEST = digest_of(CONTENT)


async def leased_until(db: SqliteDatabase, repository: str) -> int | None:
    """When a repository's only lease ends, in milliseconds; None when it has none."""
    row = await db.one(
        "SELECT until FROM lease JOIN repository ON repository.id = lease.repository WHERE name = ?",
        (repository,),
    )
    return None if row is None else int(row[0])


def in_a_day(clock: Clock) -> int:
    return (clock.now_ns + int(DAY.total_seconds()) * 10**9) // 10**6


async def test_blob_pushed_is_leased_for_a_day(uploads: Uploads, db: SqliteDatabase, clock: Clock) -> None:
    """Case 77."""
    await push_blob(uploads, CONTENT)

    assert await leased_until(db, REPOSITORY) == in_a_day(clock)


async def test_blob_pushed_again_is_leased_anew(uploads: Uploads, db: SqliteDatabase, clock: Clock) -> None:
    """Case 77."""
    await push_blob(uploads, CONTENT)
    clock.move(timedelta(hours=5))

    await push_blob(uploads, CONTENT)

    assert await leased_until(db, REPOSITORY) == in_a_day(clock)


async def test_blob_mounted_is_leased_for_a_day_in_its_target(
    uploads: Uploads, db: SqliteDatabase, store: FilesystemStore, clock: Clock
) -> None:
    """Case 77."""
    digest = await push_blob(uploads, CONTENT)
    clock.move(timedelta(hours=5))

    await mount_blob(db, store, OTHER, digest, REPOSITORY)

    assert await leased_until(db, OTHER) == in_a_day(clock)


async def test_blob_mounted_where_it_is_already_is_leased_anew(
    uploads: Uploads, db: SqliteDatabase, store: FilesystemStore, clock: Clock
) -> None:
    """Case 77."""
    digest = await push_blob(uploads, CONTENT)
    clock.move(timedelta(hours=5))

    await mount_blob(db, store, REPOSITORY, digest, REPOSITORY)

    assert await leased_until(db, REPOSITORY) == in_a_day(clock)


async def test_blob_deleted_is_asked_about_in_a_day(
    uploads: Uploads, db: SqliteDatabase, clock: Clock
) -> None:
    digest = await push_blob(uploads, CONTENT)

    await delete_blob(db, REPOSITORY, digest, CLIENT)

    assert await leased_until(db, REPOSITORY) == in_a_day(clock)
    assert await rows.find_blob(db, REPOSITORY, Digest(DIGEST)) is None


async def test_lease_that_is_over_asks_whether_its_blob_is_needed(
    uploads: Uploads, db: SqliteDatabase, clock: Clock
) -> None:
    await push_blob(uploads, CONTENT)
    clock.move(DAY + timedelta(seconds=1))

    assert await db.write(lambda tx: end_leases(tx, now_ms(), 100)) == (1, [DIGEST])
    assert await rows.find_blob(db, REPOSITORY, Digest(DIGEST)) is None


@pytest.mark.parametrize("by", [DAY - timedelta(seconds=1), timedelta(days=-3650)])
async def test_lease_that_is_not_over_is_kept(
    uploads: Uploads, db: SqliteDatabase, clock: Clock, by: timedelta
) -> None:
    """F40: a clock that goes back ends nothing."""
    await push_blob(uploads, CONTENT)
    clock.leap(by)

    assert await db.write(lambda tx: end_leases(tx, now_ms(), 100)) == (0, [])


async def test_leases_end_so_many_at_a_time(uploads: Uploads, db: SqliteDatabase, clock: Clock) -> None:
    for number in range(5):
        await push_blob(uploads, bytes([number]))
    clock.move(DAY * 2)

    ended = [(await db.write(lambda tx: end_leases(tx, now_ms(), 2)))[0] for _ in range(4)]
    assert ended == [2, 2, 1, 0]


class Leases:
    """The leases of a registry in this process, seen from outside."""

    def __init__(self, registry: InProcess) -> None:
        self._registry = registry
        self._connection = apsw.Connection(str(registry.settings.storage.database))

    @property
    def untils(self) -> list[int]:
        return [int(row[0]) for row in self._connection.execute("SELECT until FROM lease ORDER BY digest")]

    def settle(self) -> None:
        """Let what goes on off a reply's path come to its end."""
        self._registry.loop.run_until_complete(asyncio.sleep(0.05))

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def leases(clock: Clock, tmp_path: Path) -> Iterator[tuple[InProcess, Leases]]:
    registry = InProcess(tmp_path / "data")
    registry.open()
    leases = Leases(registry)
    assert registry.send("POST", f"/v2/a/blobs/uploads/?digest={DIGEST}", CONTENT).status == 201
    yield registry, leases
    leases.close()
    registry.end()


def test_head_of_a_blob_that_nothing_needs_renews_its_lease(
    leases: tuple[InProcess, Leases], clock: Clock
) -> None:
    """Case 77: whoever is told 200 will not push it."""
    registry, seen = leases
    clock.move(timedelta(hours=23))

    assert registry.send("HEAD", f"/v2/a/blobs/{DIGEST}").status == 200
    seen.settle()

    assert seen.untils == [in_a_day(clock)]


def test_head_of_a_blob_whose_lease_is_gone_leases_it(leases: tuple[InProcess, Leases], clock: Clock) -> None:
    """Case 77."""
    registry, seen = leases
    clock.move(timedelta(days=3))
    registry.close()
    registry.open()
    seen.settle()

    registry.send("HEAD", f"/v2/a/blobs/{DIGEST}")
    seen.settle()

    assert seen.untils == [in_a_day(clock)]


def test_head_of_a_blob_leased_within_the_hour_writes_nothing(
    leases: tuple[InProcess, Leases], clock: Clock
) -> None:
    registry, seen = leases
    before = seen.untils
    clock.move(timedelta(minutes=50))

    registry.send("HEAD", f"/v2/a/blobs/{DIGEST}")
    seen.settle()

    assert seen.untils == before


def test_head_of_a_blob_that_a_manifest_needs_writes_nothing(
    leases: tuple[InProcess, Leases], clock: Clock
) -> None:
    registry, seen = leases
    registry.send("PUT", "/v2/a/manifests/1.0", encode(image(CONTENT)))
    before = seen.untils
    clock.move(timedelta(hours=23))

    registry.send("HEAD", f"/v2/a/blobs/{DIGEST}")
    seen.settle()

    assert seen.untils == before
