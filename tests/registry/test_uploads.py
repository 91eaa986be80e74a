"""The use cases of an upload, on real rows and files: what counts, what is taken back, what a crash leaves.

F, B and I numbers name the fault, the bad input and the invariant that a test covers.
"""

import asyncio
import contextlib
import errno
import os
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import apsw
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from moorage.config import UploadSettings
from moorage.databases.sqlite import SqliteDatabase
from moorage.errors import (
    BodyCut,
    BodyTooLarge,
    ChunkOutOfOrder,
    DigestInvalid,
    SizeInvalid,
    StorageFailed,
    StorageFull,
    StorageReadOnly,
    TooManyUploads,
    UploadBusy,
    UploadUnknown,
)
from moorage.health import Health
from moorage.lifecycle.garbage.collecting import Garbage
from moorage.oci.digest import SHA256, SHA512, Digest, digest_of
from moorage.oci.ranges import ByteRange
from moorage.registry.blobs import rows as blob_rows
from moorage.registry.uploads import rows
from moorage.registry.uploads.hashing import Hashes
from moorage.registry.uploads.receiving import GATHER_BYTES, receive
from moorage.registry.uploads.uploading import Chunk, Uploads
from moorage.setting import Bytes
from moorage.storage.filesystem import FilesystemStore
from tests.content import MIB, some_bytes
from tests.registry.conftest import Clock
from tests.registry.pushing import CLIENT, OTHER, REPOSITORY, body_of, chunk_of, push_blob

pytestmark = pytest.mark.anyio


def upload_files(store: FilesystemStore) -> list[str]:
    return sorted(path.name for path in store.uploads.iterdir())


def blob_files(store: FilesystemStore) -> list[str]:
    return sorted(path.name for path in (store.root / "blobs").rglob("*") if path.is_file())


async def test_upload_is_the_only_one_of_its_id(uploads: Uploads) -> None:
    first = await uploads.begin(REPOSITORY, str(CLIENT))
    second = await uploads.begin(REPOSITORY, str(CLIENT))

    assert first.id != second.id


async def test_more_uploads_than_one_client_may_have_are_refused(uploads: Uploads) -> None:
    for _ in range(5):
        await uploads.begin(REPOSITORY, str(CLIENT))

    with pytest.raises(TooManyUploads):
        await uploads.begin(REPOSITORY, str(CLIENT))


async def test_many_uploads_of_one_client_leave_room_for_another(uploads: Uploads) -> None:
    for _ in range(5):
        await uploads.begin(REPOSITORY, str(CLIENT))

    assert (await uploads.begin(REPOSITORY, "anonymous@127.0.0.2")).received == 0


async def test_upload_that_ended_makes_room(uploads: Uploads) -> None:
    for _ in range(20):
        await push_blob(uploads, some_bytes(10))


async def test_upload_is_unknown_to_another_repository(uploads: Uploads) -> None:
    upload = await uploads.begin(REPOSITORY, str(CLIENT))

    with pytest.raises(UploadUnknown):
        await uploads.get(OTHER, upload.id)


async def test_bytes_are_counted_and_hashed_as_they_come(uploads: Uploads, db: SqliteDatabase) -> None:
    upload = await uploads.begin(REPOSITORY, str(CLIENT))

    await uploads.append(REPOSITORY, upload.id, chunk_of(b"some ", b"bytes"))

    kept = await rows.find(db, REPOSITORY, upload.id)
    assert kept is not None
    assert (kept.received, kept.digest_so_far) == (10, digest_of(b"some bytes"))


async def test_digest_of_bytes_that_came_in_two_requests_is_not_known(
    uploads: Uploads, db: SqliteDatabase
) -> None:
    """No hash outlives a request; what is not known must not be guessed."""
    upload = await uploads.begin(REPOSITORY, str(CLIENT))
    await uploads.append(REPOSITORY, upload.id, chunk_of(b"some "))

    await uploads.append(REPOSITORY, upload.id, chunk_of(b"bytes"))

    kept = await rows.find(db, REPOSITORY, upload.id)
    assert kept is not None
    assert (kept.received, kept.digest_so_far) == (10, None)


@pytest.mark.parametrize("algorithm", [SHA256, SHA512])
@pytest.mark.parametrize(
    "parts", [[b"some bytes"], [b"some ", b"bytes"], [b"some bytes", b""], [b"", b"some bytes"]]
)
async def test_upload_becomes_a_blob_whatever_parts_it_came_in(
    uploads: Uploads, db: SqliteDatabase, parts: list[bytes], algorithm: str
) -> None:
    upload = await uploads.begin(REPOSITORY, str(CLIENT))
    for part in parts:
        await uploads.append(REPOSITORY, upload.id, chunk_of(part))
    digest = digest_of(b"some bytes", SHA512 if algorithm == SHA512 else SHA256)

    blob = await uploads.finish(REPOSITORY, upload.id, chunk_of(), digest)

    assert blob.digest == digest_of(b"some bytes")
    assert await blob_rows.find_blob(db, REPOSITORY, digest) == blob


async def test_blob_is_live_with_its_file_and_the_upload_gone(
    uploads: Uploads, store: FilesystemStore, db: SqliteDatabase
) -> None:
    """I3."""
    digest = await push_blob(uploads, b"some bytes")

    assert blob_files(store) == [f"{digest[7:]}.1"]
    assert upload_files(store) == []
    assert await rows.count(db) == 0


async def test_same_bytes_pushed_again_are_kept_once(uploads: Uploads, store: FilesystemStore) -> None:
    """F33."""
    digest = await push_blob(uploads, b"some bytes")
    for _ in range(3):
        await push_blob(uploads, b"some bytes")

    assert blob_files(store) == [f"{digest[7:]}.1"]
    assert upload_files(store) == []


async def test_same_bytes_pushed_at_once_are_kept_once(
    uploads: Uploads, store: FilesystemStore, db: SqliteDatabase
) -> None:
    """F33."""
    content = some_bytes(MIB)

    digests = await asyncio.gather(*(push_blob(uploads, content) for _ in range(5)))

    assert len(blob_files(store)) == 1
    assert upload_files(store) == []
    assert await blob_rows.get_total(db) == (1, MIB)
    assert (await blob_rows.find_generation(db, digests[0]))[1]


async def test_bytes_behind_those_that_count_are_cut_off(uploads: Uploads, store: FilesystemStore) -> None:
    """After a crash the file may have more than the row says."""
    upload = await uploads.begin(REPOSITORY, str(CLIENT))
    await uploads.append(REPOSITORY, upload.id, chunk_of(b"some "))
    with (store.uploads / upload.id).open("ab") as file:
        file.write(b"written before the crash, never counted")

    blob = await uploads.finish(REPOSITORY, upload.id, chunk_of(b"bytes"), digest_of(b"some bytes"))

    assert blob.size == 10


async def test_upload_that_lost_its_file_is_unknown(
    uploads: Uploads, store: FilesystemStore, db: SqliteDatabase
) -> None:
    upload = await uploads.begin(REPOSITORY, str(CLIENT))
    await uploads.append(REPOSITORY, upload.id, chunk_of(b"some bytes"))
    (store.uploads / upload.id).write_bytes(b"some")

    with pytest.raises(UploadUnknown):
        await uploads.get(REPOSITORY, upload.id)

    assert await rows.count(db) == 0


async def test_bytes_that_came_before_the_client_left_count(uploads: Uploads) -> None:
    """F30."""
    upload = await uploads.begin(REPOSITORY, str(CLIENT))

    with pytest.raises(BodyCut):
        await uploads.append(REPOSITORY, upload.id, chunk_of(b"some ", error=BodyCut()))

    assert (await uploads.get(REPOSITORY, upload.id)).received == 5


@pytest.mark.parametrize("size", [10, GATHER_BYTES, 3 * GATHER_BYTES + 1])
async def test_bytes_that_came_before_the_server_stopped_count(uploads: Uploads, size: int) -> None:
    """F51: the request is cancelled while it waits for more."""
    content = some_bytes(size)
    upload = await uploads.begin(REPOSITORY, str(CLIENT))
    came = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield content
        came.set()
        await asyncio.Event().wait()

    append = asyncio.create_task(uploads.append(REPOSITORY, upload.id, Chunk(body())))
    await came.wait()
    append.cancel()
    await asyncio.gather(append, return_exceptions=True)

    assert (await uploads.get(REPOSITORY, upload.id)).received == size
    blob = await uploads.finish(REPOSITORY, upload.id, chunk_of(), digest_of(content))
    assert blob.size == size


async def test_client_that_left_at_the_close_can_close_again(uploads: Uploads) -> None:
    """F31."""
    upload = await uploads.begin(REPOSITORY, str(CLIENT))
    with pytest.raises(BodyCut):
        await uploads.finish(
            REPOSITORY, upload.id, chunk_of(b"some ", error=BodyCut()), digest_of(b"some bytes")
        )

    blob = await uploads.finish(REPOSITORY, upload.id, chunk_of(b"bytes"), digest_of(b"some bytes"))

    assert blob.size == 10


@pytest.mark.parametrize("first", [0, 4, 6, 100])
async def test_chunk_that_leaves_a_gap_or_overlaps_is_refused(uploads: Uploads, first: int) -> None:
    upload = await uploads.begin(REPOSITORY, str(CLIENT))
    await uploads.append(REPOSITORY, upload.id, chunk_of(b"some "))
    claimed = ByteRange(first, first + 4)

    with pytest.raises(ChunkOutOfOrder) as refusal:
        await uploads.append(REPOSITORY, upload.id, Chunk(body_of(b"bytes"), 5, claimed))

    assert refusal.value.received == 5
    assert (await uploads.get(REPOSITORY, upload.id)).received == 5


@pytest.mark.parametrize("claimed", [ByteRange(0, 8), ByteRange(0, 10)])
@pytest.mark.parametrize("length", [None, 10])
async def test_chunk_of_another_length_than_it_claims_is_taken_back(
    uploads: Uploads, store: FilesystemStore, claimed: ByteRange, length: int | None
) -> None:
    upload = await uploads.begin(REPOSITORY, str(CLIENT))

    with pytest.raises(SizeInvalid):
        await uploads.append(REPOSITORY, upload.id, Chunk(body_of(b"some bytes"), length, claimed))

    assert (await uploads.get(REPOSITORY, upload.id)).received == 0
    assert store.upload_size(upload.id) == 0


async def test_second_writer_is_refused(uploads: Uploads) -> None:
    upload = await uploads.begin(REPOSITORY, str(CLIENT))
    came = asyncio.Event()
    go_on = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        came.set()
        await go_on.wait()
        yield b"some bytes"

    first = asyncio.create_task(uploads.append(REPOSITORY, upload.id, Chunk(body())))
    await came.wait()

    with pytest.raises(UploadBusy):
        await uploads.append(REPOSITORY, upload.id, chunk_of(b"other"))
    with pytest.raises(UploadBusy):
        await uploads.cancel(REPOSITORY, upload.id)
    go_on.set()
    assert (await first).received == 10


class SlowSync:
    """`os.fsync` on a disk that takes its time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._sync = os.fsync

    def __call__(self, fd: int) -> None:
        time.sleep(self._seconds)
        self._sync(fd)


@pytest.mark.parametrize("way", ["get", "append", "finish", "cancel"])
async def test_upload_that_is_being_closed_is_closed_whatever_comes_meanwhile(
    uploads: Uploads, store: FilesystemStore, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """F32: between the file's new name and the row, the upload has no file; that is no reason to end it."""
    upload = await uploads.begin(REPOSITORY, str(CLIENT))
    await uploads.append(REPOSITORY, upload.id, chunk_of(b"some "))
    digest = digest_of(b"some bytes")
    monkeypatch.setattr(os, "fsync", SlowSync(0.02))
    is_held = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        is_held.set()
        yield b"bytes"

    closing = asyncio.create_task(uploads.finish(REPOSITORY, upload.id, Chunk(body()), digest))
    await is_held.wait()

    while not closing.done():
        with contextlib.suppress(UploadUnknown, UploadBusy):
            match way:
                case "get":
                    await uploads.get(REPOSITORY, upload.id)
                case "append":
                    await uploads.append(REPOSITORY, upload.id, chunk_of(b"!"))
                case "finish":
                    await uploads.finish(REPOSITORY, upload.id, chunk_of(), digest)
                case _:
                    await uploads.cancel(REPOSITORY, upload.id)
        await asyncio.sleep(0.001)

    assert (await closing).digest == digest
    assert (len(blob_files(store)), upload_files(store)) == (1, [])


async def test_upload_held_by_another_process_is_busy(uploads: Uploads, store: FilesystemStore) -> None:
    upload = await uploads.begin(REPOSITORY, str(CLIENT))
    held = store.open_upload(upload.id)

    with pytest.raises(UploadBusy):
        await uploads.append(REPOSITORY, upload.id, chunk_of(b"some bytes"))

    held.close()
    assert (await uploads.append(REPOSITORY, upload.id, chunk_of(b"some bytes"))).received == 10


@pytest.mark.parametrize("in_parts", [False, True], ids=["at once", "in parts"])
async def test_wrong_digest_leaves_nothing(
    uploads: Uploads, store: FilesystemStore, db: SqliteDatabase, *, in_parts: bool
) -> None:
    """B37."""
    upload = await uploads.begin(REPOSITORY, str(CLIENT))
    if in_parts:
        await uploads.append(REPOSITORY, upload.id, chunk_of(b"some "))

    with pytest.raises(DigestInvalid):
        await uploads.finish(REPOSITORY, upload.id, chunk_of(b"bytes"), digest_of(b"other bytes"))

    assert (upload_files(store), blob_files(store)) == ([], [])
    assert (await rows.count(db), await blob_rows.get_total(db)) == (0, (0, 0))


async def test_cancelled_upload_leaves_nothing(
    uploads: Uploads, store: FilesystemStore, db: SqliteDatabase
) -> None:
    upload = await uploads.begin(REPOSITORY, str(CLIENT))
    await uploads.append(REPOSITORY, upload.id, chunk_of(b"some bytes"))

    await uploads.cancel(REPOSITORY, upload.id)

    assert (upload_files(store), await rows.count(db)) == ([], 0)


@pytest.mark.parametrize("damage", ["missing", "shorter", "empty"])
async def test_blob_whose_file_is_broken_is_healed_by_a_push(
    uploads: Uploads, store: FilesystemStore, db: SqliteDatabase, damage: str
) -> None:
    """F16, F17."""
    digest = await push_blob(uploads, b"some bytes")
    file = next((store.root / "blobs").rglob("*.1"))
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(b"" if damage == "empty" else b"some")

    await push_blob(uploads, b"some bytes")

    generation, is_live = await blob_rows.find_generation(db, digest)
    assert (generation, is_live) == (2, True)
    assert store.blob_size(digest, generation) == 10
    assert await blob_rows.get_total(db) == (1, 10)


async def test_blob_that_was_found_damaged_is_healed_by_a_push(
    uploads: Uploads, store: FilesystemStore, db: SqliteDatabase
) -> None:
    """F15; the file of the dead generation may still be there, and is not used again."""
    digest = await push_blob(uploads, b"some bytes")
    await db.write(lambda tx: blob_rows.mark_damaged(tx, digest, 1))

    await push_blob(uploads, b"some bytes")

    assert await blob_rows.find_generation(db, digest) == (2, True)
    assert await blob_rows.get_total(db) == (1, 10)


async def test_blob_whose_generation_died_meanwhile_gets_the_next(
    uploads: Uploads, store: FilesystemStore, db: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F37: the file stands under a name that a late delete may hit, so it is given another."""
    outside = apsw.Connection(str(store.root / "moorage.db"))
    digest, commit = digest_of(b"some bytes"), FilesystemStore.commit

    def commit_and_die(own: FilesystemStore, upload_id: str, blob: Digest, generation: int) -> None:
        commit(own, upload_id, blob, generation)
        if generation == 1:
            outside.execute("INSERT INTO blob VALUES (?, NULL, 10, 1, 'deleting', 0)", (digest,))

    monkeypatch.setattr(FilesystemStore, "commit", commit_and_die)

    await push_blob(uploads, b"some bytes")

    assert await blob_rows.find_generation(db, digest) == (2, True)
    assert store.blob_size(digest, 2) == 10
    outside.close()


class FailingSync:
    """`os.fsync` that fails the nth time."""

    def __init__(self, code: int, nth: int) -> None:
        self._error = OSError(code, os.strerror(code))
        self._left = nth
        self._sync = os.fsync

    def __call__(self, fd: int) -> None:
        self._left -= 1
        if self._left == 0:
            raise self._error
        self._sync(fd)


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
async def test_sync_that_fails_is_final(
    uploads: Uploads,
    store: FilesystemStore,
    db: SqliteDatabase,
    health: Health,
    monkeypatch: pytest.MonkeyPatch,
    nth: int,
) -> None:
    """F7, F8: of the file, its name, the shard's, the blob's. No row, and no push until someone looked."""
    upload = await uploads.begin(REPOSITORY, str(CLIENT))
    monkeypatch.setattr(os, "fsync", FailingSync(errno.EIO, nth))

    with pytest.raises((StorageFailed, StorageReadOnly)):
        await uploads.finish(REPOSITORY, upload.id, chunk_of(b"some bytes"), digest_of(b"some bytes"))

    assert health.failure is not None
    assert await blob_rows.find_blob(db, REPOSITORY, digest_of(b"some bytes")) is None
    assert upload_files(store) == []
    with pytest.raises(StorageReadOnly):
        await uploads.begin(REPOSITORY, str(CLIENT))


class Disk:
    """`os.pwrite` and `os.pwritev` that have room for so many bytes, and take their time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int, seconds: float = 0) -> None:
        self.room = room
        self._seconds = seconds
        self._write = os.pwrite
        monkeypatch.setattr(os, "pwrite", self.write)
        monkeypatch.setattr(os, "pwritev", lambda fd, pieces, at: self.write(fd, b"".join(pieces), at))

    def write(self, fd: int, content: bytes, offset: int) -> int:
        time.sleep(self._seconds)
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self._write(fd, content[: self.room], offset)
        self.room -= written
        return written


def cut(content: bytes) -> list[bytes]:
    return [content[at : at + GATHER_BYTES] for at in range(0, len(content), GATHER_BYTES)]


@pytest.mark.parametrize("way", ["append", "finish"])
async def test_full_disk_leaves_the_upload_as_it_was(
    uploads: Uploads, monkeypatch: pytest.MonkeyPatch, store: FilesystemStore, way: str
) -> None:
    """F9, F12: the last write before it is full is a short one."""
    rest = some_bytes(3 * GATHER_BYTES)
    digest = digest_of(b"some " + rest)
    upload = await uploads.begin(REPOSITORY, str(CLIENT))
    await uploads.append(REPOSITORY, upload.id, chunk_of(b"some "))
    with monkeypatch.context() as full:
        Disk(full, GATHER_BYTES + 1000)
        chunk = chunk_of(*cut(rest))
        push = uploads.append(REPOSITORY, upload.id, chunk)
        if way == "finish":
            push.close()
            with pytest.raises(StorageFull):
                await uploads.finish(REPOSITORY, upload.id, chunk, digest)
        else:
            with pytest.raises(StorageFull):
                await push

    assert (await uploads.get(REPOSITORY, upload.id)).received == 5
    assert store.upload_size(upload.id) == 5
    blob = await uploads.finish(REPOSITORY, upload.id, chunk_of(rest), digest)
    assert blob.size == len(rest) + 5


@pytest.mark.parametrize("after_s", [0.01, 0.05, 0.09, 0.13, 0.17, 0.21])
async def test_request_cancelled_while_the_disk_writes_spoils_nothing(
    uploads: Uploads, store: FilesystemStore, monkeypatch: pytest.MonkeyPatch, after_s: float
) -> None:
    """F51: what counts is what is in the file, and its digest is the file's."""
    content = some_bytes(4 * GATHER_BYTES)
    upload = await uploads.begin(REPOSITORY, str(CLIENT))
    with monkeypatch.context() as slow:
        Disk(slow, len(content) * 2, seconds=0.04)
        append = asyncio.create_task(uploads.append(REPOSITORY, upload.id, chunk_of(*cut(content))))
        await asyncio.sleep(after_s)
        append.cancel()
        await asyncio.gather(append, return_exceptions=True)
        await asyncio.sleep(0.2)

    received = (await uploads.get(REPOSITORY, upload.id)).received
    blob = await uploads.finish(REPOSITORY, upload.id, chunk_of(content[received:]), digest_of(content))
    file = store.open_blob(blob.digest, blob.generation)
    assert file is not None
    assert digest_of(file.read(0, blob.size)) == blob.digest
    file.close()


async def test_short_writes_are_completed(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    """F12."""
    content = some_bytes(2 * GATHER_BYTES + 7)
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, rest, at: write(fd, rest[: GATHER_BYTES // 3], at))

    assert await push_blob(uploads, content) == digest_of(content)


async def test_upload_without_bytes_for_too_long_is_dropped(
    uploads: Uploads, store: FilesystemStore, db: SqliteDatabase, clock: Clock
) -> None:
    """Case 78."""
    upload = await uploads.begin(REPOSITORY, str(CLIENT))
    await uploads.append(REPOSITORY, upload.id, chunk_of(b"some bytes"))
    clock.move(timedelta(days=7, seconds=1))

    assert await uploads.expire() == 1
    assert (upload_files(store), await rows.count(db)) == ([], 0)


async def test_upload_that_got_bytes_lately_is_kept(uploads: Uploads, clock: Clock) -> None:
    upload = await uploads.begin(REPOSITORY, str(CLIENT))
    clock.move(timedelta(days=6))
    await uploads.append(REPOSITORY, upload.id, chunk_of(b"some bytes"))
    clock.move(timedelta(days=6))

    assert await uploads.expire() == 0
    assert (await uploads.get(REPOSITORY, upload.id)).received == 10


async def test_clock_that_goes_back_drops_nothing(uploads: Uploads, clock: Clock) -> None:
    """F40."""
    upload = await uploads.begin(REPOSITORY, str(CLIENT))
    clock.move(timedelta(days=-3650))

    assert await uploads.expire() == 0
    assert (await uploads.get(REPOSITORY, upload.id)).received == 0


async def test_upload_that_is_being_written_to_is_not_dropped(
    uploads: Uploads, store: FilesystemStore, clock: Clock
) -> None:
    upload = await uploads.begin(REPOSITORY, str(CLIENT))
    held = store.open_upload(upload.id)
    clock.move(timedelta(days=8))

    assert await uploads.expire() == 0
    held.close()
    assert await uploads.expire() == 1


async def test_upload_that_got_bytes_since_it_was_found_old_is_kept(
    uploads: Uploads, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client was told 202."""
    upload = await uploads.begin(REPOSITORY, str(CLIENT))
    clock.move(timedelta(days=8))
    list_untouched = rows.list_untouched

    async def list_and_append(db: SqliteDatabase, expiry: timedelta, limit: int) -> list[rows.Upload]:
        found = await list_untouched(db, expiry, limit)
        await uploads.append(REPOSITORY, upload.id, chunk_of(b"some bytes"))
        return found

    monkeypatch.setattr(rows, "list_untouched", list_and_append)
    await uploads.expire()

    assert (await uploads.get(REPOSITORY, upload.id)).received == 10


async def test_old_uploads_are_dropped_so_many_at_a_time(uploads: Uploads, clock: Clock) -> None:
    for _ in range(5):
        await uploads.begin(REPOSITORY, str(CLIENT))
    clock.move(timedelta(days=8))

    assert [await uploads.expire(2) for _ in range(4)] == [2, 2, 1, 0]


async def test_file_that_a_crash_left_without_a_row_goes_after_a_day(
    uploads: Uploads, store: FilesystemStore
) -> None:
    kept = await uploads.begin(REPOSITORY, str(CLIENT))
    await uploads.append(REPOSITORY, kept.id, chunk_of(b"kept"))
    for name in (kept.id, "stray", "stray.new", "young"):
        path = store.uploads / name
        path.touch()
        if name != "young":
            os.utime(path, (time.time() - 25 * 3600,) * 2)

    await uploads.drop_strays()

    assert {path.name for path in store.uploads.iterdir()} == {kept.id, "young"}


async def test_sweep_goes_on_when_an_upload_ends_while_it_looks(
    uploads: Uploads, store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("stray", "ends"):
        (store.uploads / name).touch()
        os.utime(store.uploads / name, (time.time() - 25 * 3600,) * 2)
    scan = os.scandir

    @contextlib.contextmanager
    def end_one(folder: Path) -> Iterator[list[os.DirEntry[str]]]:
        with scan(folder) as entries:
            found = list(entries)
        (store.uploads / "ends").unlink(missing_ok=True)
        yield found

    monkeypatch.setattr("moorage.storage.filesystem.os.scandir", end_one)

    await uploads.drop_strays()

    monkeypatch.undo()
    assert list(store.uploads.iterdir()) == []


async def test_blobs_outlive_every_clock(
    uploads: Uploads, db: SqliteDatabase, store: FilesystemStore, threads: Executor, clock: Clock
) -> None:
    """F40."""
    digest = await push_blob(uploads, b"some bytes")
    garbage = Garbage(db, store, threads, blob_rows.LEASE_MS)
    await garbage.collect()
    for days in (1, 3650, -7300):
        clock.leap(timedelta(days=days))
        await uploads.expire()
        await garbage.collect()

    assert await blob_rows.find_blob(db, REPOSITORY, digest) is not None


@pytest.fixture
def limited(
    db: SqliteDatabase, store: FilesystemStore, threads: Executor, settings: UploadSettings
) -> Uploads:
    """Uploads that take ten bytes."""
    return Uploads(db, store, threads, replace(settings, max_bytes=Bytes(10)))


@pytest.mark.parametrize("length", [None, 11])
async def test_blob_over_the_limit_is_refused_and_dropped(
    limited: Uploads, store: FilesystemStore, length: int | None
) -> None:
    """B47."""
    upload = await limited.begin(REPOSITORY, str(CLIENT))

    with pytest.raises(BodyTooLarge):
        await limited.append(REPOSITORY, upload.id, Chunk(body_of(b"more than t", b"en"), length))

    assert upload_files(store) == []
    with pytest.raises(UploadUnknown):
        await limited.get(REPOSITORY, upload.id)


async def test_chunks_over_the_limit_together_are_refused(limited: Uploads) -> None:
    """B47."""
    upload = await limited.begin(REPOSITORY, str(CLIENT))
    await limited.append(REPOSITORY, upload.id, chunk_of(b"12345678"))

    with pytest.raises(BodyTooLarge):
        await limited.append(REPOSITORY, upload.id, chunk_of(b"901"))


@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    pieces=st.lists(st.integers(0, GATHER_BYTES + 10), max_size=6),
    before=st.integers(0, 100),
)
def test_body_is_written_and_hashed_whatever_pieces_it_comes_in(
    store: FilesystemStore, threads: Executor, pieces: list[int], before: int
) -> None:
    body = [bytes([65 + at % 26]) * length for at, length in enumerate(pieces)]
    store.discard_upload("pieces")
    file = store.open_upload("pieces")
    hashes = Hashes([SHA256, SHA512])
    if before:
        file.append(b"x" * before)
        hashes.update(b"x" * before)

    asyncio.run(receive(threads, file, body_of(*body), hashes, None, lambda: None))

    content = b"x" * before + b"".join(body)
    assert file.read(0, len(content) + 1) == content
    assert hashes.digest(SHA256) == digest_of(content)
    assert hashes.digest(SHA512) == digest_of(content, SHA512)
    file.close()


async def test_folder_of_data_is_its_owners_alone(store: FilesystemStore, uploads: Uploads) -> None:
    await push_blob(uploads, b"some bytes")
    await uploads.append(REPOSITORY, (await uploads.begin(REPOSITORY, str(CLIENT))).id, chunk_of(b"x"))

    folders = [store.uploads, *(path for path in (store.root / "blobs").rglob("*") if path.is_dir())]
    files: list[Path] = [path for folder in folders for path in folder.iterdir() if path.is_file()]
    assert len(files) == 2
    assert {path.stat().st_mode & 0o077 for path in [*folders, *files]} == {0}
