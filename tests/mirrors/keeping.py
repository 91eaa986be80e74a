"""Mirrors with what is done to them beside the requests, as one process has it."""

from collections.abc import Mapping
from concurrent.futures import Executor
from datetime import timedelta
from typing import Any

from moorage.databases.sqlite import SqliteDatabase
from moorage.lifecycle.garbage.collecting import Garbage
from moorage.mirrors import evicting, prefetching, rehearsing
from moorage.mirrors.evicting import Eviction
from moorage.mirrors.mirrors import Mirrors
from moorage.mirrors.prefetching import Prefetch
from moorage.mirrors.rehearsing import Rehearse
from moorage.oci.digest import Digest, is_digest
from moorage.oci.manifest import parse_manifest
from moorage.oci.names import RepositoryName, Tag
from moorage.registry.blobs.rows import Blob, find_blob
from moorage.registry.manifests.rows import StoredManifest, find_by_digest, find_by_tag
from moorage.registry.pulls import rows as pull_rows
from moorage.registry.pulls.rows import Pull
from moorage.storage.filesystem import FilesystemStore
from tests.lifecycle.jobs import run_job
from tests.registry.conftest import Clock

DELAY_MS = 86_400_000


class Keeping:
    """What a client pulls by, and what the job worker does."""

    def __init__(
        self, mirrors: Mirrors, db: SqliteDatabase, store: FilesystemStore, threads: Executor, clock: Clock
    ) -> None:
        self.mirrors = mirrors
        self.db = db
        self.store = store
        self.threads = threads
        self.clock = clock

    async def pull(self, name: str, reference: str, *, blobs: bool = True, child: int | None = 0) -> Digest:
        """As a client does: a manifest, of an index one child, and its blobs; counted as a pull."""
        await self.mirrors.upstreams.look(at_once=True)
        repository = RepositoryName(name)
        placed = await self.mirrors.upstreams.place(repository, None)
        assert placed.upstream is not None
        if not is_digest(reference):
            await self.mirrors.manifests.refresh(placed.upstream, repository, Tag(reference))
        if await self.find(name, reference) is None:
            await self.mirrors.manifests.bring(placed.upstream, repository, reference)
        stored = await self.find(name, reference)
        assert stored is not None
        await self.note_pull(name, reference)
        manifest = parse_manifest(stored.payload, stored.media_type)
        targets = [each.target.digest for each in manifest.references]
        if manifest.is_index:
            if child is not None:
                await self.pull(name, targets[child], blobs=blobs)
        elif blobs:
            for each in targets:
                if await find_blob(self.db, repository, each) is None:
                    await self.mirrors.fills.finish(placed.upstream, repository, each)
        return stored.sha256

    async def find(self, name: str, reference: str) -> StoredManifest | None:
        """A manifest that is here."""
        if is_digest(reference):
            return await find_by_digest(self.db, RepositoryName(name), Digest(reference))
        return await find_by_tag(self.db, RepositoryName(name), reference)

    async def blob(self, name: str, digest: str) -> Blob | None:
        """A blob that is here."""
        return await find_blob(self.db, RepositoryName(name), Digest(digest))

    def has_file(self, digest: str, generation: int = 1) -> bool:
        """Whether a blob's bytes are on the disk."""
        return (self.store.shards / digest[7:9] / f"{digest[7:]}.{generation}").exists()

    async def note_pull(self, name: str, reference: str) -> None:
        """A pull, written down at once."""
        pulled = Pull(RepositoryName(name), reference, 1, self.clock.now_ns // 1_000_000)
        await self.db.write(lambda tx: pull_rows.add(tx, [pulled]))

    async def evict(self) -> Mapping[str, Any]:
        """What the job came to, for the first upstream."""
        result = await run_job(self.db, evicting.KIND, Eviction(self.db, self.mirrors.upstreams).run)
        found: Mapping[str, Any] = result["upstreams"][0]
        return found

    async def is_eviction_due(self) -> bool:
        """Whether the schedule would ask for the job."""
        return await Eviction(self.db, self.mirrors.upstreams).is_due(self.db)

    async def prefetch(self, upstream: str | None = None) -> Mapping[str, Any]:
        """What the job came to."""
        handler = Prefetch(self.db, self.mirrors).run
        return await run_job(self.db, prefetching.KIND, handler, upstream=upstream)

    async def rehearse(self, **arguments: Any) -> Mapping[str, Any]:
        """What the job came to."""
        return await run_job(self.db, rehearsing.KIND, Rehearse(self.db, self.mirrors).run, **arguments)

    async def collect(self) -> int:
        """Garbage, when the leases of what was evicted are over; how many blobs went."""
        garbage = Garbage(self.db, self.store, self.threads, DELAY_MS)
        removed = (await garbage.collect()).removed_blobs
        self.clock.move(timedelta(minutes=2))
        return removed + (await garbage.collect()).removed_blobs

    async def total(self) -> int:
        """What is kept of docker.io, as it is counted; it is what the rows add up to."""
        row = await self.db.one("SELECT bytes FROM mirrored_total WHERE upstream = 'docker.io'")
        summed = await self.db.one(
            "SELECT coalesce(sum(size), 0) FROM blob WHERE digest IN"
            " (SELECT l.digest FROM mirrored_repository m"
            " JOIN repository_blob l ON l.repository = m.repository WHERE m.upstream = 'docker.io')"
        )
        assert summed is not None
        counted = 0 if row is None else int(row[0])
        assert counted == summed[0]
        return counted
