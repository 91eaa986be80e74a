"""Use cases that go step by step: at each point between two steps of one, another may run whole.

The points are where a process may be overtaken: before each read, before and after each transaction, and
before files are committed or removed.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from moorage.config import Settings
from moorage.database import Database, Row, Transaction
from moorage.databases import sqlite
from moorage.databases.sqlite import SqliteDatabase
from moorage.errors import BlobUnknown, RegistryError
from moorage.health import Health
from moorage.lifecycle.garbage.collecting import Collected, Garbage
from moorage.oci.digest import Digest
from moorage.oci.names import RepositoryName
from moorage.registry.blobs.linking import delete_blob, mount_blob
from moorage.registry.blobs.rows import LEASE_MS
from moorage.registry.blobs.second_digest import SecondDigests
from moorage.registry.blobs.serving import BlobServer
from moorage.registry.manifests.rows import find_by_digest, find_by_tag
from moorage.registry.trash.deleting import delete_manifest
from moorage.registry.trash.repositories import delete_repository, restore_repository
from moorage.registry.trash.restoring import restore_deletion
from moorage.registry.uploads.uploading import Uploads
from moorage.storage.filesystem import FilesystemStore
from tests.content import Document, digest_of, encode, image, index
from tests.registry.audit import auditing
from tests.registry.pushing import CLIENT, OTHER, REPOSITORY, push_blob, push_document

T = TypeVar("T")

GONE = RepositoryName("team/gone")
GRACE_MS = 7 * LEASE_MS
LOOSE, DELETING, CONFIG, SHARED = b"loose" * 50, b"deleting" * 50, b"config" * 50, b"shared" * 50
"""Nothing needs the first, whose lease is over; the file of the second is to go; the others are needed."""
KEPT, SECOND = image(CONFIG, [SHARED]), image(CONFIG, [b"second" * 50])
CHILD = image(CONFIG, [b"of a child" * 50])
BACK = index([CHILD])
"""In the trash with its child; its time is over."""
HAD = image(CONFIG, [b"of another" * 50])
"""In a repository that is in the trash; its time is over."""

CONTENTS = {
    digest_of(content): content
    for content in (
        *(LOOSE, DELETING, CONFIG, SHARED),
        *(word * 50 for word in (b"second", b"of a child", b"of another", b"other")),
    )
}
NAMES = {digest: f"{content[:12]!r}..." for digest, content in CONTENTS.items()}


class Stage:
    """Counts the points that one actor passes; at the given one, the other enters."""

    def __init__(self, at: int = 0, other: Callable[[], Awaitable[None]] | None = None) -> None:
        self.passed: list[str] = []
        self._at = at
        self._other = other
        self._loop = asyncio.get_running_loop()

    async def reach(self, point: str) -> None:
        self.passed.append(point)
        if len(self.passed) == self._at and self._other is not None:
            await self._other()

    def reach_from_thread(self, point: str) -> None:
        asyncio.run_coroutine_threadsafe(self.reach(point), self._loop).result()


class PausingDatabase:
    """Rows, with points around each step."""

    def __init__(self, db: SqliteDatabase, stage: Stage) -> None:
        self._db = db
        self._stage = stage

    async def one(self, sql: str, values: Sequence[object] = ()) -> Row | None:
        await self._stage.reach("before a read")
        return await self._db.one(sql, values)

    async def all(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        await self._stage.reach("before a read")
        return await self._db.all(sql, values)

    async def scan(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        await self._stage.reach("before a read")
        return await self._db.scan(sql, values)

    async def write(self, work: Callable[[Transaction], T]) -> T:
        await self._stage.reach("before a transaction")
        value = await self._db.write(work)
        await self._stage.reach("after a transaction")
        return value


class PausingStore(FilesystemStore):
    """Bytes, with a point before each change of what a row may speak of."""

    def __init__(self, root: Path, stage: Stage) -> None:
        super().__init__(root, Health(), 0)
        self._stage = stage

    def commit(self, upload_id: str, digest: Digest, generation: int) -> None:
        self._stage.reach_from_thread("before a file gets its name")
        super().commit(upload_id, digest, generation)

    def remove_blobs(self, blobs: Iterable[tuple[Digest, int]]) -> None:
        self._stage.reach_from_thread("before unlink")
        super().remove_blobs(blobs)


class Ports:
    """One process on the folder, as far as it matters here."""

    def __init__(self, db: Database, store: FilesystemStore, threads: Executor) -> None:
        self.db = db
        self.store = store
        self.uploads = Uploads(db, store, threads, Settings().uploads)
        self.blobs = BlobServer(db, store, threads, SecondDigests(db, store, threads))
        self.garbage = Garbage(db, store, threads, LEASE_MS)


@dataclass
class Seen:
    """What clients were told: tags that are theirs by now, what is deleted, and refusals by who got them."""

    tags: dict[tuple[RepositoryName, str], Document] = field(default_factory=dict)
    deleted: list[Digest] = field(default_factory=list)
    refusals: list[tuple[str, RegistryError]] = field(default_factory=list)


Act = Callable[[Ports, Seen], Awaitable[None]]


async def collect(at: Ports, _: Seen) -> None:
    await at.garbage.collect()


async def push(at: Ports, seen: Seen) -> None:
    """F34, F37: of its blobs one is being removed and one is garbage already."""
    document = image(DELETING, [LOOSE])
    await push_blob(at.uploads, DELETING)
    await push_blob(at.uploads, LOOSE)
    await _tag(at, seen, REPOSITORY, "new", document)


async def mount(at: Ports, seen: Seen) -> None:
    """F36."""
    if await mount_blob(at.db, at.store, OTHER, Digest(digest_of(LOOSE)), REPOSITORY) is None:
        await push_blob(at.uploads, LOOSE, OTHER)
    await _tag(at, seen, OTHER, "mounted", image(LOOSE))


async def look(at: Ports, seen: Seen) -> None:
    """F35: a HEAD that was answered with 200 is as good as a push."""
    try:
        await at.blobs.find(REPOSITORY, Digest(digest_of(LOOSE)))
    except BlobUnknown:
        await push_blob(at.uploads, LOOSE)
    await _tag(at, seen, REPOSITORY, "looked", image(LOOSE))


async def unmanifest(at: Ports, seen: Seen) -> None:
    digest = Digest(digest_of(encode(KEPT)))
    await delete_manifest(at.db, REPOSITORY, digest, CLIENT, GRACE_MS)
    seen.deleted.append(digest)


async def unblob(at: Ports, _: Seen) -> None:
    await delete_blob(at.db, REPOSITORY, Digest(digest_of(LOOSE)), CLIENT)


async def retag(at: Ports, seen: Seen) -> None:
    await _tag(at, seen, REPOSITORY, "kept", SECOND)


async def restore(at: Ports, seen: Seen) -> None:
    deletion = await at.db.one("SELECT id FROM deletion WHERE digest = ?", (digest_of(encode(BACK)),))
    await restore_deletion(at.db, deletion[0] if deletion else 0, CLIENT)
    seen.tags[REPOSITORY, "back"] = BACK


async def unrepository(at: Ports, _: Seen) -> None:
    await delete_repository(at.db, at.uploads, OTHER, CLIENT, GRACE_MS)


async def rerepository(at: Ports, seen: Seen) -> None:
    deleted = await at.db.one("SELECT id FROM repository WHERE deleted_name = ?", (GONE,))
    await restore_repository(at.db, deleted[0] if deleted else 0, None, CLIENT)
    seen.tags[GONE, "had"] = HAD


async def collect_and_push(at: Ports, seen: Seen) -> None:
    """What a collector that fell asleep before its unlink wakes up to: F41."""
    await collect(at, seen)
    await push(at, seen)


async def _tag(at: Ports, seen: Seen, repository: RepositoryName, tag: str, document: Document) -> None:
    await push_document(at.db, at.store, document, tag, repository=repository)
    seen.tags[repository, tag] = document


@asynccontextmanager
async def opened(data: Path) -> AsyncIterator[tuple[Ports, Callable[[Stage], Ports]]]:
    """A process on the folder, and how to make one that has a stage."""
    db = SqliteDatabase(data / "moorage.db", Health())
    with ThreadPoolExecutor(4) as threads:
        try:
            store = FilesystemStore(data, Health(), 0)
            store.prepare()
            yield (
                Ports(db, store, threads),
                lambda stage: Ports(PausingDatabase(db, stage), PausingStore(data, stage), threads),
            )
        finally:
            db.close()


async def fill(data: Path) -> None:
    """Make the folder that each run starts from."""
    sqlite.prepare(data / "moorage.db")
    async with opened(data) as (at, _):
        for document, tags in ((KEPT, ["kept"]), (SECOND, ["second"]), (CHILD, []), (BACK, ["back"])):
            await _push_whole(at, REPOSITORY, document, *tags)
        await _push_whole(at, GONE, HAD, "had")
        await push_blob(at.uploads, b"other" * 50, OTHER)
        await push_blob(at.uploads, LOOSE)
        await push_blob(at.uploads, DELETING)
        await delete_manifest(at.db, REPOSITORY, Digest(digest_of(encode(BACK))), CLIENT, GRACE_MS)
        await delete_repository(at.db, at.uploads, GONE, CLIENT, GRACE_MS)
        gone = digest_of(DELETING)
        await at.db.write(lambda tx: tx.run("UPDATE lease SET until = 1 WHERE digest = ?", (gone,)))
        await at.garbage._settle(Collected())
        await at.db.write(let_time_pass)


async def _push_whole(at: Ports, repository: RepositoryName, document: Document, *tags: str) -> None:
    for pointer in [*([document["config"]] if "config" in document else []), *document.get("layers", [])]:
        await push_blob(at.uploads, CONTENTS[pointer["digest"]], repository)
    await push_document(at.db, at.store, document, *tags, repository=repository)


def let_time_pass(tx: Transaction) -> None:
    """All leases are over, and so is the time of all that is in the trash."""
    for sql in (
        "UPDATE lease SET until = 1",
        "UPDATE deletion SET purge_at = 1 WHERE purge_at > 0",
        "UPDATE repository SET purge_at = 1 WHERE purge_at > 0",
    ):
        tx.run(sql)


async def play(data: Path, first: Act, second: Act, at: int) -> tuple[list[str], Seen]:
    """Run one actor, and another at one of its points, on a folder; the points there were."""
    async with opened(data) as (plain, staged):
        seen = Seen()

        async def run(act: Act, ports: Ports) -> None:
            try:
                await act(ports, seen)
            except RegistryError as refusal:
                seen.refusals.append((act.__name__, refusal))

        stage = Stage(at, lambda: run(second, plain))
        await run(first, staged(stage))
        return stage.passed, seen


async def judge(data: Path, seen: Seen) -> list[str]:
    """What is wrong with a folder now, when all leases are over, and when what is in the trash is gone."""
    with auditing(data) as find_faults:
        found = find_faults()
        async with opened(data) as (at, _):
            found += await _judge_later(at, seen, find_faults)
    return found


async def _judge_later(at: Ports, seen: Seen, find_faults: Callable[[], list[str]]) -> list[str]:
    found = await _judge_promises(at, seen)
    await at.garbage.collect()
    found += [f"after another collection: {fault}" for fault in find_faults()]
    found += await _judge_promises(at, seen)
    for _ in range(2):
        # the second for what the trash gave up in the first
        await at.db.write(let_time_pass)
        await at.garbage.collect()
    found += [f"later: {fault}" for fault in find_faults()]
    found += [f"later: {fault}" for fault in await _judge_promises(at, seen)]
    rows = await at.db.all(
        "SELECT digest FROM blob WHERE digest NOT IN (SELECT target FROM manifest_reference)"
    )
    found += [f"garbage that stays: {NAMES[row[0]]}" for row in rows]
    return found


async def _judge_promises(at: Ports, seen: Seen) -> list[str]:
    """I1, I2, I6: what was acknowledged pulls whole, as do all tags; what was deleted is not served."""
    found = [
        f"I6: {digest} is served"
        for digest in seen.deleted
        if await find_by_digest(at.db, REPOSITORY, digest)
    ]
    tags = {
        (RepositoryName(row[0]), str(row[1]))
        for row in await at.db.all(
            "SELECT r.name, t.name FROM tag t JOIN repository r ON r.id = t.repository"
            " WHERE r.deleted_at IS NULL"
        )
    }
    for repository, tag in tags | seen.tags.keys():
        manifest = await find_by_tag(at.db, repository, tag)
        told = seen.tags.get((repository, tag))
        if manifest is None or (told is not None and manifest.payload != encode(told)):
            found.append(f"I1: {repository}:{tag} is {manifest and manifest.digest}")
        else:
            found += await _pull(at, repository, manifest.payload)
    return found


async def _pull(at: Ports, repository: RepositoryName, payload: bytes) -> list[str]:
    document: Document = json.loads(payload)
    found = []
    for pointer in [*([document["config"]] if "config" in document else []), *document.get("layers", [])]:
        try:
            blob, file = await at.blobs.open(repository, pointer["digest"])
        except RegistryError as refusal:
            found.append(f"I1: {NAMES[pointer['digest']]} in {repository}: {refusal!r}")
            continue
        pulled = bytes(file.read(0, blob.size))
        file.close()
        if digest_of(pulled) != pointer["digest"]:
            found.append(f"I2: {pointer['digest']} in {repository} has other bytes")
    for pointer in document.get("manifests", []):
        child = await find_by_digest(at.db, repository, pointer["digest"])
        found += ["I4: no child"] if child is None else await _pull(at, repository, child.payload)
    return found
