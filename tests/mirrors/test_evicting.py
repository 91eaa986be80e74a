"""Budgets: whole images leave, the least recently pulled first, and nothing that another image needs."""

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import timedelta

import msgspec
import pytest

from moorage.databases.sqlite import SqliteDatabase
from moorage.lifecycle.checking.check import StoreCheck
from moorage.mirrors.upstreams import Upstream
from moorage.oci.digest import digest_of
from moorage.oci.names import RepositoryName, Tag
from moorage.records.audit.rows import Actor
from moorage.registry.tags.immutability_rows import insert_rule
from moorage.registry.tags.pinning import pin_tag
from moorage.registry.uploads.uploading import Uploads
from moorage.storage.filesystem import FilesystemStore
from moorage.storage.upkeep import FilesystemUpkeep
from tests.content import image, some_bytes
from tests.mirrors.conftest import HUB, Open
from tests.mirrors.elsewhere import Elsewhere
from tests.mirrors.keeping import Keeping
from tests.registry.conftest import Clock
from tests.registry.pushing import push_blob, push_document

pytestmark = pytest.mark.anyio

NGINX, DEBIAN = "docker.io/library/nginx", "docker.io/library/debian"
KIB = 1024
HOUR = timedelta(hours=1)

Keep = Callable[..., Keeping]


@pytest.fixture
def keep(
    open_mirrors: Open, db: SqliteDatabase, store: FilesystemStore, threads: Executor, clock: Clock
) -> Keep:
    def keep_upstream(**settings: object) -> Keeping:
        upstream: Upstream = msgspec.structs.replace(HUB, **settings)
        return Keeping(open_mirrors(upstream), db, store, threads, clock)

    return keep_upstream


async def test_least_recently_pulled_leave_until_the_budget_is_kept(keep: Keep, hub: Elsewhere) -> None:
    keeping = keep(budget_bytes=250 * KIB)
    layers = [some_bytes(100 * KIB) for _ in range(4)]
    for number, layer in enumerate(layers):
        hub.push_image("library/nginx", str(number), layer)
        await keeping.pull(NGINX, str(number))
        keeping.clock.move(HOUR)
    await keeping.pull(NGINX, "0")
    keeping.clock.move(HOUR)
    assert await keeping.is_eviction_due()
    assert await keeping.total() > 400 * KIB

    result = await keeping.evict()

    assert result["images"] == 2
    assert [tag for tag in "0123" if await keeping.find(NGINX, tag)] == ["0", "3"]
    assert await keeping.total() == result["kept_bytes"] <= 250 * KIB
    assert not await keeping.is_eviction_due()
    # their bytes leave as all garbage does, within minutes
    assert keeping.has_file(digest_of(layers[1]))
    await keeping.collect()
    assert [keeping.has_file(digest_of(layer)) for layer in layers] == [True, False, False, True]
    assert await keeping.db.all("SELECT * FROM deletion") == []
    assert await keeping.db.all("SELECT action FROM audit WHERE action = 'evict'") == [("evict",)] * 2


async def test_evicted_image_is_fetched_again_whole(keep: Keep, hub: Elsewhere) -> None:
    keeping = keep(budget_bytes=1)
    layer = some_bytes(KIB)
    digest = hub.push_image("library/nginx", "1", layer)
    await keeping.pull(NGINX, "1")
    keeping.clock.move(HOUR)

    for is_collected in (True, False):
        assert (await keeping.evict())["images"] == 1
        assert await keeping.find(NGINX, "1") is None
        if is_collected:
            await keeping.collect()
            assert not keeping.has_file(digest_of(layer))
        assert await keeping.pull(NGINX, "1") == digest
        assert await keeping.blob(NGINX, digest_of(layer)) is not None
        assert await keeping.total() > KIB
        keeping.clock.move(HOUR)
        await keeping.collect()
        assert await keeping.blob(NGINX, digest_of(layer)) is not None


async def test_d17_eviction_takes_no_blob_that_a_local_image_uses(
    keep: Keep, hub: Elsewhere, uploads: Uploads
) -> None:
    keeping = keep(budget_bytes=1)
    shared, own = some_bytes(50 * KIB), some_bytes(50 * KIB)
    hub.push_image("library/nginx", "1", shared, own)
    await keeping.pull(NGINX, "1")
    config = some_bytes(64)
    for content in (config, shared):
        await push_blob(uploads, content)
    document = image(config, [shared])
    await push_document(keeping.db, keeping.store, document, "1.0")
    keeping.clock.move(timedelta(days=3))

    await keeping.evict()
    await keeping.collect()

    assert await keeping.total() == 0
    assert not keeping.has_file(digest_of(own))
    assert keeping.has_file(digest_of(shared))
    assert await keeping.blob("team/app", digest_of(shared)) is not None
    assert await keeping.blob(NGINX, digest_of(shared)) is None
    # and the mirror is whole again when someone pulls
    await keeping.pull(NGINX, "1")
    assert await keeping.blob(NGINX, digest_of(shared)) is not None


async def test_what_kept_images_share_is_counted_once_and_stays(keep: Keep, hub: Elsewhere) -> None:
    keeping = keep(budget_bytes=170 * KIB)
    base = some_bytes(100 * KIB)
    for number in range(3):
        for repository in ("library/nginx", "library/debian"):
            hub.push_image(repository, str(number), base, some_bytes(20 * KIB))
            await keeping.pull(f"docker.io/{repository}", str(number))
            keeping.clock.move(HOUR)
    assert 220 * KIB < await keeping.total() < 222 * KIB

    result = await keeping.evict()
    await keeping.collect()

    assert result["images"] == 3
    assert keeping.has_file(digest_of(base))
    for name in (NGINX, DEBIAN):
        assert await keeping.blob(name, digest_of(base)) is not None
    assert 160 * KIB < await keeping.total() <= 170 * KIB


async def test_index_leaves_with_its_children_and_signatures(keep: Keep, hub: Elsewhere) -> None:
    keeping = keep(budget_bytes=1)
    keeping.mirrors.bring_companions()
    child = hub.push_image("library/nginx", "amd64", some_bytes(KIB))
    index = hub.push_index("library/nginx", "1", child)
    signature = hub.push_image("library/nginx", index.replace(":", "-") + ".sig", b"signature")
    payload = json.dumps(
        {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json"}
    ).encode()
    assert payload
    sbom = hub.push_image(
        "library/nginx",
        "sbom",
        b"sbom",
        subject={"mediaType": "application/vnd.oci.image.index.v1+json", "digest": index, "size": 1},
    )
    hub.referrers[index] = [{"digest": sbom}]
    await keeping.pull(NGINX, "1")
    await settle(keeping)
    for digest in (child, index, signature, sbom):
        assert await keeping.find(NGINX, digest) is not None
    keeping.clock.move(HOUR)

    assert (await keeping.evict())["images"] == 1

    for digest in (child, index, signature, sbom):
        assert await keeping.find(NGINX, digest) is None
    await keeping.collect()
    assert await keeping.total() == 0
    assert await keeping.db.all("SELECT 1 FROM manifest") == []


async def settle(keeping: Keeping) -> None:
    """Wait until nothing more comes along."""
    companions = keeping.mirrors.companions
    while companions._tasks:
        await asyncio.gather(*companions._tasks)


async def test_child_with_a_tag_of_its_own_stays_when_its_index_leaves(keep: Keep, hub: Elsewhere) -> None:
    keeping = keep(budget_bytes=40 * KIB)
    child = hub.push_image("library/nginx", "amd64", some_bytes(30 * KIB))
    other = hub.push_image("library/nginx", "arm64", some_bytes(30 * KIB))
    hub.push_index("library/nginx", "1", child, other)
    await keeping.pull(NGINX, "1")
    await keeping.pull(NGINX, other)
    keeping.clock.move(HOUR)
    await keeping.pull(NGINX, "amd64")
    keeping.clock.move(HOUR)

    await keeping.evict()

    assert await keeping.find(NGINX, "1") is None
    assert await keeping.find(NGINX, other) is None
    assert await keeping.find(NGINX, "amd64") is not None


@pytest.mark.parametrize("pins", [("library/nginx:1.*",), ("docker.io/{nginx,debian}:>=1 <2",)], ids=str)
async def test_pinned_images_stay(keep: Keep, hub: Elsewhere, pins: tuple[str, ...]) -> None:
    keeping = keep(budget_bytes=1, pins=pins)
    for tag in ("1.0", "1.1", "2.0"):
        hub.push_image("library/nginx", tag, some_bytes(KIB))
        await keeping.pull(NGINX, tag)
    keeping.clock.move(HOUR)

    result = await keeping.evict()

    assert (result["images"], result["kept_bytes"] > 2 * KIB) == (1, True)
    assert [tag for tag in ("1.0", "1.1", "2.0") if await keeping.find(NGINX, tag)] == ["1.0", "1.1"]


async def test_tag_that_was_pinned_here_or_that_a_rule_fixes_stays(keep: Keep, hub: Elsewhere) -> None:
    keeping = keep(budget_bytes=1)
    for tag in ("1", "2", "3"):
        hub.push_image("library/nginx", tag, some_bytes(KIB))
        await keeping.pull(NGINX, tag)
    await pin_tag(keeping.db, RepositoryName(NGINX), Tag("1"), Actor("alice"))
    await keeping.db.write(lambda tx: insert_rule(tx, "docker.io/*", "2", "alice"))
    keeping.clock.move(HOUR)

    assert (await keeping.evict())["images"] == 1
    assert [tag for tag in "123" if await keeping.find(NGINX, tag)] == ["1", "2"]


async def test_what_was_pulled_just_now_is_not_evicted(keep: Keep, hub: Elsewhere) -> None:
    keeping = keep(budget_bytes=1)
    hub.push_image("library/nginx", "1", some_bytes(KIB))
    await keeping.pull(NGINX, "1")

    assert (await keeping.evict())["images"] == 0
    keeping.clock.move(timedelta(minutes=9))
    await keeping.note_pull(NGINX, "1")
    keeping.clock.move(timedelta(minutes=9))
    assert (await keeping.evict())["images"] == 0
    keeping.clock.move(timedelta(minutes=2))
    assert (await keeping.evict())["images"] == 1


async def test_blob_that_no_manifest_needs_is_let_go_of_first(keep: Keep, hub: Elsewhere) -> None:
    keeping = keep(budget_bytes=10 * KIB)
    hub.push_image("library/nginx", "1", some_bytes(KIB))
    await keeping.pull(NGINX, "1")
    alone = some_bytes(20 * KIB)
    hub.blobs[digest_of(alone)] = alone
    upstream = keeping.mirrors.upstreams.all[0]
    await keeping.mirrors.fills.finish(upstream, RepositoryName(NGINX), digest_of(alone))
    keeping.clock.move(2 * HOUR)

    assert (await keeping.evict())["images"] == 0
    await keeping.collect()

    assert await keeping.total() < 2 * KIB
    assert not keeping.has_file(digest_of(alone))
    assert await keeping.find(NGINX, "1") is not None


async def test_count_that_was_wrong_is_corrected_before_anything_leaves(keep: Keep, hub: Elsewhere) -> None:
    keeping = keep(budget_bytes=10 * KIB)
    hub.push_image("library/nginx", "1", some_bytes(KIB))
    await keeping.pull(NGINX, "1")
    keeping.clock.move(HOUR)
    await keeping.db.write(lambda tx: tx.run("UPDATE mirrored_total SET bytes = bytes + 100000"))

    assert (await keeping.evict())["images"] == 0
    assert await keeping.total() < 2 * KIB


async def test_store_is_sound_after_evictions(
    keep: Keep, hub: Elsewhere, store: FilesystemStore, threads: Executor
) -> None:
    keeping = keep(budget_bytes=30 * KIB)
    for number in range(6):
        hub.push_image("library/nginx", str(number), some_bytes(10 * KIB))
        await keeping.pull(NGINX, str(number), blobs=number % 3 > 0)
        keeping.clock.move(HOUR)
    await keeping.evict()
    await keeping.collect()

    check = StoreCheck(keeping.db, store, FilesystemUpkeep(store), threads, timedelta(days=30))
    report = await check.run(Quiet())

    # what was not fetched yet is no finding either
    assert report.counts == {}


class Quiet:
    """Nobody looks how far it is."""

    async def say(self, done: int, total: int | None, unit: str, note: str = "") -> None:
        """Nothing."""
