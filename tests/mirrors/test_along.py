"""What comes along with an image: signatures, attestations, SBOMs, and their small blobs."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import timedelta

import pytest

from moorage.databases.sqlite import SqliteDatabase
from moorage.mirrors.along import BLOB_MAX_BYTES
from moorage.mirrors.asking import Failed, Unreachable
from moorage.oci.digest import Digest, digest_of
from moorage.storage.filesystem import FilesystemStore
from tests.content import some_bytes
from tests.mirrors.conftest import HUB, Open
from tests.mirrors.elsewhere import Elsewhere
from tests.mirrors.keeping import Keeping
from tests.registry.conftest import Clock

pytestmark = pytest.mark.anyio

NGINX = "docker.io/library/nginx"
REMOTE = "library/nginx"
INDEX = "application/vnd.oci.image.index.v1+json"
FRESH = timedelta(milliseconds=HUB.freshness_ms)

Start = Callable[[], Keeping]


@pytest.fixture
def start(
    open_mirrors: Open, db: SqliteDatabase, store: FilesystemStore, threads: Executor, clock: Clock
) -> Start:
    """One process after the other, as the wiring makes them."""

    def start_one() -> Keeping:
        keeping = Keeping(open_mirrors(HUB), db, store, threads, clock)
        keeping.mirrors.bring_companions()
        return keeping

    return start_one


def refer(hub: Elsewhere, subject: Digest, tag: str, *layers: bytes) -> Digest:
    """A manifest of that subject, listed as a referrer of it."""
    named = {"mediaType": INDEX, "digest": subject, "size": 1}
    digest = hub.push_image(REMOTE, tag, *layers, subject=named)
    hub.referrers.setdefault(subject, []).append({"digest": digest})
    return digest


async def settle(keeping: Keeping) -> None:
    """Wait until nothing more comes along."""
    while keeping.mirrors.companions._tasks:
        await asyncio.gather(*keeping.mirrors.companions._tasks)


async def test_signatures_and_referrers_come_along_with_their_small_blobs(
    start: Start, hub: Elsewhere
) -> None:
    keeping = start()
    image = hub.push_image(REMOTE, "1", b"layer")
    small, large = some_bytes(1000), some_bytes(BLOB_MAX_BYTES + 1)
    sbom = refer(hub, image, "sbom", small, large)
    of_sbom = refer(hub, sbom, "of-sbom", b"of sbom")
    signature = hub.push_image(REMOTE, image.replace(":", "-") + ".sig", b"signature")
    hub.push_image(REMOTE, "2", b"another")

    await keeping.pull(NGINX, "1", blobs=False)
    await settle(keeping)

    hub.failure = Unreachable("no route")
    for digest in (sbom, of_sbom, signature):
        assert await keeping.find(NGINX, digest) is not None
    for content in (small, b"of sbom", b"signature"):
        assert await keeping.blob(NGINX, digest_of(content)) is not None
    for content in (large, b"layer"):
        assert await keeping.blob(NGINX, digest_of(content)) is None
    # most images have nothing: that must not count against a quota
    assert hub.count("GET") == 4


async def test_no_client_waits_for_what_comes_along(start: Start, hub: Elsewhere) -> None:
    keeping = start()
    image = hub.push_image(REMOTE, "1", b"layer")
    # one byte: the fake stops before it
    refer(hub, image, "sbom", b"s")
    hub.gate = asyncio.Event()

    async with asyncio.timeout(20):
        await keeping.pull(NGINX, "1")

    assert await keeping.blob(NGINX, digest_of(b"s")) is None
    hub.gate.set()
    await settle(keeping)
    assert await keeping.blob(NGINX, digest_of(b"s")) is not None


async def test_of_an_index_only_what_is_of_it_and_of_children_that_are_here(
    start: Start, hub: Elsewhere
) -> None:
    keeping = start()
    amd64, arm64 = (hub.push_image(REMOTE, name, name.encode()) for name in ("amd64", "arm64"))
    index = hub.push_index(REMOTE, "1", amd64, arm64)
    of = {each: refer(hub, each, f"of-{each[7:20]}", each.encode()) for each in (amd64, arm64, index)}

    await keeping.pull(NGINX, "1")
    await settle(keeping)

    found = {each: await keeping.find(NGINX, digest) is not None for each, digest in of.items()}
    assert found == {amd64: True, arm64: False, index: True}


async def test_what_was_not_brought_when_the_process_ended_is_at_the_next_look(
    start: Start, hub: Elsewhere, clock: Clock
) -> None:
    keeping = start()
    image = hub.push_image(REMOTE, "1", b"layer")
    refer(hub, image, "sbom", b"s")
    hub.gate = asyncio.Event()
    await keeping.pull(NGINX, "1")
    await keeping.mirrors.close()
    assert await keeping.blob(NGINX, digest_of(b"s")) is None
    hub.gate = None

    after = start()
    clock.move(FRESH)
    await after.pull(NGINX, "1")
    await settle(after)

    assert await after.blob(NGINX, digest_of(b"s")) is not None
    # once all is here, a look at a tag that has not moved is one HEAD, and no more
    asked = len(hub.asked)
    for _ in range(5):
        clock.move(FRESH)
        await after.pull(NGINX, "1")
        await settle(after)
    assert hub.asked[asked:] == [("HEAD", "1")] * 5


async def test_what_could_not_be_had_is_tried_again(start: Start, hub: Elsewhere, clock: Clock) -> None:
    keeping = start()
    image = hub.push_image(REMOTE, "1", b"layer")
    sbom = refer(hub, image, "sbom", b"sbom")
    content = hub.blobs.pop(digest_of(b"sbom"))
    await keeping.pull(NGINX, "1")
    await settle(keeping)
    assert await keeping.find(NGINX, sbom) is not None
    assert await keeping.blob(NGINX, digest_of(b"sbom")) is None

    hub.blobs[digest_of(b"sbom")] = content
    clock.move(FRESH)
    await keeping.pull(NGINX, "1")
    await settle(keeping)

    assert await keeping.blob(NGINX, digest_of(b"sbom")) is not None


async def test_tag_that_moved_brings_what_is_of_the_new_image(
    start: Start, hub: Elsewhere, clock: Clock
) -> None:
    keeping = start()
    hub.push_image(REMOTE, "1", b"layer")
    await keeping.pull(NGINX, "1")
    await settle(keeping)
    moved = hub.push_image(REMOTE, "1", b"new layer")
    signature = hub.push_image(REMOTE, moved.replace(":", "-") + ".sig", b"signature")

    clock.move(FRESH)
    await keeping.pull(NGINX, "1")
    await settle(keeping)

    assert await keeping.find(NGINX, signature) is not None


async def test_referrers_that_refer_to_each_other_without_end_come_three_levels_deep(
    start: Start, hub: Elsewhere
) -> None:
    keeping = start()
    digests = [hub.push_image(REMOTE, "1", b"layer")]
    for level in range(6):
        digests.append(refer(hub, digests[-1], f"level-{level}", b"%d" % level))

    await keeping.pull(NGINX, "1")
    await settle(keeping)

    assert [await keeping.find(NGINX, each) is not None for each in digests] == [True] * 4 + [False] * 3


async def test_registry_that_knows_of_none_of_it_keeps_its_line(
    start: Start, hub: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeping = start()
    for tag in "123":
        hub.push_image(REMOTE, tag, tag.encode())
    registry = keeping.mirrors.looks._registry

    async def fail(*_: object) -> None:
        raise Failed("500")

    monkeypatch.setattr(registry, "head_manifest", fail)
    monkeypatch.setattr(registry, "list_referrers", fail)
    for tag in "123":
        await keeping.pull(NGINX, tag)
        await settle(keeping)

    assert keeping.mirrors.looks._lines.is_usable(HUB)
