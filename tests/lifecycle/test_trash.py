"""The trash: what goes along, what comes back, and that nothing of it is served meanwhile."""

from concurrent.futures import Executor
from datetime import timedelta
from typing import Any

import pytest

from moorage.clock import now_ms
from moorage.databases.sqlite import SqliteDatabase, SqliteTransaction
from moorage.errors import (
    ContentGone,
    ContentNeeded,
    DeletionUnknown,
    ManifestUnknown,
    NameTaken,
    NameUnknown,
)
from moorage.lifecycle.garbage.collecting import Garbage
from moorage.oci.digest import Digest
from moorage.oci.names import RepositoryName, Tag
from moorage.registry.blobs.linking import delete_blob
from moorage.registry.blobs.rows import LEASE_MS, find_blob, mark_damaged
from moorage.registry.manifests.serving import delete_tag, get_manifest
from moorage.registry.repositories.rows import list_deleted, list_repositories
from moorage.registry.tags.rows import list_tags
from moorage.registry.trash import rows
from moorage.registry.trash.deleting import Deleted, delete_manifest
from moorage.registry.trash.repositories import delete_repository, restore_repository
from moorage.registry.trash.restoring import purge_deletion, restore_deletion
from moorage.registry.uploads.uploading import Uploads
from moorage.storage.filesystem import FilesystemStore
from tests.content import (
    DOCKER_LIST,
    OCI_INDEX,
    Document,
    descriptor,
    digest_of,
    encode,
    image,
    index,
    some_bytes,
    subject,
)
from tests.registry.conftest import Clock
from tests.registry.pushing import CLIENT, OTHER, REPOSITORY, push_blob, push_document

pytestmark = pytest.mark.anyio

FOREIGN_LAYER = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
GRACE = timedelta(days=7)
GRACE_MS = int(GRACE.total_seconds() * 1000)
LEASE = timedelta(milliseconds=LEASE_MS + 1)
CONTENT = {name: name.encode() * 100 for name in ("config", "one", "two", "three")}


class Shelf:
    """Images in one repository, and what a client may do with them."""

    def __init__(
        self, db: SqliteDatabase, store: FilesystemStore, uploads: Uploads, threads: Executor
    ) -> None:
        self.db, self.store, self.uploads = db, store, uploads
        self.garbage = Garbage(db, store, threads, LEASE_MS)

    async def push(self, *layers: str, tags: tuple[str, ...] = (), **more: Any) -> tuple[Document, Digest]:
        """An image of these layers."""
        for name in ("config", *layers):
            await push_blob(self.uploads, CONTENT[name])
        document = image(CONTENT["config"], [CONTENT[name] for name in layers], **more)
        return document, await push_document(self.db, self.store, document, *tags)

    async def delete(self, digest: Digest, *, may_break: bool = False) -> Deleted:
        return await delete_manifest(self.db, REPOSITORY, digest, CLIENT, GRACE_MS, may_break=may_break)

    async def is_served(self, reference: str) -> bool:
        try:
            await get_manifest(self.db, REPOSITORY, reference)
        except ManifestUnknown:
            return False
        return True

    async def tags(self) -> list[str]:
        row = await self.db.one("SELECT id FROM repository WHERE name = ?", (REPOSITORY,))
        return [] if row is None else list(await list_tags(self.db, row[0], "", 100))

    async def has_file(self, name: str) -> bool:
        digest = Digest(digest_of(CONTENT[name]))
        row = await self.db.one("SELECT generation FROM blob WHERE digest = ?", (digest,))
        return row is not None and self.store.blob_size(digest, row[0]) is not None


@pytest.fixture
def shelf(db: SqliteDatabase, store: FilesystemStore, uploads: Uploads, threads: Executor) -> Shelf:
    return Shelf(db, store, uploads, threads)


async def test_deleted_image_is_restored_with_all_its_tags(shelf: Shelf) -> None:
    document, digest = await shelf.push("one", tags=("1.0", "latest"))

    deleted = await shelf.delete(digest)
    assert (await shelf.tags(), await shelf.is_served(digest)) == ([], False)
    restored = await restore_deletion(shelf.db, deleted.deletion, CLIENT)

    assert (restored.tags, restored.taken) == (["1.0", "latest"], [])
    assert await shelf.tags() == ["1.0", "latest"]
    assert (await get_manifest(shelf.db, REPOSITORY, "latest")).payload == encode(document)


async def test_image_with_many_tags_goes_in_few_statements(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody writes meanwhile."""
    many = tuple(f"t{number}" for number in range(1500))
    _, digest = await shelf.push("one", tags=many)
    _, other = await shelf.push("two", tags=("other",))
    asked: list[str] = []
    run = SqliteTransaction.run

    def count(tx: SqliteTransaction, sql: str, *values: Any) -> int:
        asked.append(sql)
        return run(tx, sql, *values)

    monkeypatch.setattr(SqliteTransaction, "run", count)
    deleted = await shelf.delete(digest)

    assert len(asked) < 50
    assert set(deleted.tags) == set(many)
    assert (await shelf.tags(), await shelf.is_served(other)) == (["other"], True)
    events = await shelf.db.all(
        "SELECT count(*), min(number), max(number) FROM tag_event WHERE to_digest IS NULL"
    )
    assert events == [(1500, 2, 2)]
    assert len((await restore_deletion(shelf.db, deleted.deletion, CLIENT)).tags) == 1500


async def test_tag_that_was_pushed_anew_is_not_taken_back(shelf: Shelf) -> None:
    _, digest = await shelf.push("one", tags=("1.0", "latest"))
    deleted = await shelf.delete(digest)
    _, other = await shelf.push("two", tags=("latest",))

    restored = await restore_deletion(shelf.db, deleted.deletion, CLIENT)

    assert (restored.tags, restored.taken) == (["1.0"], ["latest"])
    assert (await get_manifest(shelf.db, REPOSITORY, "latest")).digest == other


async def test_restored_after_six_days_and_gone_after_the_grace(shelf: Shelf, clock: Clock) -> None:
    _, digest = await shelf.push("one", tags=("1.0",))
    await shelf.garbage.collect()
    deleted = await shelf.delete(digest)
    clock.move(GRACE - timedelta(hours=1))
    await shelf.garbage.collect()
    await restore_deletion(shelf.db, deleted.deletion, CLIENT)
    assert await shelf.has_file("one")

    await shelf.delete(digest)
    clock.move(GRACE + timedelta(seconds=1))
    assert (await shelf.garbage.collect()).purged_manifests == 1
    assert await shelf.has_file("one"), "leased for a day: someone may have been told it is here"
    clock.move(LEASE)
    done = await shelf.garbage.collect()

    assert (done.removed_blobs, await shelf.has_file("one")) == (2, False)
    with pytest.raises(DeletionUnknown):
        await restore_deletion(shelf.db, deleted.deletion, CLIENT)


async def test_image_that_is_pushed_again_leaves_the_trash(shelf: Shelf, clock: Clock) -> None:
    _, digest = await shelf.push("one", tags=("1.0",))
    await shelf.delete(digest)
    await shelf.push("one", tags=("2.0",))
    clock.move(GRACE * 2)
    await shelf.garbage.collect()
    clock.move(LEASE)
    await shelf.garbage.collect()

    assert (await shelf.tags(), await shelf.is_served(digest)) == (["2.0"], True)
    assert await shelf.has_file("one")


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST])
async def test_index_takes_children_and_signatures_along_and_brings_them_back(
    shelf: Shelf, media_type: str
) -> None:
    """D2, in OCI's and Docker's types: a nested index, a child of its own, one that is tagged, a referrer."""
    own, own_digest = await shelf.push("one")
    tagged, tagged_digest = await shelf.push("two", tags=("kept",))
    inner = index([own], media_type)
    inner_digest = await push_document(shelf.db, shelf.store, inner)
    outer = index([inner, tagged], media_type)
    digest = await push_document(shelf.db, shelf.store, outer, "all")
    _, signature = await shelf.push("three", subject=subject(outer))

    deleted = await shelf.delete(digest)

    assert set(deleted.digests) == {digest, inner_digest, own_digest, signature}
    assert await shelf.is_served(tagged_digest)
    assert not any([await shelf.is_served(each) for each in deleted.digests])
    await restore_deletion(shelf.db, deleted.deletion, CLIENT)
    assert all([await shelf.is_served(each) for each in deleted.digests])
    assert await shelf.tags() == ["all", "kept"]


async def test_child_of_a_tagged_index_is_not_deleted(shelf: Shelf) -> None:
    """F38."""
    child, digest = await shelf.push("one")
    parent = await push_document(shelf.db, shelf.store, index([child]), "all")

    with pytest.raises(ContentNeeded) as refusal:
        await shelf.delete(digest)
    assert refusal.value.detail["needed_by"] == parent
    await shelf.delete(digest, may_break=True)
    assert not await shelf.is_served(digest)


async def test_restored_index_is_whole(shelf: Shelf, clock: Clock) -> None:
    """What another deletion took of it comes back too, and is not purged before it."""
    child, child_digest = await shelf.push("one", tags=("child",))
    digest = await push_document(shelf.db, shelf.store, index([child]), "all")
    deleted = await shelf.delete(digest)
    clock.move(timedelta(days=-1))
    await delete_tag(shelf.db, REPOSITORY, Tag("child"), CLIENT)
    await shelf.delete(child_digest)
    clock.move(GRACE)
    await shelf.garbage.collect()

    await restore_deletion(shelf.db, deleted.deletion, CLIENT)

    assert await shelf.is_served(child_digest)


async def test_image_whose_layer_was_deleted_too_comes_back_with_it(shelf: Shelf) -> None:
    _, digest = await shelf.push("one", tags=("1.0",))
    deleted = await shelf.delete(digest)
    layer = Digest(digest_of(CONTENT["one"]))
    await delete_blob(shelf.db, REPOSITORY, layer, CLIENT)
    assert await find_blob(shelf.db, REPOSITORY, layer) is None

    await restore_deletion(shelf.db, deleted.deletion, CLIENT)

    assert await find_blob(shelf.db, REPOSITORY, layer) is not None


async def test_layer_deleted_by_itself_stays_while_the_trash_needs_it(shelf: Shelf, clock: Clock) -> None:
    _, digest = await shelf.push("one", tags=("1.0",))
    deleted = await shelf.delete(digest)
    await delete_blob(shelf.db, REPOSITORY, Digest(digest_of(CONTENT["one"])), CLIENT)
    clock.move(LEASE)
    await shelf.garbage.collect()

    await restore_deletion(shelf.db, deleted.deletion, CLIENT)

    assert await shelf.has_file("one")


async def test_image_that_lost_its_bytes_is_not_restored(shelf: Shelf) -> None:
    _, digest = await shelf.push("one", tags=("1.0",))
    deleted = await shelf.delete(digest)
    await shelf.db.write(lambda tx: tx.run("UPDATE blob SET state = 'damaged'"))

    with pytest.raises(ContentGone):
        await restore_deletion(shelf.db, deleted.deletion, CLIENT)
    assert not await shelf.is_served(digest)


async def test_deletion_says_what_it_frees(shelf: Shelf) -> None:
    _, first = await shelf.push("one", "two", tags=("1.0",))
    _, second = await shelf.push("one", "three", tags=("2.0",))

    assert (await shelf.delete(first)).frees_bytes == len(CONTENT["two"])
    rest = sum(len(CONTENT[name]) for name in ("config", "one", "three"))
    assert (await shelf.delete(second)).frees_bytes == rest


async def test_tag_deleted_says_what_it_frees(shelf: Shelf) -> None:
    _, digest = await shelf.push("one", tags=("1.0", "latest"))
    _, _ = await shelf.push("two", tags=("other",))

    first = await delete_tag(shelf.db, REPOSITORY, Tag("1.0"), CLIENT)
    last = await delete_tag(shelf.db, REPOSITORY, Tag("latest"), CLIENT)

    assert (first.digest, first.frees_bytes) == (digest, 0)
    assert last.frees_bytes == len(CONTENT["one"])
    assert await shelf.is_served(digest)


async def test_deletion_that_is_purged_goes_with_the_next_run(shelf: Shelf, clock: Clock) -> None:
    _, digest = await shelf.push("one", tags=("1.0",))
    deleted = await shelf.delete(digest)

    await purge_deletion(shelf.db, deleted.deletion, CLIENT)

    assert (await shelf.garbage.collect()).purged_manifests == 1
    assert await rows.read(shelf.db, deleted.deletion) is None


async def test_deleted_repository_is_restored_with_all_it_had(shelf: Shelf, clock: Clock) -> None:
    document, digest = await shelf.push("one", tags=("1.0",))
    deleted = await delete_repository(shelf.db, shelf.uploads, REPOSITORY, CLIENT, GRACE_MS)
    assert await list_repositories(shelf.db, "", 10) == []
    assert not await shelf.is_served(digest)
    clock.move(GRACE - timedelta(hours=1))
    await shelf.garbage.collect()

    await restore_repository(shelf.db, deleted.id, None, CLIENT)

    assert (await get_manifest(shelf.db, REPOSITORY, "1.0")).payload == encode(document)
    assert await shelf.has_file("one")


async def test_deleted_repository_comes_back_beside_a_new_one_of_its_name(shelf: Shelf) -> None:
    await shelf.push("one", tags=("1.0",))
    deleted = await delete_repository(shelf.db, shelf.uploads, REPOSITORY, CLIENT, GRACE_MS)
    await shelf.push("two", tags=("2.0",))

    with pytest.raises(NameTaken):
        await restore_repository(shelf.db, deleted.id, None, CLIENT)
    await restore_repository(shelf.db, deleted.id, RepositoryName("team/old"), CLIENT)

    assert await list_repositories(shelf.db, "", 10) == ["team/app", "team/old"]
    assert await shelf.tags() == ["2.0"]


async def test_deleted_repository_goes_for_good_after_its_grace(shelf: Shelf, clock: Clock) -> None:
    _, _ = await shelf.push("one", "two", tags=tuple(f"1.{number}" for number in range(20)))
    _, _ = await shelf.push("three")
    await delete_repository(shelf.db, shelf.uploads, REPOSITORY, CLIENT, GRACE_MS)
    await shelf.garbage.collect()
    clock.move(GRACE + timedelta(seconds=1))

    done = await shelf.garbage.collect()

    assert (done.purged_repositories, done.removed_blobs) == (1, 4)
    assert await list_deleted(shelf.db, 2**62, 10) == []
    for table in ("repository", "manifest", "manifest_reference", "tag", "tag_event", "lease", "blob"):
        assert await shelf.db.one(f"SELECT count(*) FROM {table}") == (0,), table


async def test_blobs_that_another_repository_holds_outlive_a_deleted_one(shelf: Shelf, clock: Clock) -> None:
    await shelf.push("one", tags=("1.0",))
    other = RepositoryName("team/other")
    for name in ("config", "one"):
        await push_blob(shelf.uploads, CONTENT[name], other)
    document = image(CONTENT["config"], [CONTENT["one"]])
    await push_document(shelf.db, shelf.store, document, "1.0", repository=other)
    await delete_repository(shelf.db, shelf.uploads, REPOSITORY, CLIENT, GRACE_MS)
    clock.move(GRACE * 2)
    await shelf.garbage.collect()
    clock.move(LEASE)
    await shelf.garbage.collect()

    assert await find_blob(shelf.db, other, Digest(digest_of(CONTENT["one"]))) is not None
    assert await shelf.has_file("one")


async def test_repository_that_is_not_there_is_not_deleted(shelf: Shelf) -> None:
    with pytest.raises(NameUnknown):
        await delete_repository(shelf.db, shelf.uploads, REPOSITORY, CLIENT, GRACE_MS)


async def test_deleting_and_restoring_are_audited(shelf: Shelf) -> None:
    _, digest = await shelf.push("one", tags=("1.0",))
    deleted = await shelf.delete(digest)
    await restore_deletion(shelf.db, deleted.deletion, CLIENT)

    actions = [row[0] for row in await shelf.db.all("SELECT action FROM audit ORDER BY id")]
    assert actions == ["push", "delete", "restore"]
    assert now_ms() >= deleted.purge_at - GRACE_MS


async def test_signatures_that_only_their_tags_name_go_along_and_come_back(shelf: Shelf) -> None:
    """D2: cosign's tags."""
    _, digest = await shelf.push("one", tags=("1.0",))
    tag = digest.replace(":", "-") + ".sig"
    _, signature = await shelf.push("two", tags=(tag,))
    _, shared = await shelf.push("three", tags=(digest.replace(":", "-") + ".sbom", "kept"))

    deleted = await shelf.delete(digest)

    assert deleted.digests == [digest, signature]
    assert sorted(deleted.tags) == ["1.0", tag]
    assert await shelf.is_served(shared)
    restored = await restore_deletion(shelf.db, deleted.deletion, CLIENT)
    assert sorted(restored.tags) == ["1.0", tag]
    assert (await get_manifest(shelf.db, REPOSITORY, tag)).digest == signature


async def test_restoring_gives_no_repository_a_layer_that_another_has(shelf: Shelf) -> None:
    secret = some_bytes()
    digest = await push_blob(shelf.uploads, secret, OTHER)
    foreign = descriptor(secret, FOREIGN_LAYER, urls=["https://example.com/layer"])
    await push_blob(shelf.uploads, CONTENT["config"])
    document = {**image(CONTENT["config"]), "layers": [foreign]}
    deleted = await shelf.delete(await push_document(shelf.db, shelf.store, document, "1.0"))

    await restore_deletion(shelf.db, deleted.deletion, CLIENT)

    assert await shelf.tags() == ["1.0"]
    assert await find_blob(shelf.db, OTHER, digest) is not None
    assert await find_blob(shelf.db, REPOSITORY, digest) is None


async def test_layer_that_another_has_lost_keeps_nothing_from_being_restored(shelf: Shelf) -> None:
    secret = some_bytes()
    digest = await push_blob(shelf.uploads, secret, OTHER)
    foreign = descriptor(secret, FOREIGN_LAYER, urls=["https://example.com/layer"])
    await push_blob(shelf.uploads, CONTENT["config"])
    document = {**image(CONTENT["config"]), "layers": [foreign]}
    deleted = await shelf.delete(await push_document(shelf.db, shelf.store, document, "1.0"))
    await shelf.db.write(lambda tx: mark_damaged(tx, digest, 1))

    await restore_deletion(shelf.db, deleted.deletion, CLIENT)

    assert await shelf.tags() == ["1.0"]


async def test_what_a_deletion_frees_is_known_without_a_look_at_all_of_the_trash(shelf: Shelf) -> None:
    for count in range(60):
        await shelf.push("one", annotations={"number": str(count)}, tags=(f"1.{count}",))
    oldest = [(await get_manifest(shelf.db, REPOSITORY, f"1.{count}")).digest for count in range(59)]
    deletions = [(await shelf.delete(digest)).deletion for digest in oldest]

    def steps_of(deletion: int) -> int:
        steps = 0

        def count() -> bool:
            nonlocal steps
            steps += 1
            return False

        shelf.db._reader.set_progress_handler(count, 1)
        try:
            row = shelf.db._execute(rows._MEASURE, (deletion,)).fetchone()
        finally:
            shelf.db._reader.set_progress_handler(None)
        assert row == (0,)
        return steps

    assert steps_of(deletions[-1]) < 300
