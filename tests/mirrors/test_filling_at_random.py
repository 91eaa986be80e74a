"""Blobs that come through several processes while all goes wrong: no reader gets a whole of wrong bytes.

Sources cut, send other bytes or nothing; processes end in the middle; what a kill leaves does not count.
"""

import asyncio
import os
import random
from contextlib import suppress

import pytest

from moorage.databases.sqlite import SqliteDatabase
from moorage.errors import RegistryError
from moorage.mirrors import filling, streaming
from moorage.mirrors.asking import UpstreamFailure
from moorage.mirrors.mirrors import Mirrors
from moorage.oci.digest import Digest, digest_of
from moorage.oci.names import RepositoryName
from moorage.oci.ranges import ByteRange
from moorage.registry.blobs.rows import Blob
from moorage.registry.blobs.store import BlobDamaged, FilePart
from moorage.storage.filesystem import FilesystemStore
from tests.mirrors.conftest import HUB, Open
from tests.mirrors.elsewhere import Elsewhere

pytestmark = pytest.mark.anyio

NGINX = RepositoryName("docker.io/library/nginx")
PROCESSES = 3
READERS = 12


async def read(mirrors: Mirrors, digest: Digest, part: ByteRange, chance: random.Random) -> bytes | None:
    """What a client gets that asks for a part; None where it is told so, or cut."""
    got = b""
    try:
        brought = await mirrors.fills.bring(HUB, NGINX, digest)
        file = None if isinstance(brought, Blob) else mirrors.fills.open(brought)
        if file is None or isinstance(brought, Blob):
            return None
        async for piece in mirrors.fills.read(brought, file, part):
            if isinstance(piece, FilePart):
                got += os.pread(piece.fd, piece.length, piece.offset)
            else:
                got += piece
            await asyncio.sleep(chance.random() / 100)
    except (RegistryError, UpstreamFailure, BlobDamaged, asyncio.CancelledError):
        return None
    return got


async def mend(process: Mirrors, db: SqliteDatabase, digest: Digest) -> Blob:
    """The blob, which can be had again once nothing goes wrong any more."""
    for _ in range(3):
        await db.write(lambda tx: tx.run("DELETE FROM upstream_line"))
        await process.upstreams.look(at_once=True)
        await process._lines.learn()
        with suppress(RegistryError):
            return await process.fills.finish(HUB, NGINX, digest)
        await asyncio.sleep(0.1)
    return await process.fills.finish(HUB, NGINX, digest)


def check(got: bytes | None, part: ByteRange, content: bytes) -> None:
    """Up to the last byte of the blob all has to be right."""
    if got is not None and part.last == len(content) - 1:
        assert digest_of(got) == digest_of(content[part.first :])


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_goes_wrong_a_whole_is_right(
    open_mirrors: Open,
    db: SqliteDatabase,
    store: FilesystemStore,
    hub: Elsewhere,
    other: Elsewhere,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(streaming, "_WAITS_S", (0.01,) * 5)
    monkeypatch.setattr(filling, "_LOOK_AGAIN_S", 0.02)
    content = chance.randbytes(chance.choice([1, 65_536, 500_000, 2_000_000]))
    at = chance.randrange(len(content))
    wrong = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
    digest = digest_of(content)
    for each in (hub, other):
        each.push_image("library/nginx", "1", content)
        if chance.random() < 0.5:
            each.changed[digest] = wrong
        each.cuts_at = [chance.randrange(len(content)) for _ in range(chance.randrange(6))]
    processes = [open_mirrors() for _ in range(PROCESSES)]
    await processes[0].manifests.bring(HUB, NGINX, "1")

    async def client() -> None:
        await asyncio.sleep(chance.random() / 5)
        first = chance.choice([0, chance.randrange(len(content))])
        part = ByteRange(first, chance.choice([len(content) - 1, chance.randrange(first, len(content))]))
        got = await read(chance.choice(processes), digest, part, chance)
        check(got, part, content)

    async def trouble() -> None:
        for _ in range(4):
            await asyncio.sleep(chance.random() / 10)
            await chance.choice(processes).fills.close()
            await db.write(
                lambda tx: tx.run("UPDATE upload SET received = received / 2, digest_so_far = NULL")
            )
            for each in (hub, other):
                if chance.random() < 0.5:
                    each.changed.clear()

    await asyncio.gather(*(client() for _ in range(READERS)), trouble())

    for each in (hub, other):
        each.changed.clear()
        each.cuts_at.clear()
    for process in processes:
        blob = await mend(process, db, digest)
        assert digest_of(store.path_of(blob.digest, blob.generation).read_bytes()) == digest
