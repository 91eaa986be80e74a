"""What cannot be kept passes through: right or not whole, so many at once, and with the rules that count."""

from datetime import timedelta

import pytest
import structlog

from moorage.databases.sqlite import SqliteDatabase
from moorage.errors import BlobUnknown, StorageReadOnly
from moorage.health import Health
from moorage.mirrors.asking import Failed
from moorage.mirrors.mirrors import Mirrors
from moorage.mirrors.passing import AT_ONCE
from moorage.mirrors.refusing import Unkept
from moorage.oci.digest import Digest, digest_of
from moorage.oci.names import RepositoryName, Tag
from moorage.registry.tags.immutability_rows import insert_rule
from tests.mirrors.conftest import HUB
from tests.mirrors.elsewhere import Elsewhere
from tests.registry.conftest import Clock

pytestmark = pytest.mark.anyio

NGINX = RepositoryName("docker.io/library/nginx")
LAYER = bytes(range(256)) * 4096
DIGEST = digest_of(LAYER)
REFUSAL = StorageReadOnly()
ONE = Tag("1")
FRESH = timedelta(milliseconds=HUB.freshness_ms)


async def read_passed(mirrors: Mirrors, digest: Digest = DIGEST) -> bytes:
    """What a client gets of a blob that cannot be kept."""
    with pytest.raises(StorageReadOnly) as refusal:
        await mirrors.fills.bring(HUB, NGINX, digest)
    passed = await mirrors.fills.pass_on(HUB, NGINX, digest, refusal.value)
    got = b""
    async for piece in passed.pieces:
        got += piece
    assert len(got) == passed.size
    return got


@pytest.fixture
def read_only(hub: Elsewhere, health: Health) -> None:
    """A store that keeps nothing, as after a failed fsync."""
    hub.push_image("library/nginx", "1", LAYER)
    health.fail("a test says so")


@pytest.mark.usefixtures("read_only")
async def test_manifest_and_blob_pass_through(mirrors: Mirrors, hub: Elsewhere) -> None:
    unkept = await mirrors.manifests.pull(HUB, NGINX, "1")

    assert unkept is not None
    assert (unkept.fetched.media_type, unkept.fetched.payload) == hub.manifests["library/nginx", "1"]
    assert await read_passed(mirrors) == LAYER


@pytest.mark.usefixtures("read_only")
async def test_who_wants_it_kept_is_told_that_it_is_not(mirrors: Mirrors) -> None:
    with pytest.raises(StorageReadOnly):
        await mirrors.manifests.bring(HUB, NGINX, "1")
    with pytest.raises(StorageReadOnly):
        await mirrors.fills.finish(HUB, NGINX, DIGEST)


@pytest.mark.usefixtures("read_only")
@pytest.mark.parametrize("at", [0, len(LAYER) // 2, len(LAYER) - 1])
async def test_wrong_byte_is_never_the_whole(mirrors: Mirrors, hub: Elsewhere, at: int) -> None:
    hub.changed[DIGEST] = LAYER[:at] + bytes([LAYER[at] ^ 1]) + LAYER[at + 1 :]
    passed = await mirrors.fills.pass_on(HUB, NGINX, DIGEST, REFUSAL)
    got_bytes = 0

    async def read() -> None:
        nonlocal got_bytes
        async for piece in passed.pieces:
            got_bytes += len(piece)

    with pytest.raises(Failed):
        await read()
    assert got_bytes < passed.size


@pytest.mark.usefixtures("read_only")
async def test_blob_that_is_cut_is_gone_on_with(
    mirrors: Mirrors, hub: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moorage.mirrors.streaming._WAITS_S", (0.01,) * 5)
    hub.cuts_at += [200_000, 700_001]

    assert await read_passed(mirrors) == LAYER
    assert ("BLOB", f"{DIGEST}@200000") in hub.asked


@pytest.mark.usefixtures("read_only")
async def test_what_an_upstream_lacks_is_unknown(mirrors: Mirrors, hub: Elsewhere) -> None:
    del hub.blobs[DIGEST]

    with pytest.raises(BlobUnknown):
        await mirrors.fills.pass_on(HUB, NGINX, DIGEST, REFUSAL)


@pytest.mark.usefixtures("read_only")
async def test_no_more_pass_at_once_than_may(mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moorage.mirrors.passing.SLOT_S", 0.05)
    passed = [await mirrors.fills.pass_on(HUB, NGINX, DIGEST, REFUSAL) for _ in range(AT_ONCE)]

    with pytest.raises(StorageReadOnly):
        await mirrors.fills.pass_on(HUB, NGINX, DIGEST, REFUSAL)
    with pytest.raises(StorageReadOnly):
        await mirrors.fills.passing.hold(b"a large manifest", REFUSAL)

    # clients that leave
    for each in passed:
        await each.pieces.aclose()
    assert await read_passed(mirrors) == LAYER


@pytest.mark.usefixtures("read_only")
async def test_it_is_said_once_and_counted_each_time(mirrors: Mirrors) -> None:
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            await read_passed(mirrors)

    said = [each["event"] for each in logs if each["log_level"] in {"warning", "error"}]
    assert said.count("mirror_passes_through") == 1
    assert "mirror_blob_failed" not in said
    assert sum(amount for key, amount in mirrors.savings._counted.items() if "passed" in key) == 3


@pytest.fixture
async def nginx(mirrors: Mirrors, hub: Elsewhere) -> Digest:
    """What a tag names here; then it is to be asked about again."""
    digest = hub.push_image("library/nginx", "1", LAYER)
    await mirrors.manifests.bring(HUB, NGINX, "1")
    return digest


@pytest.mark.usefixtures("nginx")
async def test_tag_is_asked_about_and_what_it_names_now_passes_through(
    mirrors: Mirrors, hub: Elsewhere, health: Health, clock: Clock
) -> None:
    health.fail("a test says so")
    clock.move(FRESH)
    same = await mirrors.manifests.refresh(HUB, NGINX, ONE)
    moved = hub.push_image("library/nginx", "1", b"another")
    clock.move(FRESH)

    found = await mirrors.manifests.refresh(HUB, NGINX, ONE)

    assert same is None
    assert isinstance(found, Unkept)
    assert found.fetched.digest == moved


@pytest.mark.usefixtures("nginx")
async def test_rule_that_fixes_a_tag_counts_for_what_passes(
    mirrors: Mirrors, hub: Elsewhere, db: SqliteDatabase, health: Health, clock: Clock
) -> None:
    await db.write(lambda tx: insert_rule(tx, "docker.io/*", "1", "alice"))
    health.fail("a test says so")
    hub.push_image("library/nginx", "1", b"another")
    clock.move(FRESH)

    age_ms = await mirrors.manifests.refresh(HUB, NGINX, ONE)

    assert isinstance(age_ms, int)
    assert age_ms >= HUB.freshness_ms
