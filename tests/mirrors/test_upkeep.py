"""What keeps a store, where repositories are mirrors: old digests leave, children stay, the sums add up."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import timedelta

import msgspec
import pytest

from moorage.config import Settings
from moorage.databases.sqlite import SqliteDatabase
from moorage.lifecycle.garbage.status import measure_store
from moorage.lifecycle.scrubbing.verifying import Verified, Verifier
from moorage.lifecycle.untagged.clearing import KIND, Untagged
from moorage.mirrors.upstreams import Upstream
from moorage.oci.digest import digest_of
from moorage.oci.names import RepositoryName
from moorage.records.audit.rows import Actor
from moorage.registry.manifests.rows import find_by_digest
from moorage.registry.trash.deleting import delete_manifest
from moorage.registry.trash.restoring import restore_deletion
from moorage.registry.uploads.uploading import Uploads
from moorage.storage.filesystem import FilesystemStore
from moorage.storage.upkeep import FilesystemUpkeep
from tests.content import image, some_bytes
from tests.lifecycle.jobs import run_job
from tests.mirrors.conftest import HUB, Open
from tests.mirrors.elsewhere import Elsewhere
from tests.mirrors.keeping import Keeping
from tests.mirrors.test_evicting import Quiet
from tests.registry.conftest import Clock
from tests.registry.pushing import push_blob, push_document

pytestmark = pytest.mark.anyio

NGINX = "docker.io/library/nginx"
REMOTE = "library/nginx"
FRESH = timedelta(milliseconds=HUB.freshness_ms)
AGE = timedelta(days=14)
KIB = 1024

Keep = Callable[..., Keeping]


@pytest.fixture
def keep(
    open_mirrors: Open, db: SqliteDatabase, store: FilesystemStore, threads: Executor, clock: Clock
) -> Keep:
    def keep_upstream(**settings: object) -> Keeping:
        upstream: Upstream = msgspec.structs.replace(HUB, **settings)
        return Keeping(open_mirrors(upstream), db, store, threads, clock)

    return keep_upstream


async def clear(keeping: Keeping) -> int:
    """How many manifests nothing led to for long."""
    handler = Untagged(keeping.db, Settings().delete, AGE).run
    cleared: int = (await run_job(keeping.db, KIND, handler))["manifests"]
    return cleared


async def test_old_digest_of_a_tag_that_moved_leaves_some_time_after_its_last_pull(
    keep: Keep, hub: Elsewhere
) -> None:
    keeping = keep()
    child = hub.push_image(REMOTE, "amd64", b"layer")
    old = hub.push_index(REMOTE, "1", child)
    await keeping.pull(NGINX, "1")
    keeping.clock.move(FRESH)
    new = hub.push_index(REMOTE, "1", hub.push_image(REMOTE, "amd64", b"new layer"))
    assert await keeping.pull(NGINX, "1") == new
    keeping.clock.move(timedelta(days=10))
    await keeping.note_pull(NGINX, child)
    keeping.clock.move(timedelta(days=10))
    assert await clear(keeping) == 0
    keeping.clock.move(timedelta(days=5))

    assert await clear(keeping) == 2

    for digest in (old, child):
        assert await keeping.find(NGINX, digest) is None
    for reference in ("1", new):
        assert await keeping.find(NGINX, reference) is not None


async def test_child_of_an_index_that_is_here_stays(keep: Keep, hub: Elsewhere) -> None:
    keeping = keep()
    children = [hub.push_image(REMOTE, name, name.encode()) for name in ("amd64", "arm64")]
    hub.push_index(REMOTE, "1", *children)
    await keeping.pull(NGINX, "1")
    keeping.clock.move(timedelta(days=100))

    assert await clear(keeping) == 0
    assert await keeping.find(NGINX, children[0]) is not None


async def test_what_was_deleted_here_comes_again_and_can_be_restored_meanwhile(
    keep: Keep, hub: Elsewhere, uploads: Uploads
) -> None:
    keeping = keep()
    secret = some_bytes(KIB)
    digest = hub.push_image(REMOTE, "1", secret)
    await keeping.pull(NGINX, "1", blobs=False)
    # the same bytes are a local image's, which the mirror has not fetched
    config = some_bytes(64)
    for content in (config, secret):
        await push_blob(uploads, content)
    await push_document(keeping.db, keeping.store, image(config, [secret]), "own")
    alice = Actor("alice")
    deleted = await delete_manifest(keeping.db, RepositoryName(NGINX), digest, alice, 86_400_000)

    restored = await restore_deletion(keeping.db, deleted.deletion, alice)

    assert restored.tags == ["1"]
    assert await keeping.blob(NGINX, digest_of(secret)) is None
    await delete_manifest(keeping.db, RepositoryName(NGINX), digest, alice, 86_400_000)
    assert await keeping.pull(NGINX, "1") == digest
    assert await keeping.blob(NGINX, digest_of(secret)) is not None


async def test_parts_of_the_store_add_up_while_a_blob_comes_and_after_an_eviction(
    keep: Keep, hub: Elsewhere, store: FilesystemStore
) -> None:
    keeping = keep(budget_bytes=1)
    hub.push_image(REMOTE, "1", some_bytes(100 * KIB))
    await keeping.pull(NGINX, "1")
    layer = some_bytes(300 * KIB)
    hub.push_image(REMOTE, "2", layer)
    await keeping.pull(NGINX, "2", blobs=False)
    hub.gate = asyncio.Event()
    fill = await keeping.mirrors.fills.bring(HUB, RepositoryName(NGINX), digest_of(layer))

    async def measure() -> tuple[int, int, int, int]:
        held = await measure_store(keeping.db, FilesystemUpkeep(store).measure())
        parts = held.needed_bytes, held.trash_bytes, held.waiting_bytes, held.garbage_bytes
        on_disk = sum(path.stat().st_size for path in store.shards.rglob("*") if path.is_file())
        assert sum(parts) == on_disk
        return parts

    needed, *others = await measure()
    assert needed > 100 * KIB
    assert others == [0, 0, 0]
    assert FilesystemUpkeep(store).measure().uploads_bytes > 0
    hub.gate.set()
    await keeping.mirrors.fills.finish(HUB, RepositoryName(NGINX), digest_of(layer))
    assert fill is not None
    assert (await measure())[0] > 400 * KIB
    keeping.clock.move(timedelta(hours=1))
    await keeping.evict()
    needed, trash, _, _ = await measure()
    assert (needed, trash > 400 * KIB) == (0, True)
    await keeping.collect()
    assert await measure() == (0, 0, 0, 0)


async def verify(keeping: Keeping, name: str, reference: str) -> Verified:
    return await Verifier(keeping.db, keeping.store).verify(name, reference, Quiet())


async def test_verify_says_what_is_not_here_and_finds_what_is_damaged(keep: Keep, hub: Elsewhere) -> None:
    keeping = keep()
    children = [hub.push_image(REMOTE, name, name.encode()) for name in ("amd64", "arm64")]
    hub.push_index(REMOTE, "1", *children)
    await keeping.pull(NGINX, "1", blobs=False)

    found = await verify(keeping, NGINX, "1")
    assert found.faults == []
    assert set(found.not_here) > {children[1], digest_of(b"amd64")}
    assert len(found.not_here) == 3

    await keeping.pull(NGINX, "1")
    layer = digest_of(b"amd64")
    path = keeping.store.shards / layer[7:9] / f"{layer[7:]}.1"
    path.chmod(0o600)
    path.write_bytes(b"amd46")
    found = await verify(keeping, NGINX, "1")
    assert [(fault.digest, fault.kind) for fault in found.faults] == [(layer, "layer")]
    # and the next who asks has it fetched again
    assert await keeping.blob(NGINX, layer) is None
    await keeping.pull(NGINX, "1")
    assert (await verify(keeping, NGINX, "1")).faults == []


async def test_blob_that_comes_before_any_manifest_makes_no_local_repository(
    keep: Keep, hub: Elsewhere
) -> None:
    keeping = keep()
    hub.blobs[digest_of(b"alone")] = b"alone"

    await keeping.mirrors.fills.finish(HUB, RepositoryName(NGINX), digest_of(b"alone"))

    placed = await keeping.mirrors.upstreams.place(RepositoryName(NGINX), None)
    assert placed.upstream == HUB
    assert await keeping.total() == 5
    assert await find_by_digest(keeping.db, RepositoryName(NGINX), digest_of(b"alone")) is None


async def test_images_of_an_upstream_that_is_forgotten_count_for_nothing(keep: Keep, hub: Elsewhere) -> None:
    keeping = keep()
    shared = some_bytes(KIB)
    for name in ("nginx", "debian"):
        hub.push_image(f"library/{name}", "1", shared, name.encode())
        await keeping.pull(f"docker.io/library/{name}", "1")
    before = await keeping.total()
    repository = "SELECT id FROM repository WHERE name = 'docker.io/library/debian'"
    await keeping.db.write(
        lambda tx: tx.run(f"DELETE FROM mirrored_repository WHERE repository = ({repository})")
    )
    # the config is the same of both
    assert await keeping.total() == before - len(b"debian")
    await keeping.db.write(lambda tx: tx.run("DELETE FROM mirrored_repository"))
    assert await keeping.total() == 0
