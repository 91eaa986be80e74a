"""D24, F15, F16: everything is read again; what is wrong goes out of service, and comes back with a push."""

import asyncio
import ctypes
import mmap
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import apsw
import pytest

from moorage.config import ScrubSettings
from moorage.database import Transaction
from moorage.databases.sqlite import SqliteDatabase
from moorage.errors import StorageFailed
from moorage.lifecycle.progress import Silence
from moorage.lifecycle.scrubbing import rows
from moorage.lifecycle.scrubbing.scrub import Scrub, begin_now
from moorage.lifecycle.scrubbing.verifying import Verifier
from moorage.records.audit.rows import Filter, list_entries
from moorage.setting import Bytes
from moorage.storage.blob_file import FilesystemBlobFile
from moorage.storage.filesystem import FilesystemStore
from tests.content import MIB, digest_of, encode, image, index, some_bytes, subject
from tests.lifecycle.keeping import Kept, flip
from tests.registry.conftest import Clock
from tests.registry.in_process import InProcess
from tests.registry.pushing import CLIENT, push_blob, push_document

pytestmark = pytest.mark.anyio

SILENCE = Silence()


async def test_f15_flipped_bit_is_found_and_the_blob_withdrawn(scrub: Scrub, kept: Kept) -> None:
    whole, layer = await kept.push("v1"), some_bytes(3 * MIB)
    digest = await kept.push("v2", layer=layer)
    flip(kept.file_of(digest))

    result = await scrub.run(SILENCE)

    assert result["found"] == [{"target": digest, "finding": "wrong bytes"}]
    assert (result["blobs"], result["manifests"], result["damaged"]) == (4, 2, 1)
    assert kept.aside() == [f"{digest[7:]}.1"]
    assert not await kept.is_served(digest)
    assert await kept.is_served(whole)
    (entry,) = await list_entries(kept.db, Filter(action="withdraw"), 10)
    assert (entry.target, entry.detail, entry.actor) == (digest, "wrong bytes", "moorage")
    await push_blob(kept.uploads, layer)
    assert await kept.is_served(digest)


async def test_f16_f17_short_and_missing_files_are_found(scrub: Scrub, kept: Kept) -> None:
    short, missing = await kept.push("v1"), await kept.push("v2")
    os.truncate(kept.file_of(short), 5)
    kept.file_of(missing).unlink()

    result = await scrub.run(SILENCE)

    assert {each["target"]: each["finding"] for each in result["found"]} == {
        short: "wrong size",
        missing: "missing",
    }


async def test_d24_config_is_read_too(scrub: Scrub, kept: Kept) -> None:
    config = some_bytes(64)
    await push_blob(kept.uploads, config)
    await push_document(kept.db, kept.store, image(config), "v1")
    flip(kept.file_of(digest_of(config)))

    assert [each["target"] for each in (await scrub.run(SILENCE))["found"]] == [digest_of(config)]


async def test_d24_manifest_is_read_too(scrub: Scrub, kept: Kept) -> None:
    await kept.push("v1")
    await kept.db.write(lambda tx: tx.run("UPDATE manifest SET payload = CAST('{}' AS BLOB)"))

    (found,) = (await scrub.run(SILENCE))["found"]

    assert found["finding"] == "wrong bytes"
    assert found["target"].startswith("team/app@sha256:")


def test_damaged_manifest_is_told_to_be_absent_before_a_push_which_mends_it(registry: InProcess) -> None:
    config = some_bytes(64)
    registry.send("POST", f"/v2/a/blobs/uploads/?digest={digest_of(config)}", config)
    payload = encode(image(config))
    put = [("Content-Type", "application/vnd.oci.image.manifest.v1+json")]
    assert registry.send("PUT", "/v2/a/manifests/v1", payload, put).status == 201
    outside = apsw.Connection(str(registry.settings.storage.database))
    outside.execute("UPDATE manifest SET payload = CAST('{}' AS BLOB)")
    outside.close()

    assert registry.send("GET", "/v2/a/manifests/v1").status == 500
    assert registry.send("HEAD", "/v2/a/manifests/v1").status == 404
    assert registry.send("PUT", "/v2/a/manifests/v1", payload, put).status == 201
    assert registry.send("GET", "/v2/a/manifests/v1").body == payload


async def test_round_begins_again_when_its_period_is_over(scrub: Scrub, kept: Kept, clock: Clock) -> None:
    await kept.push("v1")
    assert await scrub.is_due()

    await scrub.run(SILENCE)
    assert not await scrub.is_due()
    clock.move(timedelta(days=6))
    assert not await scrub.is_due()
    clock.move(timedelta(days=2))
    assert await scrub.is_due()
    result = await scrub.run(SILENCE)

    assert (result["blobs"], result["manifests"]) == (2, 1)


async def test_f40_round_from_the_future_does_not_keep_the_next_from_beginning(
    scrub: Scrub, clock: Clock
) -> None:
    clock.move(timedelta(days=3650))
    await scrub.run(SILENCE)
    clock.move(timedelta(days=-3650))

    assert await scrub.is_due()
    assert (await scrub.run(SILENCE))["damaged"] == 0


class Cut(Exception):
    """The process died."""


class CutsAfter:
    """Ends the work at its nth word."""

    def __init__(self, words: int) -> None:
        self.left = words

    async def say(self, *_: object, **__: object) -> None:
        self.left -= 1
        if self.left == 0:
            raise Cut


async def test_round_goes_on_where_it_was_cut(
    scrub: Scrub, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moorage.lifecycle.scrubbing.scrub._SAVED_EVERY_S", -1)
    for number in range(20):
        await kept.push(f"v{number}")
    read: list[object] = []
    read_aside = FilesystemBlobFile.read_aside

    def count(file: FilesystemBlobFile, offset: int, length: int) -> bytes:
        read.append(file.identity[1])
        return read_aside(file, offset, length)

    monkeypatch.setattr(FilesystemBlobFile, "read_aside", count)
    cuts, result = 0, None
    while result is None:
        try:
            result = await scrub.run(CutsAfter(15))
        except Cut:
            cuts += 1

    assert cuts > 3
    assert (result["blobs"], result["manifests"]) == (40, 20)
    assert len(set(read)) == 40
    assert len(read) <= 40 + cuts


async def test_another_round_that_was_asked_for_begins_at_the_front(scrub: Scrub, kept: Kept) -> None:
    await kept.push("v1")
    await scrub.run(SILENCE)
    digest = await kept.push("v2")
    flip(kept.file_of(digest))

    await kept.db.write(lambda tx: begin_now(tx, CLIENT))
    result = await scrub.run(SILENCE)

    assert [each["target"] for each in result["found"]] == [digest]
    assert result["blobs"] == 4


async def test_round_that_someone_waits_for_takes_the_place_of_the_slow_one(
    db: SqliteDatabase, store: FilesystemStore, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moorage.lifecycle.scrubbing.scrub._SAVED_EVERY_S", -1)
    for number in range(5):
        await kept.push(f"v{number}", layer=some_bytes(MIB))
    slow = asyncio.create_task(Scrub(db, store, replace(ScrubSettings(), rate=Bytes(MIB))).run(SILENCE))
    while (await rows.read_round(db)).blobs < 2:  # noqa: ASYNC110 - it tells of nothing else
        await asyncio.sleep(0.01)

    await db.write(lambda tx: begin_now(tx, CLIENT))
    started = asyncio.get_running_loop().time()
    result = await slow

    assert (result["blobs"], result["manifests"]) == (10, 5)
    assert asyncio.get_running_loop().time() - started < 2.5


async def test_rate_is_kept_to(db: SqliteDatabase, store: FilesystemStore, kept: Kept) -> None:
    await kept.push("v1", layer=some_bytes(3 * MIB))
    slow = Scrub(db, store, replace(ScrubSettings(), rate=Bytes(4 * MIB)))

    started = asyncio.get_running_loop().time()
    await slow.run(SILENCE)

    assert asyncio.get_running_loop().time() - started > 0.7


async def test_disk_that_reads_nothing_takes_no_blob_out_of_service(
    scrub: Scrub, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = [await kept.push(f"v{number}") for number in range(3)]

    def fail(file: FilesystemBlobFile, offset: int, length: int) -> bytes:
        raise StorageFailed

    monkeypatch.setattr(FilesystemBlobFile, "read_aside", fail)
    with pytest.raises(StorageFailed):
        await scrub.run(SILENCE)

    assert all([await kept.is_served(digest) for digest in digests])


async def test_blob_that_alone_cannot_be_read_is_withdrawn(
    scrub: Scrub, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = [await kept.push(f"v{number}") for number in range(3)]
    lost = kept.file_of(digests[1]).stat().st_ino
    read_aside = FilesystemBlobFile.read_aside

    def fail(file: FilesystemBlobFile, offset: int, length: int) -> bytes:
        if file.identity[1] == lost:
            raise StorageFailed
        return read_aside(file, offset, length)

    monkeypatch.setattr(FilesystemBlobFile, "read_aside", fail)
    result = await scrub.run(SILENCE)

    assert result["found"] == [{"target": digests[1], "finding": "unreadable"}]
    assert [await kept.is_served(digest) for digest in digests] == [True, False, True]


def pages_in_memory(path: Path) -> list[bool]:
    """Which 64 KiB blocks of a file the kernel has."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    size = path.stat().st_size
    pages = -(-size // mmap.PAGESIZE)
    found = (ctypes.c_ubyte * pages)()
    with path.open("rb") as file:
        at = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0)
        assert libc.mincore(ctypes.c_void_p(at), ctypes.c_size_t(size), found) == 0
        libc.munmap(ctypes.c_void_p(at), ctypes.c_size_t(size))
    step = 65536 // mmap.PAGESIZE
    return [any(each & 1 for each in found[start : start + step]) for start in range(0, pages, step)]


async def test_reading_leaves_in_memory_what_was_there_and_no_more(scrub: Scrub, kept: Kept) -> None:
    digest = await kept.push("v1", layer=some_bytes(8 * MIB))
    path = kept.file_of(digest)
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        if any(pages_in_memory(path)):
            pytest.skip("this file system keeps what it is told to drop")
        os.pread(file.fileno(), MIB, 2 * MIB)
    before = pages_in_memory(path)
    assert 16 <= sum(before) < 60

    await scrub.run(SILENCE)

    after = pages_in_memory(path)
    assert all(is_kept for was, is_kept in zip(before, after, strict=True) if was)
    # the kernel may be slow to let go of the last of them
    assert sum(after) <= sum(before) + 16


async def test_image_is_verified_end_to_end(kept: Kept) -> None:
    config, layer = some_bytes(64), some_bytes(3000)
    await push_blob(kept.uploads, config)
    await push_blob(kept.uploads, layer)
    child = image(config, [layer])
    await push_document(kept.db, kept.store, child)
    whole = index([child])
    digest = await push_document(kept.db, kept.store, whole, "v1")
    signature = image(config, artifactType="application/x.signature", subject=subject(whole))
    signed = await push_document(kept.db, kept.store, signature)
    verifier = Verifier(kept.db, kept.store)

    found = await verifier.verify("team/app", "v1", SILENCE)

    assert (found.digests, found.manifests, found.blobs, found.faults) == ([digest], 2, 2, [])
    assert [(each.digest, each.type) for each in found.referrers] == [(signed, "application/x.signature")]
    flip(kept.file_of(digest_of(layer)))
    for reference in (digest, None):
        spoiled = await verifier.verify("team/app", reference, SILENCE)
        assert [each.digest for each in spoiled.faults] == [digest_of(layer)]
    assert not await kept.is_served(digest_of(layer))  # type: ignore[arg-type] # a text that names one


async def test_layer_that_the_registry_never_held_is_no_fault(kept: Kept) -> None:
    config = some_bytes(64)
    await push_blob(kept.uploads, config)
    foreign = {
        "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "digest": digest_of(b"elsewhere"),
        "size": 9,
    }
    document = image(config)
    document["layers"] = [foreign]
    await push_document(kept.db, kept.store, document, "v1")

    found = await Verifier(kept.db, kept.store).verify("team/app", "v1", SILENCE)

    assert (found.faults, found.absent) == ([], [foreign["digest"]])


async def test_round_that_was_replaced_meanwhile_does_not_move_the_cursor(
    scrub: Scrub, kept: Kept, db: SqliteDatabase, clock: Clock
) -> None:
    await kept.push("v1")
    await db.write(rows.begin_round)
    old = await rows.read_round(db)
    clock.move(timedelta(seconds=1))

    def work(tx: Transaction) -> None:
        rows.begin_round(tx)
        rows.save_round(tx, old._replace(blob_after="sha256:f"))

    await db.write(work)

    assert (await rows.read_round(db)).blob_after == ""
