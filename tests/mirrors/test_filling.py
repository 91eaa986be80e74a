"""Blobs that come: whoever reads them while they do gets what their digest says, or not the whole."""

import asyncio
import gc
import os
from pathlib import Path

import pytest

from moorage.databases.sqlite import SqliteDatabase
from moorage.errors import BlobUnknown, NameTaken, UpstreamFailed, UpstreamUnreachable
from moorage.mirrors import filling, rows, streaming
from moorage.mirrors.mirrors import Mirrors
from moorage.oci.digest import Digest, digest_of
from moorage.oci.media_types import OCI_MANIFEST
from moorage.oci.names import RepositoryName
from moorage.oci.ranges import ByteRange
from moorage.records.audit.rows import Actor
from moorage.registry.blobs.rows import Blob
from moorage.registry.blobs.store import FilePart
from moorage.registry.repositories.rows import ensure_repository
from moorage.registry.trash.repositories import delete_repository
from moorage.registry.uploads.uploading import Uploads
from tests.mirrors.conftest import HUB, Open
from tests.mirrors.elsewhere import Elsewhere

pytestmark = pytest.mark.anyio

NGINX = RepositoryName("docker.io/library/nginx")
LAYER = bytes(range(256)) * 4096
DIGEST = digest_of(LAYER)


async def read(
    mirrors: Mirrors, repository: RepositoryName, digest: Digest, size: int, first: int = 0
) -> bytes:
    """What a client gets that asks for a blob that is not here, from a byte on."""
    brought = await mirrors.fills.bring(HUB, repository, digest)
    assert not isinstance(brought, Blob)
    file = mirrors.fills.open(brought)
    assert file is not None
    got = b""
    async for piece in mirrors.fills.read(brought, file, ByteRange(first, size - 1)):
        if isinstance(piece, FilePart):
            got += os.pread(piece.fd, piece.length, piece.offset)
        else:
            got += piece
    return got


@pytest.fixture
async def nginx(mirrors: Mirrors, hub: Elsewhere) -> None:
    """An image whose manifest is here and whose layer is not."""
    hub.push_image("library/nginx", "1", LAYER)
    await mirrors.manifests.bring(HUB, NGINX, "1")


@pytest.mark.usefixtures("nginx")
@pytest.mark.parametrize("is_right_first", [False, True])
async def test_b112_reader_of_wrong_bytes_does_not_get_the_last_of_them_when_the_right_ones_come(
    mirrors: Mirrors, open_mirrors: Open, hub: Elsewhere, *, is_right_first: bool
) -> None:
    """One process fetches, another reads along, and is the one that fetches it anew."""
    second = open_mirrors()
    await second.upstreams.look()
    if not is_right_first:
        hub.changed[DIGEST] = b"\x01" + LAYER[1:]
    hub.gate = asyncio.Event()
    first = asyncio.create_task(mirrors.fills.finish(HUB, NGINX, DIGEST))
    await asyncio.sleep(0.1)
    reading = asyncio.create_task(read(second, NGINX, DIGEST, len(LAYER)))
    await asyncio.sleep(0.1)
    hub.changed.clear()
    hub.gate.set()

    got = await asyncio.gather(first, reading, return_exceptions=True)

    assert isinstance(got[1], Exception) or got[1] == LAYER
    assert (await second.fills.finish(HUB, NGINX, DIGEST)).size == len(LAYER)


@pytest.mark.usefixtures("nginx")
async def test_reader_goes_on_when_another_process_begins_anew(
    mirrors: Mirrors, open_mirrors: Open, hub: Elsewhere, db: SqliteDatabase
) -> None:
    """As when the one that fetched was killed: what it had written does not count, but was right."""
    hub.gate = asyncio.Event()
    second = open_mirrors()
    first = asyncio.create_task(mirrors.fills.finish(HUB, NGINX, DIGEST))
    await asyncio.sleep(0.1)
    reading = asyncio.create_task(read(second, NGINX, DIGEST, len(LAYER)))
    await asyncio.sleep(0.1)
    await mirrors.close()
    await asyncio.gather(first, return_exceptions=True)
    # what a kill leaves: bytes that no row counts
    await db.write(lambda tx: tx.run("UPDATE upload SET received = 0, digest_so_far = NULL"))
    hub.gate.set()

    assert await reading == LAYER


@pytest.mark.usefixtures("nginx")
async def test_part_that_has_not_come_yet_is_waited_for(mirrors: Mirrors, hub: Elsewhere) -> None:
    hub.gate = asyncio.Event()
    reading = asyncio.create_task(read(mirrors, NGINX, DIGEST, len(LAYER), len(LAYER) - 1000))
    await asyncio.sleep(0.1)
    hub.gate.set()

    assert await reading == LAYER[-1000:]


@pytest.mark.usefixtures("nginx")
async def test_client_that_leaves_before_the_first_byte_leaves_no_open_file(
    mirrors: Mirrors, hub: Elsewhere
) -> None:
    hub.gate = asyncio.Event()
    brought = await mirrors.fills.bring(HUB, NGINX, DIGEST)
    assert not isinstance(brought, Blob)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a few names

    for _ in range(10):
        file = mirrors.fills.open(brought)
        assert file is not None
        pieces = mirrors.fills.read(brought, file, ByteRange(0, 10))
        del file
        await pieces.aclose()
        del pieces
    gc.collect()

    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208
    hub.gate.set()
    await mirrors.fills.finish(HUB, NGINX, DIGEST)


SECRET = RepositoryName("docker.io/team/secret")


@pytest.mark.parametrize("is_whole", [True, False])
async def test_blob_of_one_repository_is_not_given_out_by_another_of_the_upstream(
    mirrors: Mirrors, hub: Elsewhere, *, is_whole: bool
) -> None:
    """Whoever may pull one repository of an upstream need not be allowed to pull the others."""
    hub.push_image("team/secret", "1", LAYER)
    hub.push_image("library/nginx", "1", b"layer")
    hub.only_in[DIGEST] = "team/secret"
    await mirrors.manifests.bring(HUB, SECRET, "1")
    await mirrors.manifests.bring(HUB, NGINX, "1")
    hub.gate = None if is_whole else asyncio.Event()
    coming = asyncio.create_task(mirrors.fills.finish(HUB, SECRET, DIGEST))
    await asyncio.sleep(0.2)
    assert coming.done() == is_whole

    for _ in range(2):
        with pytest.raises(BlobUnknown):
            await mirrors.fills.bring(HUB, NGINX, DIGEST)

    assert hub.count("HEAD BLOB") == 1
    if hub.gate is not None:
        hub.gate.set()
    await coming


@pytest.mark.usefixtures("nginx")
async def test_layer_that_two_repositories_share_is_fetched_once(mirrors: Mirrors, hub: Elsewhere) -> None:
    hub.push_image("library/other", "1", LAYER)
    other = RepositoryName("docker.io/library/other")
    await mirrors.manifests.bring(HUB, other, "1")
    await mirrors.fills.finish(HUB, NGINX, DIGEST)

    await mirrors.fills.finish(HUB, other, DIGEST)

    assert (hub.count("BLOB"), hub.count("HEAD BLOB")) == (1, 0)


@pytest.mark.usefixtures("nginx")
async def test_digests_that_are_made_up_leave_nothing_here(
    mirrors: Mirrors, hub: Elsewhere, db: SqliteDatabase, tmp_path: Path
) -> None:
    for number in range(50):
        made_up = digest_of(f"{number}".encode())
        with pytest.raises(BlobUnknown):
            await mirrors.fills.bring(HUB, NGINX, made_up)
        await mirrors.bring_referrers(HUB, NGINX, made_up)

    assert not await db.all("SELECT 1 FROM upload")
    assert not await db.all("SELECT 1 FROM mirrored_subject")
    assert not list((tmp_path / "uploads").iterdir())
    assert hub.count("BLOB") == 0


@pytest.mark.usefixtures("nginx")
async def test_repository_that_is_deleted_while_its_blob_comes_is_a_mirror_still(
    mirrors: Mirrors, hub: Elsewhere, db: SqliteDatabase, uploads: Uploads
) -> None:
    hub.gate = asyncio.Event()
    coming = asyncio.create_task(mirrors.fills.finish(HUB, NGINX, DIGEST))
    await asyncio.sleep(0.1)
    await delete_repository(db, uploads, NGINX, Actor("alice"), 86_400_000)
    hub.gate.set()
    await coming

    assert await rows.find_upstream(db, NGINX) == (True, "docker.io")
    assert (await mirrors.upstreams.place(NGINX, None)).upstream is HUB


async def test_local_repository_that_appears_meanwhile_stays_local(
    mirrors: Mirrors, hub: Elsewhere, db: SqliteDatabase
) -> None:
    hub.push_image("library/nginx", "1", LAYER)
    await db.write(lambda tx: ensure_repository(tx, NGINX))

    with pytest.raises(NameTaken):
        await mirrors.manifests.bring(HUB, NGINX, "1")

    assert await rows.find_upstream(db, NGINX) == (True, None)
    assert not await db.all("SELECT 1 FROM manifest")


@pytest.mark.parametrize("size", [5, 2 * len(LAYER), 1 << 60])
async def test_image_that_lies_about_a_layers_size_harms_no_other(
    mirrors: Mirrors, hub: Elsewhere, size: int
) -> None:
    """Anyone may push one; three errors in a row would open the line of all."""
    hub.push_image("library/nginx", "1", LAYER)
    payload = hub.manifests["library/nginx", "1"][1].replace(b'"size": %d' % len(LAYER), b'"size": %d' % size)
    hub.put("evil/app", "1", OCI_MANIFEST, payload)
    evil = RepositoryName("docker.io/evil/app")
    await mirrors.manifests.bring(HUB, evil, "1")
    await mirrors.manifests.bring(HUB, NGINX, "1")
    hub.gate = asyncio.Event()

    first = asyncio.create_task(mirrors.fills.finish(HUB, evil, DIGEST))
    await asyncio.sleep(0.1)
    second = asyncio.create_task(read(mirrors, NGINX, DIGEST, len(LAYER)))
    await asyncio.sleep(0.1)
    hub.gate.set()

    assert await second == LAYER
    assert (await first).size == len(LAYER)
    assert mirrors.fills._lines.get(HUB, HUB.address).failures == 0


@pytest.mark.usefixtures("nginx")
async def test_upstream_that_drips_holds_no_place_for_ever(
    mirrors: Mirrors, hub: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time it is asked it sends a little more, and never enough."""
    monkeypatch.setattr(streaming, "PACE_S", 0.05)
    monkeypatch.setattr(streaming, "_WAITS_S", (0.01, 0.01, 0.01))
    hub.drip_s = 0.02

    with pytest.raises(UpstreamFailed, match="it sent"):
        await mirrors.fills.finish(HUB, NGINX, DIGEST)

    assert sum(method == "BLOB" for method, _ in hub.asked) <= 8


async def test_only_a_client_is_told_that_no_byte_has_come_yet(
    mirrors: Mirrors, hub: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody waits for may be held up by clients that go first."""
    monkeypatch.setattr(filling, "BEGIN_S", 0.1)
    hub.push_image("library/nginx", "1", b"layer")
    await mirrors.manifests.bring(HUB, NGINX, "1")
    hub.drip_s = 0.3

    with pytest.raises(UpstreamUnreachable, match="no byte"):
        await mirrors.fills.bring(HUB, NGINX, digest_of(b"layer"), "address 192.0.2.1")
    blob = await mirrors.fills.finish(HUB, NGINX, digest_of(b"layer"))

    assert blob.size == len(b"layer")
