"""Prefetches and rehearsals: what is pinned is here before anyone asks, and what was pulled is here still."""

from collections.abc import Callable
from concurrent.futures import Executor
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from moorage.databases.sqlite import SqliteDatabase
from moorage.mirrors.asking import Unreachable
from moorage.mirrors.upstreams import Upstream
from moorage.oci.digest import Digest, digest_of
from moorage.oci.media_types import OCI_INDEX, OCI_MANIFEST
from moorage.records.jobs.running import CannotBeDone
from moorage.storage.filesystem import FilesystemStore
from tests.content import encode, some_bytes
from tests.mirrors.conftest import HUB, Open
from tests.mirrors.elsewhere import Elsewhere, descriptor
from tests.mirrors.keeping import Keeping
from tests.registry.conftest import Clock

pytestmark = pytest.mark.anyio

NGINX, DEBIAN = "docker.io/library/nginx", "docker.io/library/debian"
FRESH = timedelta(milliseconds=HUB.freshness_ms)
DAY = timedelta(days=1)

Keep = Callable[..., Keeping]


@pytest.fixture
def keep(
    open_mirrors: Open, db: SqliteDatabase, store: FilesystemStore, threads: Executor, clock: Clock
) -> Keep:
    def keep_upstream(**settings: object) -> Keeping:
        upstream: Upstream = msgspec.structs.replace(HUB, **settings)
        return Keeping(open_mirrors(upstream), db, store, threads, clock)

    return keep_upstream


def push_platforms(hub: Elsewhere, repository: str, tag: str, *platforms: str) -> dict[str, Digest]:
    """An index with an image for each platform, and what attests to it; their layers' digests."""
    entries, layers = [], {}
    for platform in platforms:
        system, _, architecture = platform.partition("/")
        layer = some_bytes(1000)
        layers[platform] = digest_of(layer)
        child = hub.push_image(repository, f"{tag}-{architecture.replace('/', '')}", layer)
        entries.append(
            descriptor(hub.manifests[repository, child][1], OCI_MANIFEST)
            | {"platform": {"os": system, "architecture": architecture}}
        )
        attestation = some_bytes(100)
        layers[f"of {platform}"] = digest_of(attestation)
        of = hub.push_image(repository, f"{tag}-{architecture}-of", attestation)
        entries.append(
            descriptor(hub.manifests[repository, of][1], OCI_MANIFEST)
            | {
                "platform": {"os": "unknown", "architecture": "unknown"},
                "annotations": {"vnd.docker.reference.digest": child},
            }
        )
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    hub.put(repository, tag, OCI_INDEX, encode(index))
    return layers


async def test_prefetch_brings_pinned_images_whole(keep: Keep, hub: Elsewhere) -> None:
    keeping = keep(pins=("library/debian:>=12", "library/nginx"))
    for tag in ("11", "12", "12.5", "latest"):
        hub.push_image("library/debian", tag, tag.encode())
    hub.push_image("library/nginx", "latest", b"of nginx")

    result = await keeping.prefetch()

    assert (result["images"], result["blobs"], result["failed"], result["put_off"]) == (3, 6, 0, [])
    hub.failure = Unreachable("no route")
    for name, tag, layer in (
        (DEBIAN, "12", b"12"),
        (DEBIAN, "12.5", b"12.5"),
        (NGINX, "latest", b"of nginx"),
    ):
        assert await keeping.find(name, tag) is not None
        assert await keeping.blob(name, digest_of(layer)) is not None
    assert await keeping.find(DEBIAN, "11") is None


async def test_prefetch_brings_only_what_is_not_here(keep: Keep, hub: Elsewhere) -> None:
    keeping = keep(pins=("library/nginx",))
    hub.push_image("library/nginx", "latest", b"layer")
    await keeping.prefetch()
    asked = len(hub.asked)

    assert (await keeping.prefetch())["blobs"] == 0
    assert len(hub.asked) == asked
    # and what has moved since
    hub.push_image("library/nginx", "latest", b"new layer")
    keeping.clock.move(FRESH)
    assert (await keeping.prefetch())["blobs"] == 1
    assert await keeping.blob(NGINX, digest_of(b"new layer")) is not None


async def test_prefetch_brings_the_wanted_platforms_with_what_attests_to_them(
    keep: Keep, hub: Elsewhere
) -> None:
    keeping = keep(pins=("library/nginx",), platforms=("linux/arm64",))
    layers = push_platforms(hub, "library/nginx", "latest", "linux/amd64", "linux/arm64")

    result = await keeping.prefetch()

    assert result["failed"] == 0
    here = {name: await keeping.blob(NGINX, digest) is not None for name, digest in layers.items()}
    assert here == {
        "linux/amd64": False,
        "of linux/amd64": False,
        "linux/arm64": True,
        "of linux/arm64": True,
    }


async def test_prefetch_of_a_pattern_means_repositories_that_are_here(keep: Keep, hub: Elsewhere) -> None:
    keeping = keep(pins=("library/*",))
    for name in ("nginx", "debian"):
        hub.push_image(f"library/{name}", "latest", name.encode())
    await keeping.pull(NGINX, "latest", blobs=False)

    await keeping.prefetch()

    assert await keeping.blob(NGINX, digest_of(b"nginx")) is not None
    assert await keeping.find(DEBIAN, "latest") is None


async def test_prefetch_says_what_could_not_be_had_and_brings_the_rest(keep: Keep, hub: Elsewhere) -> None:
    keeping = keep(pins=("library/{debian,nginx}:1",))
    hub.push_image("library/nginx", "1", b"one", b"two")
    del hub.blobs[digest_of(b"one")]

    result = await keeping.prefetch()

    assert {each["image"] for each in result["failures"]} == {f"{DEBIAN}:1", f"{NGINX}:1"}
    assert result["failed"] == 2
    assert await keeping.blob(NGINX, digest_of(b"two")) is not None


async def test_prefetch_waits_for_the_hours_that_allow_it(keep: Keep, hub: Elsewhere) -> None:
    keeping = keep(pins=("library/nginx",), bandwidth=("08:00-18:00 0",))
    hub.push_image("library/nginx", "latest", b"layer")

    keeping.clock.now_ns = int(datetime(2026, 11, 27, 12, 0, tzinfo=UTC).timestamp() * 1e9)
    result = await keeping.prefetch()
    assert result["put_off"] == ["docker.io: its bandwidth allows no prefetch at this hour"]
    assert hub.asked == []
    keeping.clock.move(timedelta(hours=7))
    assert (await keeping.prefetch())["images"] == 1


async def test_prefetch_of_an_upstream_that_is_disconnected_or_gone(keep: Keep, hub: Elsewhere) -> None:
    keeping = keep(pins=("library/nginx",))
    await keeping.db.write(
        lambda tx: tx.run("INSERT INTO upstream_disconnection (name, at, by) VALUES ('docker.io', 1, 'me')")
    )

    result = await keeping.prefetch("docker.io")
    assert result["put_off"] == ["docker.io: it is disconnected: moorage upstream connect"]
    assert hub.asked == []
    with pytest.raises(CannotBeDone, match=r"no upstream quay\.io"):
        await keeping.prefetch("quay.io")


async def test_rehearsal_finds_nothing_where_all_is_here(keep: Keep, hub: Elsewhere) -> None:
    keeping = keep()
    push_platforms(hub, "library/nginx", "1", "linux/amd64", "linux/arm64")
    hub.push_image("library/debian", "12", b"layer")
    await keeping.pull(NGINX, "1")
    # the attestation, as BuildKit does
    await keeping.pull(NGINX, "1", child=1)
    await keeping.pull(DEBIAN, "12")
    asked = len(hub.asked)

    result = await keeping.rehearse()

    assert (result["images"], result["whole"], result["gap_count"]) == (2, 2, 0)
    assert len(hub.asked) == asked


async def test_rehearsal_finds_layers_that_were_never_fetched(keep: Keep, hub: Elsewhere) -> None:
    keeping = keep()
    hub.push_image("library/nginx", "1", b"a layer")
    await keeping.pull(NGINX, "1", blobs=False)

    result = await keeping.rehearse()

    (gap,) = result["gaps"]
    assert (gap["image"], gap["missing_parts"]) == (f"{NGINX}:1", 2)
    assert {(part["kind"], part["digest"]) for part in gap["missing"]} >= {("layer", digest_of(b"a layer"))}
    assert gap["missing_bytes"] == sum(part["size"] for part in gap["missing"]) == result["missing_bytes"]


async def test_rehearsal_looks_at_the_platforms_that_are_in_use(keep: Keep, hub: Elsewhere) -> None:
    keeping = keep()
    push_platforms(hub, "library/nginx", "1", "linux/amd64", "linux/arm64")
    await keeping.pull(NGINX, "1")
    # of the new image only the index is here: amd64 is what was pulled of the one before
    keeping.clock.move(FRESH)
    layers = push_platforms(hub, "library/nginx", "1", "linux/amd64", "linux/arm64")
    await keeping.pull(NGINX, "1", child=None)

    result = await keeping.rehearse()

    (gap,) = result["gaps"]
    assert {part["platform"] for part in gap["missing"]} == {"linux/amd64", ""}
    assert (gap["missing"][0]["kind"], gap["missing_parts"]) == ("manifest", 2)
    assert (await keeping.rehearse(fetch=True))["gap_count"] == 0
    assert await keeping.blob(NGINX, layers["linux/amd64"]) is not None
    assert await keeping.blob(NGINX, layers["linux/arm64"]) is None


async def test_rehearsal_looks_at_every_platform_where_none_is_known(keep: Keep, hub: Elsewhere) -> None:
    keeping = keep()
    push_platforms(hub, "library/nginx", "1", "linux/amd64", "linux/arm64")
    await keeping.pull(NGINX, "1", child=None)
    assert (await keeping.rehearse())["gaps"][0]["missing_parts"] == 4

    wanted = keep(platforms=("linux/arm64",))
    assert (await wanted.rehearse())["gaps"][0]["missing_parts"] == 2


async def test_rehearsal_remembers_what_was_evicted(keep: Keep, hub: Elsewhere) -> None:
    keeping = keep(budget_bytes=1)
    hub.push_image("library/nginx", "1", b"layer")
    alone = hub.push_image("library/nginx", "other", b"other")
    await keeping.pull(NGINX, "1")
    await keeping.pull(NGINX, alone)
    keeping.clock.move(timedelta(hours=1))
    assert (await keeping.evict())["images"] == 2
    await keeping.collect()

    result = await keeping.rehearse()
    assert {gap["image"] for gap in result["gaps"]} == {f"{NGINX}:1", f"{NGINX}@{alone}"}

    result = await keeping.rehearse(fetch=True)
    assert (result["gap_count"], result["whole"], result["fetched_blobs"]) == (0, 2, 4)
    assert await keeping.blob(NGINX, digest_of(b"other")) is not None


async def test_rehearsal_fetches_the_platforms_that_were_in_use_of_what_was_evicted(
    keep: Keep, hub: Elsewhere
) -> None:
    keeping = keep(budget_bytes=1)
    layers = push_platforms(hub, "library/nginx", "1", "linux/amd64", "linux/arm64")
    of_debian = push_platforms(hub, "library/debian", "12", "linux/amd64", "linux/arm64")
    await keeping.pull(NGINX, "1")
    # of this one no platform was ever pulled: what is in use elsewhere is meant
    await keeping.pull(DEBIAN, "12", child=None)
    keeping.clock.move(timedelta(hours=1))
    assert (await keeping.evict())["images"] == 1
    assert await keeping.find(NGINX, "1") is None
    await keeping.collect()

    result = await keeping.rehearse(fetch=True)

    assert (result["images"], result["gap_count"]) == (2, 0)
    for name, digests in ((NGINX, layers), (DEBIAN, of_debian)):
        assert await keeping.blob(name, digests["linux/amd64"]) is not None
        assert await keeping.blob(name, digests["linux/arm64"]) is None


async def test_rehearsal_does_not_ask_for_digests_that_a_tag_has_left(keep: Keep, hub: Elsewhere) -> None:
    keeping = keep(budget_bytes=1)
    old = hub.push_image("library/nginx", "1", b"old layer")
    await keeping.pull(NGINX, "1")
    # containerd asks by the digest once it knows it
    await keeping.pull(NGINX, old)
    keeping.clock.move(FRESH)
    new = hub.push_image("library/nginx", "1", b"new layer")
    await keeping.pull(NGINX, "1")
    await keeping.pull(NGINX, new)
    keeping.clock.move(timedelta(minutes=9, seconds=30))
    await keeping.note_pull(NGINX, "1")
    assert (await keeping.evict())["images"] == 1
    assert await keeping.find(NGINX, old) is None
    assert (await keeping.rehearse())["gaps"] == []

    # but for one that someone asked for after it had left
    await keeping.pull(NGINX, old, blobs=False)
    assert [gap["image"] for gap in (await keeping.rehearse())["gaps"]] == [f"{NGINX}@{old}"]


async def test_rehearsal_looks_no_further_back_than_it_is_told(keep: Keep, hub: Elsewhere) -> None:
    keeping = keep()
    hub.push_image("library/nginx", "1", b"layer")
    await keeping.pull(NGINX, "1", blobs=False)
    keeping.clock.move(DAY * 10)

    assert (await keeping.rehearse(days=9))["images"] == 0
    assert (await keeping.rehearse(days=11))["gap_count"] == 1


async def test_rehearsal_says_what_it_could_not_fetch(keep: Keep, hub: Elsewhere, other: Elsewhere) -> None:
    keeping = keep()
    hub.push_image("library/nginx", "1", b"layer", b"more")
    await keeping.pull(NGINX, "1", blobs=False)
    del hub.blobs[digest_of(b"layer")]

    result = await keeping.rehearse(fetch=True)

    assert other.blobs == {}
    assert (result["gap_count"], result["gaps"][0]["missing_parts"], result["failed"]) == (1, 1, 1)
    assert digest_of(b"layer") in result["failures"][0]["reason"]
    assert result["fetched_blobs"] == 2
