"""What keeps bytes, whatever is collected: tags, indexes, subjects, other repositories, leases, the trash."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from moorage.config import ScrubSettings
from moorage.errors import BlobUnknown
from moorage.lifecycle.garbage.collecting import Collected
from moorage.lifecycle.progress import Silence
from moorage.lifecycle.scrubbing.scrub import Scrub
from moorage.oci.digest import Digest
from moorage.oci.names import Tag
from moorage.registry.blobs.linking import delete_blob, mount_blob
from moorage.registry.blobs.rows import find_blob
from moorage.registry.blobs.second_digest import SecondDigests
from moorage.registry.blobs.serving import BlobServer
from moorage.registry.manifests.serving import delete_tag
from moorage.registry.trash.deleting import delete_manifest
from moorage.registry.trash.repositories import delete_repository
from moorage.registry.trash.restoring import restore_deletion
from tests.content import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    digest_of,
    image,
    index,
    subject,
)
from tests.lifecycle.keeping import flip
from tests.lifecycle.test_trash import CONTENT, GRACE, GRACE_MS, LEASE, Shelf, shelf
from tests.registry.audit import audit, find_incomplete
from tests.registry.conftest import Clock
from tests.registry.pushing import CLIENT, OTHER, REPOSITORY, push_blob, push_document

__all__ = ["shelf"]

pytestmark = pytest.mark.anyio

EVERYTHING = {"config", "one", "two", "three"}


def reader(shelf: Shelf) -> BlobServer:
    threads = shelf.garbage._threads
    return BlobServer(shelf.db, shelf.store, threads, SecondDigests(shelf.db, shelf.store, threads))


async def collect(shelf: Shelf, clock: Clock, after: timedelta = LEASE) -> Collected:
    """Let time pass, then collect; also what that let go of."""
    clock.move(after)
    await shelf.garbage.collect()
    clock.move(LEASE)
    return await shelf.garbage.collect()


def file_of(shelf: Shelf, digest: str, generation: int = 1) -> Path:
    return shelf.store.shards / digest[7:9] / f"{digest[7:]}.{generation}"


async def files(shelf: Shelf) -> set[str]:
    return {name for name in EVERYTHING if await shelf.has_file(name)}


async def test_f34_garbage_is_collected_between_a_blob_and_its_manifest(shelf: Shelf, clock: Clock) -> None:
    await push_blob(shelf.uploads, CONTENT["config"])
    clock.move(LEASE - timedelta(minutes=1))
    await shelf.garbage.collect()

    await push_document(shelf.db, shelf.store, image(CONTENT["config"]), "1")

    assert await files(shelf) == {"config"}


async def test_f35_garbage_is_collected_between_a_look_and_the_manifest(shelf: Shelf, clock: Clock) -> None:
    digest = await push_blob(shelf.uploads, CONTENT["config"])
    clock.move(LEASE)
    await reader(shelf).find(REPOSITORY, digest)
    clock.move(LEASE - timedelta(hours=2))
    await shelf.garbage.collect()

    await push_document(shelf.db, shelf.store, image(CONTENT["config"]), "1")

    assert await files(shelf) == {"config"}


async def test_f36_blob_mounted_elsewhere_outlives_the_last_tag_of_its_source(
    shelf: Shelf, clock: Clock, tmp_path: Path
) -> None:
    _, digest = await shelf.push("one", tags=("1",))
    await shelf.delete(digest)
    clock.move(GRACE - timedelta(seconds=1))
    for name in ("config", "one"):
        assert await mount_blob(shelf.db, shelf.store, OTHER, Digest(digest_of(CONTENT[name])), REPOSITORY)
    document = image(CONTENT["config"], [CONTENT["one"]])
    await push_document(shelf.db, shelf.store, document, "1", repository=OTHER)

    await collect(shelf, clock)

    assert await files(shelf) == {"config", "one"}
    assert [*audit(tmp_path), *find_incomplete(tmp_path)] == []


async def test_f37_blob_pushed_while_it_goes_is_there_when_it_has_gone(
    shelf: Shelf, clock: Clock, tmp_path: Path
) -> None:
    digest = await push_blob(shelf.uploads, CONTENT["config"])
    clock.move(LEASE)
    await shelf.garbage._settle(Collected())
    with pytest.raises(BlobUnknown):
        await reader(shelf).find(REPOSITORY, digest)

    await push_blob(shelf.uploads, CONTENT["config"])
    await push_document(shelf.db, shelf.store, image(CONTENT["config"]), "1")

    assert audit(tmp_path) == []
    assert (await collect(shelf, clock)).removed_blobs == 0
    assert await files(shelf) == {"config"}


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST])
@pytest.mark.parametrize("depth", [1, 3])
async def test_f39_children_of_an_index_keep_their_layers(
    shelf: Shelf, clock: Clock, tmp_path: Path, media_type: str, depth: int
) -> None:
    inner = DOCKER_MANIFEST if media_type == DOCKER_LIST else OCI_MANIFEST
    document, _ = await shelf.push("one", mediaType=inner)
    for _ in range(depth - 1):
        document = index([document], media_type)
        await push_document(shelf.db, shelf.store, document)
    await push_document(shelf.db, shelf.store, index([document], media_type), "1")

    await collect(shelf, clock, 10 * LEASE)

    assert await files(shelf) == {"config", "one"}
    assert [*audit(tmp_path), *find_incomplete(tmp_path)] == []


async def test_f39_referrers_and_theirs_keep_their_layers(shelf: Shelf, clock: Clock, tmp_path: Path) -> None:
    document, _ = await shelf.push("one", tags=("1",))
    signature, _ = await shelf.push("two", subject=subject(document))
    await shelf.push("three", subject=subject(signature))

    await collect(shelf, clock, 10 * LEASE)

    assert await files(shelf) == EVERYTHING
    assert [*audit(tmp_path), *find_incomplete(tmp_path)] == []


async def test_f39_sparse_index_keeps_what_it_has(shelf: Shelf, clock: Clock, tmp_path: Path) -> None:
    """F38: a child may be taken from it where the settings let that."""
    first, _ = await shelf.push("one")
    second, gone = await shelf.push("two")
    parent = await push_document(shelf.db, shelf.store, index([first, second]), "1")
    await shelf.delete(gone, may_break=True)

    await collect(shelf, clock, GRACE)

    assert await files(shelf) == {"config", "one"}
    assert find_incomplete(tmp_path) == [f"I4: {REPOSITORY}@{parent} lacks {gone}"]
    assert audit(tmp_path) == []


async def test_child_stays_in_the_trash_as_long_as_the_index_above_its_own(
    shelf: Shelf, clock: Clock, tmp_path: Path
) -> None:
    """D2: it was deleted before that index, with the one between them."""
    child, _ = await shelf.push("one")
    between = await push_document(shelf.db, shelf.store, index([child]))
    above = await push_document(shelf.db, shelf.store, index([index([child])]), "1")
    await shelf.delete(between, may_break=True)
    clock.move(GRACE / 2)
    deleted = await shelf.delete(above)

    await collect(shelf, clock, GRACE / 2)
    await restore_deletion(shelf.db, deleted.deletion, CLIENT)

    assert find_incomplete(tmp_path) == []
    assert await files(shelf) == {"config", "one"}


@pytest.mark.parametrize("is_asked_first", [True, False])
async def test_layer_deleted_alone_goes_with_its_repository(
    shelf: Shelf, clock: Clock, tmp_path: Path, *, is_asked_first: bool
) -> None:
    """Whether it was asked before if the layer is garbage: it was not, while the trash needed it."""
    _, digest = await shelf.push("one", tags=("1",))
    await shelf.delete(digest)
    await delete_blob(shelf.db, REPOSITORY, Digest(digest_of(CONTENT["one"])), CLIENT)
    if is_asked_first:
        clock.move(LEASE)
        await shelf.garbage.collect()
    await delete_repository(shelf.db, shelf.uploads, REPOSITORY, CLIENT, 0)

    await collect(shelf, clock)

    assert await files(shelf) == set()
    assert audit(tmp_path) == []


async def test_blob_deleted_alone_goes_though_its_repository_went_first(
    shelf: Shelf, clock: Clock, tmp_path: Path
) -> None:
    digest = await push_blob(shelf.uploads, CONTENT["one"])
    await delete_blob(shelf.db, REPOSITORY, digest, CLIENT)
    await delete_repository(shelf.db, shelf.uploads, REPOSITORY, CLIENT, 0)

    await collect(shelf, clock)

    assert await files(shelf) == set()
    assert audit(tmp_path) == []


async def test_f40_clock_set_back_for_a_moment_shortens_no_lease(shelf: Shelf, clock: Clock) -> None:
    await shelf.garbage.collect()
    clock.leap(timedelta(days=-10))
    digest = await push_blob(shelf.uploads, CONTENT["config"])
    clock.leap(timedelta(days=10))
    await shelf.garbage.collect()

    await push_document(shelf.db, shelf.store, image(CONTENT["config"]), "1")

    assert await find_blob(shelf.db, REPOSITORY, digest) is not None


@pytest.mark.parametrize("is_whole", [True, False])
async def test_f40_clock_set_back_for_a_moment_shortens_no_time_in_the_trash(
    shelf: Shelf, clock: Clock, *, is_whole: bool
) -> None:
    _, digest = await shelf.push("one", tags=("1",))
    await shelf.garbage.collect()
    clock.leap(timedelta(days=-10))
    if is_whole:
        await delete_repository(shelf.db, shelf.uploads, REPOSITORY, CLIENT, GRACE_MS)
    else:
        await shelf.delete(digest)
    clock.leap(timedelta(days=10))

    done = await shelf.garbage.collect()

    assert (done.purged_manifests, done.purged_repositories) == (0, 0)


@pytest.mark.parametrize("days", [1, -1, 3650, -3650])
async def test_f40_clock_that_leaps_takes_nothing_that_is_needed(
    shelf: Shelf, clock: Clock, tmp_path: Path, days: int
) -> None:
    document, _ = await shelf.push("one")
    await push_document(shelf.db, shelf.store, index([document]), "1")
    _, trashed = await shelf.push("two", tags=("2",))
    deleted = await shelf.delete(trashed)
    await shelf.garbage.collect()

    clock.leap(timedelta(days=days))
    await shelf.garbage.collect()
    await restore_deletion(shelf.db, deleted.deletion, CLIENT)

    assert await files(shelf) == {"config", "one", "two"}
    assert find_incomplete(tmp_path) == []


def cut(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("spoil", [flip, cut, Path.unlink])
async def test_f15_f16_f17_damaged_blob_is_healed_or_collected(
    shelf: Shelf, clock: Clock, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    """A file that is wrong, short or gone: the blob is out of service until it is pushed, or garbage."""
    _, digest = await shelf.push("one", "two", tags=("1",))
    for name in ("one", "two"):
        spoiled = digest_of(CONTENT[name])
        path = file_of(shelf, spoiled)
        spoil(path)
    await Scrub(shelf.db, shelf.store, ScrubSettings()).run(Silence())
    await collect(shelf, clock, 10 * LEASE)
    assert await shelf.db.all("SELECT state FROM blob ORDER BY state") == [
        ("damaged",),
        ("damaged",),
        ("live",),
    ]

    await push_blob(shelf.uploads, CONTENT["one"])
    await shelf.delete(digest)
    await push_document(shelf.db, shelf.store, image(CONTENT["config"], [CONTENT["one"]]), "1")
    await collect(shelf, clock, GRACE)

    assert await files(shelf) == {"config", "one"}
    assert await shelf.db.all("SELECT state FROM blob") == [("live",), ("live",)]
    assert [*audit(tmp_path), *find_incomplete(tmp_path)] == []


async def test_f18_stray_file_is_no_proof_and_no_hindrance(shelf: Shelf, clock: Clock) -> None:
    digest = await push_blob(shelf.uploads, CONTENT["one"])
    stray = file_of(shelf, digest, 7)
    stray.write_bytes(b"stray")
    other = stray.with_name(f"{'0' * 64}.1")
    other.write_bytes(b"stray")

    assert (await collect(shelf, clock)).obstacle is None

    assert not await shelf.has_file("one")
    assert stray.exists()
    assert other.exists()


async def test_tag_deleted_leaves_its_image_to_those_who_know_the_digest(
    shelf: Shelf, clock: Clock, tmp_path: Path
) -> None:
    await shelf.push("one", tags=("1",))
    await delete_tag(shelf.db, REPOSITORY, Tag("1"), CLIENT)

    await collect(shelf, clock, 10 * LEASE)

    assert await files(shelf) == {"config", "one"}
    assert find_incomplete(tmp_path) == []


async def test_image_of_one_repository_is_not_kept_by_another_that_only_names_its_digest(
    shelf: Shelf, clock: Clock, tmp_path: Path
) -> None:
    """Existence is asked per repository, need over all of them."""
    document, digest = await shelf.push("one", tags=("1",))
    for name in ("config", "one"):
        await push_blob(shelf.uploads, CONTENT[name], OTHER)
    await push_document(shelf.db, shelf.store, document, "1", repository=OTHER)
    await delete_manifest(shelf.db, OTHER, digest, CLIENT, GRACE_MS)

    await collect(shelf, clock, GRACE)

    assert await files(shelf) == {"config", "one"}
    assert await find_blob(shelf.db, OTHER, Digest(digest_of(CONTENT["one"]))) is None
    assert [*audit(tmp_path), *find_incomplete(tmp_path)] == []
