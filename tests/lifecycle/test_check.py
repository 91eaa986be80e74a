"""D11, F17, F18: rows and files compared both ways; nothing that someone could need goes."""

import asyncio
import os
from datetime import timedelta
from pathlib import Path

import pytest

from moorage.database import Transaction
from moorage.databases.sqlite import SqliteDatabase
from moorage.lifecycle.checking.check import StoreCheck
from moorage.lifecycle.checking.report import KINDS, Report
from moorage.lifecycle.progress import Silence
from moorage.lifecycle.store import rows as store_rows
from moorage.oci.digest import Digest
from moorage.registry.blobs.rows import get_total
from moorage.storage.upkeep import FilesystemUpkeep
from tests.content import digest_of, some_bytes
from tests.lifecycle.keeping import Kept
from tests.registry.conftest import Clock
from tests.registry.pushing import push_blob

pytestmark = pytest.mark.anyio

SILENCE = Silence()


def targets(report: Report, kind: str) -> list[str]:
    return [finding.target for finding in report.findings if finding.kind == kind]


def stray(kept: Kept, content: bytes = b"a stray", generation: int = 1) -> Path:
    """A blob's file that no row names."""
    path = kept.file_of(digest_of(content), generation)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


async def test_sound_store_has_no_findings(check: StoreCheck, kept: Kept) -> None:
    await kept.push("v1")
    await kept.push("v2", in_index=True)

    report = await check.run(SILENCE)

    assert (report.findings, report.counts, report.is_sound) == ([], {}, True)
    assert (report.blobs, report.files, report.manifests) == (4, 4, 3)


async def test_d11_row_without_its_file_is_withdrawn_and_a_push_brings_it_back(
    check: StoreCheck, kept: Kept
) -> None:
    layer = some_bytes()
    digest = await kept.push("v1", layer=layer, in_index=True)
    kept.file_of(digest).unlink()

    report = await check.run(SILENCE)

    assert targets(report, "blob_missing") == [digest]
    assert report.findings[0].images == ["team/app:v1"]
    assert not report.is_sound
    assert not await kept.is_served(digest)
    await push_blob(kept.uploads, layer)
    assert kept.file_of(digest, 2).read_bytes() == layer
    assert (await check.run(SILENCE)).findings == []


async def test_disk_that_is_not_mounted_takes_no_blob_out_of_service(check: StoreCheck, kept: Kept) -> None:
    digests = [await kept.push(f"v{number}") for number in range(15)]
    kept.store.shards.rename(kept.store.root / "elsewhere")
    kept.store.prepare()

    report = await check.run(SILENCE)

    assert len(targets(report, "blob_missing")) == 30
    assert report.mistrusted == "30 of 30 blobs have no file, or a wrong one: is a disk not mounted?"
    assert (await store_rows.read_state(kept.db)).mistrusted == report.mistrusted
    assert all([await kept.is_served(digest) for digest in digests])
    await check.run(SILENCE, is_certain=True)
    assert not any([await kept.is_served(digest) for digest in digests])


async def test_f16_file_of_the_wrong_size_is_put_aside(check: StoreCheck, kept: Kept) -> None:
    digest = await kept.push("v1")
    os.truncate(kept.file_of(digest), 10)

    report = await check.run(SILENCE)

    assert targets(report, "blob_wrong_size") == [digest]
    assert kept.aside() == [f"{digest[7:]}.1"]
    again = await check.run(SILENCE)
    assert targets(again, "blob_damaged") == [digest]
    assert not again.is_sound


async def test_f18_stray_is_left_alone_for_a_day_and_then_put_aside(
    check: StoreCheck, kept: Kept, clock: Clock
) -> None:
    path = stray(kept)

    first = await check.run(SILENCE)
    clock.move(timedelta(hours=23))
    second = await check.run(SILENCE)
    assert path.exists()
    clock.move(timedelta(hours=2))
    third = await check.run(SILENCE)

    assert [targets(each, "file_stray") for each in (first, second, third)] == [[path.name], [path.name], []]
    assert targets(third, "file_put_aside") == [path.name]
    assert first.is_sound
    assert not path.exists()
    assert kept.aside() == [path.name]


async def test_d11_old_stray_is_seen_twice_before_it_goes(
    check: StoreCheck, kept: Kept, clock: Clock
) -> None:
    path = stray(kept)
    clock.move(timedelta(days=30))

    await check.run(SILENCE)

    assert path.exists()


async def test_f40_clock_that_jumps_puts_nothing_aside_that_a_row_has(
    check: StoreCheck, kept: Kept, clock: Clock
) -> None:
    content = some_bytes()
    path = stray(kept, content)
    await check.run(SILENCE)
    await push_blob(kept.uploads, content)
    clock.move(timedelta(days=3650))

    report = await check.run(SILENCE)

    assert report.findings == []
    assert path.exists()


async def test_stray_that_gets_its_row_while_it_is_put_aside_is_put_back(
    check: StoreCheck, kept: Kept, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"pushed in this moment"
    digest, path = digest_of(content), stray(kept, content)
    await check.run(SILENCE)
    clock.move(timedelta(days=2))
    loop = asyncio.get_running_loop()
    put_aside = FilesystemUpkeep.put_aside

    def push_between(files: FilesystemUpkeep, shard: str, name: str) -> bool:
        def insert(tx: Transaction) -> None:
            tx.run("INSERT INTO blob VALUES (?, NULL, ?, 1, 'live', 0)", (digest, len(content)))

        asyncio.run_coroutine_threadsafe(kept.db.write(insert), loop).result()
        return put_aside(files, shard, name)

    monkeypatch.setattr(FilesystemUpkeep, "put_aside", push_between)
    report = await check.run(SILENCE)

    assert targets(report, "file_stray") == [path.name]
    assert path.read_bytes() == content


async def test_file_of_a_generation_that_no_row_names_is_a_stray(check: StoreCheck, kept: Kept) -> None:
    layer = some_bytes()
    digest = await kept.push("v1", layer=layer)
    path = stray(kept, layer, generation=2)

    report = await check.run(SILENCE)

    assert targets(report, "file_stray") == [path.name]
    assert await kept.is_served(digest)


async def test_store_that_is_mistrusted_is_only_looked_at(
    check: StoreCheck, kept: Kept, clock: Clock, db: SqliteDatabase
) -> None:
    path = stray(kept)
    await check.run(SILENCE)
    clock.move(timedelta(days=60))
    await db.write(lambda tx: store_rows.mistrust(tx, "for a test"))

    report = await check.run(SILENCE)

    assert report.mistrusted == "for a test"
    assert targets(report, "file_stray") == [path.name]
    assert path.exists()


async def test_what_was_put_aside_goes_after_a_month(check: StoreCheck, kept: Kept, clock: Clock) -> None:
    aside = kept.store.aside / f"{'ab' * 32}.1"
    aside.write_bytes(b"damaged")

    clock.move(timedelta(days=29))
    await check.run(SILENCE)
    assert aside.exists()
    clock.move(timedelta(days=2))
    await check.run(SILENCE)

    assert not aside.exists()


async def test_what_a_crash_left_halfway_is_removed_after_a_day(
    check: StoreCheck, kept: Kept, clock: Clock
) -> None:
    left = kept.store.shards / "ab" / "0f8fad5b-d9cb-469f-a165-70867728950e.tmp"
    odd = left.with_name("notes.txt")
    left.parent.mkdir()
    left.write_bytes(b"half")
    odd.write_bytes(b"an operator's")

    assert targets(await check.run(SILENCE), "file_left_over") == []
    clock.move(timedelta(hours=25))
    report = await check.run(SILENCE)

    assert (targets(report, "file_left_over"), left.exists()) == ([f"ab/{left.name}"], False)
    assert (targets(report, "file_unknown"), odd.exists()) == (["ab/notes.txt"], True)


async def test_uploads_are_compared_with_their_files(check: StoreCheck, kept: Kept, clock: Clock) -> None:
    (kept.store.uploads / "stray").write_bytes(b"x")
    upload = await kept.uploads.begin("team/app", "someone")  # type: ignore[arg-type] # a good name
    await kept.db.write(lambda tx: tx.run("UPDATE upload SET received = 10 WHERE id = ?", (upload.id,)))
    clock.move(timedelta(hours=25))

    report = await check.run(SILENCE)

    assert targets(report, "upload_stray") == ["stray"]
    assert targets(report, "upload_lost") == [upload.id]
    assert report.is_sound


async def test_total_that_is_wrong_is_corrected(check: StoreCheck, kept: Kept) -> None:
    await kept.push("v1")
    total = await get_total(kept.db)
    await kept.db.write(lambda tx: tx.run("UPDATE blob_total SET blobs = 7, bytes = bytes + 9"))

    report = await check.run(SILENCE)

    assert targets(report, "total_wrong") == ["-5 blobs, -9 bytes"]
    assert await get_total(kept.db) == total


async def test_rows_without_their_other_half_are_found(check: StoreCheck, kept: Kept, tmp_path: Path) -> None:
    import apsw  # noqa: PLC0415 - rows that no code of ours would write

    digest = await kept.push("v1")
    outside = apsw.Connection(str(tmp_path / "moorage.db"))
    outside.execute("INSERT INTO tag SELECT repository, 'lost', 99, algorithm, 0, '', '' FROM tag")
    outside.execute("INSERT INTO manifest_reference VALUES (98, 1, 'sha256:x', 'layer')")
    outside.execute("UPDATE blob SET state = 'deleting' WHERE digest = ?", (digest,))
    outside.close()

    report = await check.run(SILENCE)

    assert targets(report, "tag_without_manifest") == ["lost"]
    assert targets(report, "edge_without_manifest") == ["sha256:x"]
    assert targets(report, "link_without_blob") == [f"team/app@{digest}"]


async def test_image_whose_layer_its_repository_lost_is_noted(check: StoreCheck, kept: Kept) -> None:
    digest = await kept.push("v1")
    await kept.db.write(lambda tx: tx.run("DELETE FROM repository_blob WHERE digest = ?", (digest,)))

    report = await check.run(SILENCE)

    (noted,) = targets(report, "image_lacks")
    assert noted.startswith("team/app@sha256:")
    assert noted.endswith(digest)


async def test_report_is_kept(check: StoreCheck, kept: Kept, db: SqliteDatabase) -> None:
    stray(kept)

    report = await check.run(SILENCE)

    state = await store_rows.read_state(db)
    assert state.checked_at == report.started_at
    assert state.report is not None
    assert "file_stray" in state.report


async def test_many_findings_are_all_counted(check: StoreCheck, kept: Kept) -> None:
    for number in range(130):
        stray(kept, b"%d" % number)

    report = await check.run(SILENCE)

    assert report.counts == {"file_stray": 130}
    assert len(report.findings) == 100


async def test_check_goes_on_while_others_push(check: StoreCheck, kept: Kept) -> None:
    async def push_many() -> list[Digest]:
        return [await kept.push(f"v{number}") for number in range(30)]

    async def check_many() -> list[Report]:
        return [await check.run(SILENCE) for _ in range(5)]

    digests, reports = await asyncio.gather(push_many(), check_many())

    assert [report.findings for report in reports if report.findings] == []
    assert all([await kept.is_served(digest) for digest in digests])


def test_every_kind_of_finding_says_what_it_means() -> None:
    assert all(weight in {"damage", "orphan", "note"} and said for weight, said in KINDS.values())
