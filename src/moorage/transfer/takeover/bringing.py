"""Bringing what another registry's folder holds, a few manifests at a time.

For each few: the files of their blobs, made durable; then one transaction that says so, links and leases
them, stores the manifests and moves their tags, while the files of the next few are made. A crash leaves
files without rows: never a row without its file, nor a tag without all of its image.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import aclosing
from functools import partial
from itertools import islice
from typing import NamedTuple, TypeVar

from moorage.clock import now_ms
from moorage.database import Database
from moorage.errors import ManifestInvalid, NameUnknown
from moorage.identity.access.patterns import is_match
from moorage.identity.access.rows import find_deletion
from moorage.oci.digest import SHA256, Digest, algorithm_of
from moorage.oci.manifest import parse_manifest
from moorage.oci.names import RepositoryName, is_repository_name
from moorage.registry.blobs import rows as blob_rows
from moorage.registry.blobs.linking import hold_blobs
from moorage.registry.blobs.store import BlobStore
from moorage.registry.manifests import rows as manifest_rows
from moorage.registry.repositories.rows import get_repository
from moorage.registry.tags import rows as tag_rows
from moorage.threads import in_thread
from moorage.transfer.takeover.planning import MANIFEST_MAX_BYTES, Here, Plan, make_plan, read_manifest
from moorage.transfer.takeover.recording import Batch, ReadyBlob, ReadyManifest, write_batch
from moorage.transfer.takeover.report import Progress, Report
from moorage.transfer.takeover.source import (
    Adopting,
    ContentBroken,
    FoundRepository,
    Means,
    Problem,
    Source,
    Tagged,
)

T = TypeVar("T")

_MANIFESTS_AT_ONCE = 30
_BLOBS_AT_ONCE = 100
_TAGS_AT_ONCE = 100
_READ_AT_ONCE = 500
_THREADS = 4


class _Wanted(NamedTuple):
    """A blob to bring, by the digest that the manifest has and the sha256 under which it lies there."""

    digest: Digest
    target: Digest


class Takeover:
    """One import, by one process."""

    def __init__(
        self,
        db: Database,
        store: BlobStore,
        adopting: Adopting,
        source: Source,
        threads: Executor,
        lease_ms: int,
    ) -> None:
        self._db = db
        self._store = store
        self._adopting = adopting
        self._source = source
        self._threads = threads
        self._lease_ms = lease_ms
        self.report = Report()
        self.progress = Progress()
        self._counted: set[Digest] = set()
        self._probed: Means | None = None

    async def run(self, pattern: str, *, is_dry: bool) -> Report:
        """Bring all repositories of a pattern, or only say what would come.

        What is broken is in the report. Raises SourceRefused, StorageFull (507), StorageReadOnly (503),
        StorageFailed (500), DatabaseBusy, DatabaseFull (503): run again, it goes on from there.
        """
        if not is_dry:
            self._store.check_writable()
        names = [name for name in self._source.list_repositories() if is_match(pattern, name)]
        self.progress.repositories_total = len(names)
        for name in names:
            self.progress.repository = name
            self.progress.manifests = self.progress.manifests_total = 0
            await self._take(name, is_dry=is_dry)
            self.progress.repositories += 1
        return self.report

    async def _take(self, name: str, *, is_dry: bool) -> None:
        if not is_repository_name(name):
            self.report.skip(Problem(name[:200], "repository", "no repository can have this name here"))
            return
        found = await in_thread(self._threads, self._source.read_repository, name)
        repository_id = await self._find_repository(name)
        if repository_id is None and await find_deletion(self._db, name) is not None:
            reason = f"it was deleted here; `moorage repository add {name}` lets it come"
            self.report.keep(Problem(name, "repository", reason))
            return
        here = Here() if repository_id is None else await self._look(repository_id, found)
        find_size = partial(self._find_size, found)
        plan = await in_thread(self._threads, make_plan, found, here, self._read, find_size)
        self._tell(found, here, plan)
        self.progress.manifests_total = len(plan.manifests)
        self.report.repositories += bool(plan.manifests or plan.tags)
        if is_dry:
            await in_thread(self._threads, self._count, found, plan)
        else:
            await self._bring(name, found, plan)

    async def _find_repository(self, name: RepositoryName) -> int | None:
        try:
            return await get_repository(self._db, name)
        except NameUnknown:
            return None

    async def _look(self, repository_id: int, found: FoundRepository) -> Here:
        manifests: set[Digest] = set()
        trashed: set[Digest] = set()
        after = ""
        while some := await manifest_rows.read_known(self._db, repository_id, after, _READ_AT_ONCE):
            for sha256, sha512, is_trashed in some:
                (trashed if is_trashed else manifests).update((sha256, sha512))
            after = some[-1][0]
        tags = await tag_rows.read_states(self._db, repository_id, list(found.tags))
        return Here(frozenset(manifests), frozenset(trashed), tags)

    def _tell(self, found: FoundRepository, here: Here, plan: Plan) -> None:
        for problem in plan.skipped:
            self.report.skip(problem)
        for problem in plan.kept:
            self.report.keep(problem)
        self.report.known_manifests += len(found.revisions.keys() & here.manifests)
        self.report.known_tags += plan.known_tags

    def _read(self, digest: Digest) -> bytes:
        return self._source.read_content(digest, MANIFEST_MAX_BYTES)

    def _find_there(self, digest: Digest) -> int | None:
        try:
            return self._source.find_size(digest)
        except ContentBroken:
            return None

    def _find_size(self, found: FoundRepository, digest: Digest) -> int | None:
        target = found.layers.get(digest)
        return None if target is None else self._source.find_size(target)

    def _count(self, found: FoundRepository, plan: Plan) -> None:
        """What would come, each blob once."""
        report = self.report
        report.manifests += len(plan.manifests)
        report.tags += len(plan.tags)
        for wanted in _blobs_of(found, plan, plan.manifests):
            if wanted.target in self._counted:
                continue
            self._counted.add(wanted.target)
            means = self._probed = self._probed or self._adopting.probe(self._source.path_of(wanted.target))
            report.count_blob(self._find_there(wanted.target) or 0, means)

    async def _bring(self, name: RepositoryName, found: FoundRepository, plan: Plan) -> None:
        async with aclosing(_one_ahead(self._prepare(found, plan))) as batches:
            async for batch in batches:
                await self._write(name, batch)

    async def _prepare(self, found: FoundRepository, plan: Plan) -> AsyncIterator[Batch]:
        """What to write next, the files it speaks of made."""
        tags_of: dict[Digest, dict[str, Tagged]] = {}
        for tag, digest in plan.tags.items():
            tags_of.setdefault(digest, {})[tag] = found.tags[tag]
        tagged = {digest for digest, _ in found.tags.values()}
        left: dict[str, Tagged] = {}
        # in batches before this one, which are written before it
        before: set[Digest] = set()
        lost_blobs: dict[Digest, str] = {}
        for digests in _several(plan.manifests, _MANIFESTS_AT_ONCE):
            lost: dict[Digest, str] = {}
            blobs: list[ReadyBlob] = []
            wanted = [each for each in _blobs_of(found, plan, digests) if each.digest not in before]
            before.update(each.digest for each in wanted)
            for some in _several(wanted, _BLOBS_AT_ONCE):
                if blobs:
                    yield Batch(blobs)
                blobs = await self._adopt_all(found.name, some, lost_blobs)
            # what no tag names there begins its time as untagged here
            times = {digest: found.revisions[digest] if digest in tagged else now_ms() for digest in digests}
            manifests = await in_thread(self._threads, self._read_all, plan, times, lost)
            for digest in digests:
                left |= tags_of.pop(digest, {})
            tags, left = (left, {}) if len(left) <= _TAGS_AT_ONCE else ({}, left)
            yield Batch(blobs, manifests, tags, lost, lost_blobs)
        left |= {tag: tagged for tags in tags_of.values() for tag, tagged in tags.items()}
        for names in _several(left, _TAGS_AT_ONCE):
            yield Batch(tags={tag: left[tag] for tag in names})

    async def _adopt_all(
        self, name: str, wanted: Sequence[_Wanted], lost: dict[Digest, str]
    ) -> list[ReadyBlob]:
        """The files of blobs that the repository does not have yet, durable."""
        self._store.check_writable()
        digests = [each.digest for each in wanted]
        held = await hold_blobs(self._db, RepositoryName(name), digests, self._lease_ms)
        blobs: list[ReadyBlob] = []
        ahead: list[tuple[_Wanted, int]] = []
        for each in sorted(each for each in wanted if each.digest not in held):
            generation, is_live = await blob_rows.find_generation(self._db, each.target)
            size = self._store.blob_size(each.target, generation) if is_live else None
            if size is not None and size == self._find_there(each.target):
                blobs.append(ReadyBlob(each.target, None, size, generation, None))
            else:
                ahead.append((each, generation + 1))
        # neighbours by digest go to one thread: they share a folder, which is synced once
        length = -(-len(ahead) // _THREADS) or 1
        parts = [in_thread(self._threads, self._adopt, some, lost) for some in _several(ahead, length)]
        return blobs + [blob for part in await asyncio.gather(*parts) for blob in part]

    def _adopt(self, ahead: Sequence[tuple[_Wanted, int]], lost: dict[Digest, str]) -> list[ReadyBlob]:
        """Files under these generations, durable; `lost` says why some cannot be had. In a thread."""
        blobs: list[ReadyBlob] = []
        for wanted, generation in ahead:
            with_sha512 = algorithm_of(wanted.digest) != SHA256
            path = self._source.path_of(wanted.target)
            try:
                adopted = self._adopting.adopt(path, wanted.target, generation, with_sha512=with_sha512)
            except ContentBroken as broken:
                lost[wanted.digest] = f"its blob {wanted.digest}: {broken}"
                continue
            self.progress.bytes += adopted.size
            blobs.append(ReadyBlob(*adopted))
        self._adopting.settle([blob.digest for blob in blobs])
        return blobs

    def _read_all(
        self, plan: Plan, times: Mapping[Digest, int], lost: dict[Digest, str]
    ) -> dict[Digest, ReadyManifest]:
        """Manifests as the plan has them, or as they lie there now: the other registry goes on meanwhile."""
        read: dict[Digest, ReadyManifest] = {}
        for digest, at in times.items():
            if (known := plan.manifests[digest].read) is not None:
                read[digest] = ReadyManifest(*known, at)
                continue
            try:
                payload = read_manifest(digest, self._read)
                read[digest] = ReadyManifest(parse_manifest(payload, None), payload, at)
            except (ContentBroken, ManifestInvalid) as refusal:
                lost[digest] = str(refusal)
        return read

    async def _write(self, name: RepositoryName, batch: Batch) -> None:
        written = await self._db.write(lambda tx: write_batch(tx, name, batch, self._lease_ms))
        while written.late:
            # meanwhile another has taken away what had this generation: once more, under the next
            again = [_Wanted(digest, digest) for digest in written.late]
            kept = [blob for blob in batch.blobs if blob.digest not in written.late]
            dead = [(blob.digest, blob.generation) for blob in batch.blobs if blob.digest in written.late]
            await in_thread(self._threads, self._store.remove_blobs, dead)
            batch.blobs = kept + await self._adopt_all(name, again, batch.lost_blobs)
            written = await self._db.write(lambda tx: write_batch(tx, name, batch, self._lease_ms))
        await self._remove_replaced(batch)
        report = self.report
        for blob in batch.blobs:
            if blob.means is not None:
                report.count_blob(blob.size, blob.means)
        report.manifests += len(written.manifests)
        report.tags += written.tags
        for digest, reason in (batch.lost | written.refused).items():
            report.skip(Problem(name, f"manifest {digest}", reason))
        for tag, reason in written.lost_tags.items():
            report.skip(Problem(name, f"tag {tag}", reason))
        for tag, reason in written.kept_tags.items():
            report.keep(Problem(name, f"tag {tag}", reason))
        self.progress.manifests += len(batch.manifests)

    async def _remove_replaced(self, batch: Batch) -> None:
        """The files of garbage that came again under a new generation before it was removed."""
        replaced = [(blob.digest, blob.generation - 1) for blob in batch.blobs if blob.means is not None]
        dead = [each for each in replaced if self._store.blob_size(*each) is not None]
        if dead:
            await in_thread(self._threads, self._store.remove_blobs, dead)


def _blobs_of(found: FoundRepository, plan: Plan, digests: Iterable[Digest]) -> list[_Wanted]:
    """The blobs of some manifests, each once; an index may list blobs too."""
    wanted: dict[Digest, _Wanted] = {}
    for digest in digests:
        parsed = plan.manifests[digest]
        for blob in (*(each for each, *_ in parsed.blobs), *parsed.children):
            if blob in found.layers and blob not in found.revisions:
                wanted[blob] = _Wanted(blob, found.layers[blob])
    return list(wanted.values())


def _several(things: Iterable[T], count: int) -> Iterator[list[T]]:
    ahead = iter(things)
    while some := list(islice(ahead, count)):
        yield some


async def _one_ahead(things: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    """The same things; while one is worked on, the next is made."""
    ahead = asyncio.ensure_future(anext(things, None))
    try:
        while (thing := await ahead) is not None:
            ahead = asyncio.ensure_future(anext(things, None))
            yield thing
    finally:
        ahead.cancel()
        await asyncio.gather(ahead, return_exceptions=True)
