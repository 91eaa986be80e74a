"""Manifests that nothing leads to: found by what untied them, put into the trash in time, else left alone."""

from datetime import timedelta
from typing import Any

import pytest

from moorage.config import Settings
from moorage.databases.sqlite import SqliteDatabase
from moorage.lifecycle.untagged import rows
from moorage.lifecycle.untagged.clearing import KIND, Untagged
from moorage.oci.names import Tag
from moorage.registry.repositories.rows import get_repository
from moorage.registry.tags import rows as tag_rows
from moorage.registry.trash.deleting import delete_manifest
from moorage.registry.trash.repositories import delete_repository, restore_repository
from moorage.registry.trash.restoring import restore_deletion
from moorage.registry.trash.rows import list_deletions
from moorage.registry.uploads.uploading import Uploads
from tests.content import OCI_MANIFEST, Document, digest_of, encode, image, index, subject
from tests.lifecycle.jobs import run_job
from tests.lifecycle.test_retention import ALICE, CONFIG, DAY_MS, Registry, there
from tests.registry.pushing import REPOSITORY

__all__ = ["there"]

pytestmark = pytest.mark.anyio

AGE = timedelta(days=14)


async def run(there: Registry, age: timedelta = AGE) -> Any:
    return await run_job(there.db, KIND, Untagged(there.db, Settings().delete, age).run)


async def waiting(db: SqliteDatabase) -> int:
    """How many manifests are written down as untagged."""
    row = await db.one("SELECT count(*) FROM untagged")
    assert row is not None
    return int(row[0])


async def untag(there: Registry, tag: str) -> None:
    repository_id = await get_repository(there.db, REPOSITORY)
    await there.db.write(lambda tx: tag_rows.delete(tx, repository_id, Tag(tag), "alice"))


async def test_pushed_without_a_tag_leaves_in_time(there: Registry) -> None:
    document = await there.push()
    there.clock.move(AGE - timedelta(hours=2))
    assert (await run(there))["manifests"] == 0
    there.clock.move(timedelta(hours=2))

    result = await run(there)

    assert result["manifests"] == 1
    assert not await there.is_served(document)
    deletion = (await list_deletions(there.db, REPOSITORY, 1 << 60, 10))[0]
    assert (deletion.reason, deletion.deleted_by) == ("untagged", "untagged for long")
    assert await waiting(there.db) == 0


@pytest.mark.parametrize("untie", ["moved", "deleted"])
async def test_what_lost_its_last_tag_leaves_in_time(there: Registry, untie: str) -> None:
    document = await there.push("latest", "1")
    there.clock.move(timedelta(days=90))
    await untag(there, "1")
    assert await waiting(there.db) == 0
    if untie == "moved":
        await there.push("latest")
    else:
        await untag(there, "latest")

    # the moment is the machine's own
    await there.db.write(
        lambda tx: tx.run("UPDATE untagged SET since = ?", (there.clock.now_ns // 1_000_000,))
    )
    assert (await run(there))["manifests"] == 0
    there.clock.move(AGE + timedelta(hours=1))
    assert (await run(there))["manifests"] == 1
    assert not await there.is_served(document)


async def test_what_is_tagged_again_stays(there: Registry) -> None:
    document = await there.push()
    await there.put(document, "late")
    assert await waiting(there.db) == 0
    there.clock.move(AGE * 2)

    assert (await run(there))["manifests"] == 0
    assert await there.is_served(document)


async def test_children_referrers_and_their_kin_stay_with_what_needs_them(there: Registry) -> None:
    child = await there.push()
    nested = index([child])
    await there.put(nested)
    await there.put(index([nested]), "1")
    referrer = image(CONFIG, [], OCI_MANIFEST, subject=subject(child), artifactType="application/x")
    await there.put(referrer)
    there.clock.move(AGE * 2)

    assert (await run(there))["manifests"] == 0
    assert all([await there.is_served(each) for each in (child, nested, referrer)])
    # and they are looked at once, not with every run
    assert await waiting(there.db) == 0


async def test_untagged_index_goes_whole(there: Registry) -> None:
    child = await there.push()
    await there.put(index([child]))
    there.clock.move(AGE * 2)

    assert (await run(there))["manifests"] == 2
    assert not await there.is_served(child)


async def test_referrer_without_a_subject_leaves_in_time(there: Registry) -> None:
    await there.push("1")
    absent: Document = {"mediaType": OCI_MANIFEST, "digest": digest_of(b"absent"), "size": 6}
    referrer = image(CONFIG, [], OCI_MANIFEST, subject=absent, artifactType="application/x")
    await there.put(referrer)
    there.clock.move(AGE * 2)

    assert (await run(there))["manifests"] == 1
    assert not await there.is_served(referrer)


@pytest.mark.parametrize("what", ["itself", "its child", "pushed"])
async def test_what_is_pulled_by_digest_or_pushed_again_stays_as_long_again(
    there: Registry, what: str
) -> None:
    child = await there.push()
    document = index([child])
    await there.put(document)
    there.clock.move(timedelta(days=10))
    if what == "pushed":
        await there.put(document)
    else:
        await there.pull(digest_of(encode(document if what == "itself" else child)))
    there.clock.move(timedelta(days=10))

    assert (await run(there))["manifests"] == 0
    there.clock.move(timedelta(days=5))
    assert (await run(there))["manifests"] == 2


async def test_what_is_restored_has_its_time_anew(there: Registry) -> None:
    document = await there.push()
    there.clock.move(AGE * 2)
    await run(there)
    deletion = (await list_deletions(there.db, REPOSITORY, 1 << 60, 10))[0]
    await restore_deletion(there.db, deletion.id, ALICE)
    assert await waiting(there.db) == 1
    await there.db.write(
        lambda tx: tx.run("UPDATE untagged SET since = ?", (there.clock.now_ns // 1_000_000,))
    )

    assert (await run(there))["manifests"] == 0
    assert await there.is_served(document)
    there.clock.move(AGE + timedelta(hours=1))
    assert (await run(there))["manifests"] == 1


async def test_child_of_a_deleted_index_that_another_needs_stays(there: Registry) -> None:
    child = await there.push()
    old, new = index([child]), index([child, child])
    await there.put(old, "old")
    await there.put(new, "new")
    there.clock.move(AGE * 2)
    await run(there)

    await delete_manifest(there.db, REPOSITORY, digest_of(encode(old)), ALICE, DAY_MS)  # type: ignore[arg-type]
    there.clock.move(AGE * 2)
    assert (await run(there))["manifests"] == 0
    assert await there.is_served(child)


async def test_deleted_repository_keeps_all_it_has(there: Registry, uploads: Uploads) -> None:
    document = await there.push()
    await delete_repository(there.db, uploads, REPOSITORY, ALICE, 90 * DAY_MS)
    there.clock.move(AGE * 2)
    assert (await run(there))["manifests"] == 0

    await restore_repository(there.db, 1, REPOSITORY, ALICE)
    assert await there.is_served(document)
    there.clock.move(AGE + timedelta(hours=1))
    assert (await run(there))["manifests"] == 1


async def test_nothing_leaves_by_an_age_of_zero(there: Registry) -> None:
    await there.push()
    there.clock.move(AGE * 100)
    leaving = Untagged(there.db, Settings().delete, timedelta())

    assert not await leaving.is_due(there.db)
    assert (await run(there, timedelta()))["manifests"] == 0


async def test_nothing_is_due_where_all_is_tagged(there: Registry) -> None:
    leaving = Untagged(there.db, Settings().delete, AGE)
    for each in ("1", "2"):
        await there.push(each)
    there.clock.move(AGE * 2)
    assert not await leaving.is_due(there.db)

    await there.push()
    there.clock.move(AGE * 2)
    assert await leaving.is_due(there.db)


@pytest.mark.parametrize("leap", [timedelta(days=3650), timedelta(days=-3650)])
async def test_clock_that_is_set_makes_nothing_old_f40(there: Registry, leap: timedelta) -> None:
    document = await there.push()
    await run(there)
    there.clock.leap(leap)

    assert (await run(there))["manifests"] == 0
    assert await there.is_served(document)


async def test_many_leave_in_several_transactions(there: Registry) -> None:
    for _ in range(120):
        await there.push(size=10)
    there.clock.move(AGE * 2)

    assert (await run(there))["manifests"] == 120
    assert await rows.has_due(there.db, 1 << 60) is False
