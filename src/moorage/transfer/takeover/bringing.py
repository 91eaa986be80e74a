"""Bringing what another registry's folder holds, a few manifests at a time.

For each few: the files of their blobs, made durable; one transaction that says so, links them to the
repository and leases them; one that stores the manifests; one that moves their tags. A crash between two of
them leaves files without rows, or what a lease keeps until the next run comes for it: never a row without
its file, nor a tag without all of its image.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from itertools import islice
from typing import NamedTuple, TypeVar

from moorage.clock import now_ms
from moorage.database import Database, Transaction
from moorage.errors import ManifestBlobUnknown, ManifestInvalid
from moorage.identity.access.patterns import is_match
from moorage.identity.access.rows import find_deletion
from moorage.oci.digest import SHA256, Digest, algorithm_of
from moorage.oci.manifest import Manifest, parse_manifest
from moorage.oci.names import RepositoryName, Tag, is_repository_name
from moorage.records.audit.rows import Actor, record
from moorage.registry.blobs import rows as blob_rows
from moorage.registry.blobs.store import BlobStore
from moorage.registry.manifests import rows as manifest_rows
from moorage.registry.manifests.pushing import keep_manifest
from moorage.registry.repositories.rows import ensure_repository, find_repository
from moorage.registry.tags import rows as tag_rows
from moorage.threads import in_thread
from moorage.transfer.takeover.planning import (
    IMPORTED_BY,
    MANIFEST_MAX_BYTES,
    Here,
    Plan,
    judge_tag,
    make_plan,
    read_manifest,
)
from moorage.transfer.takeover.report import Progress, Report
from moorage.transfer.takeover.source import (
    Adopting,
    ContentBroken,
    FoundRepository,
    Means,
    Problem,
    Source,
)

T = TypeVar("T")

_OPERATOR = Actor("operator", "local")
_IMPORT = Actor(IMPORTED_BY, "local")
_MANIFESTS_AT_ONCE = 40
_BLOBS_AT_ONCE = 100
_TAGS_AT_ONCE = 100
_READ_AT_ONCE = 500


class _Wanted(NamedTuple):
    """A blob to bring, by the digest that the manifest has and the sha256 under which it lies there."""

    digest: Digest
    target: Digest


class _Ready(NamedTuple):
    """A blob whose file is here. `means` is None where it was here before."""

    digest: Digest
    sha512: Digest | None
    size: int
    generation: int
    means: Means | None


class Takeover:
    """One import, by one process."""

    def __init__(
        self, db: Database, store: BlobStore, adopting: Adopting, source: Source, threads: Executor
    ) -> None:
        self._db = db
        self._store = store
        self._adopting = adopting
        self._source = source
        self._threads = threads
        self.report = Report()
        self.progress = Progress()
        self._counted: set[Digest] = set()

    async def run(self, pattern: str, *, is_dry: bool) -> Report:
        """Bring all repositories of a pattern, or only say what would come.

        What is broken is in the report; raises StorageFull (507), StorageReadOnly (503), StorageFailed (500),
        DatabaseBusy, DatabaseFull (503): it can be run again, and goes on from there.
        """
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
        repository_id = await self._db.write(lambda tx: find_repository(tx, name))
        if repository_id is None and await find_deletion(self._db, name) is not None:
            reason = f"it was deleted here; `moorage repository add {name}` lets it come"
            self.report.keep(Problem(name, "repository", reason))
            return
        here = Here() if repository_id is None else await self._look(repository_id, found)
        find_size = partial(self._find_size, found)
        plan = await in_thread(self._threads, make_plan, found, here, self._read, find_size)
        self._tell(found, here, plan)
        self.progress.manifests_total = len(plan.manifests)
        if is_dry:
            self._count(found, plan)
        else:
            await self._bring(name, found, plan)

    async def _look(self, repository_id: int, found: FoundRepository) -> Here:
        manifests: set[Digest] = set()
        trashed: set[Digest] = set()
        after = ""
        while some := await manifest_rows.list_digests(self._db, repository_id, after, _READ_AT_ONCE):
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

    def _find_size(self, found: FoundRepository, digest: Digest) -> int | None:
        target = found.layers.get(digest)
        return None if target is None else self._source.find_size(target)

    def _count(self, found: FoundRepository, plan: Plan) -> None:
        """What would come, each blob once."""
        report = self.report
        report.repositories += bool(plan.manifests or plan.tags)
        report.manifests += len(plan.manifests)
        report.tags += len(plan.tags)
        for wanted in _blobs_of(found, plan, list(plan.manifests)):
            if wanted.target in self._counted:
                continue
            self._counted.add(wanted.target)
            size = self._source.find_size(wanted.target) or 0
            report.blobs += 1
            report.bytes += size
            if not report.means:
                self._means = self._adopting.probe(self._source.path_of(wanted.target))
            report.means[self._means] = report.means.get(self._means, 0) + size

    async def _bring(self, name: RepositoryName, found: FoundRepository, plan: Plan) -> None:
        self.report.repositories += bool(plan.manifests or plan.tags)
        tagged = {digest for digest, _ in found.tags.values()}
        tags_of: dict[Digest, list[str]] = {}
        for tag, digest in plan.tags.items():
            tags_of.setdefault(digest, []).append(tag)
        for digests in _several(plan.manifests, _MANIFESTS_AT_ONCE):
            lost = await self._bring_blobs(name, found, plan, digests)
            times = {
                digest: found.revisions[digest] if digest in tagged else now_ms() for digest in digests
            }
            brought = await self._bring_manifests(name, times, lost)
            await self._move_tags(name, found, {tag: d for d in brought for tag in tags_of.pop(d, [])})
            self.progress.manifests += len(digests)
        left = {tag: digest for digest, tags in tags_of.items() for tag in tags}
        known = {tag: digest for tag, digest in left.items() if digest not in plan.manifests}
        await self._move_tags(name, found, known)
        for tag in left.keys() - known.keys():
            self.report.skip(Problem(name, f"tag {tag}", f"its manifest {left[tag]} could not be brought"))

    async def _bring_blobs(
        self, name: RepositoryName, found: FoundRepository, plan: Plan, digests: Sequence[Digest]
    ) -> dict[Digest, str]:
        """The files and rows of some manifests' blobs; those that cannot be had, and why."""
        wanted = _blobs_of(found, plan, digests)
        held = await self._db.write(lambda tx: _find_held(tx, name, [each.digest for each in wanted]))
        ahead = [each for each in wanted if each.digest not in held]
        lost: dict[Digest, str] = {}
        while ahead:
            some, ahead = ahead[:_BLOBS_AT_ONCE], ahead[_BLOBS_AT_ONCE:]
            self._store.check_writable()
            blobs = [blob for each in some if (blob := await self._adopt(each, lost)) is not None]
            new = [blob for blob in blobs if blob.means is not None]
            await in_thread(self._threads, self._adopting.settle, [blob.digest for blob in new])
            late = await self._db.write(lambda tx, blobs=blobs: _record_blobs(tx, name, blobs))
            ahead += [each for each in some if each.target in late]
            self._count_brought([blob for blob in new if blob.digest not in late])
        return lost

    async def _adopt(self, wanted: _Wanted, lost: dict[Digest, str]) -> _Ready | None:
        """A blob's file, unless it is here; None when it cannot be had, which `lost` then says."""
        generation, is_live = await blob_rows.find_generation(self._db, wanted.target)
        try:
            size = self._source.find_size(wanted.target)
            if is_live and size is not None and self._store.blob_size(wanted.target, generation) == size:
                return _Ready(wanted.target, None, size, generation, None)
            adopt = partial(self._adopting.adopt, with_sha512=algorithm_of(wanted.digest) != SHA256)
            path = self._source.path_of(wanted.target)
            return _Ready(*await in_thread(self._threads, adopt, path, wanted.target, generation + 1))
        except ContentBroken as broken:
            lost[wanted.digest] = f"its blob {wanted.digest}: {broken}"
            return None

    def _count_brought(self, blobs: Sequence[_Ready]) -> None:
        for blob in blobs:
            self.report.blobs += 1
            self.report.bytes += blob.size
            self.progress.bytes += blob.size
            if blob.means is not None:
                self.report.means[blob.means] = self.report.means.get(blob.means, 0) + blob.size

    async def _bring_manifests(
        self, name: RepositoryName, times: dict[Digest, int], lost: dict[Digest, str]
    ) -> list[Digest]:
        """Store manifests, children first; those that are here now."""
        read = await in_thread(self._threads, self._read_all, list(times))

        def work(tx: Transaction) -> dict[Digest, str | None]:
            repository_id = ensure_repository(tx, name)
            outcomes: dict[Digest, str | None] = {}
            for digest, at in times.items():
                content = read[digest]
                if isinstance(content, str):
                    outcomes[digest] = content
                    continue
                try:
                    keep_manifest(tx, repository_id, name, *content, digest, _IMPORT, at)
                    outcomes[digest] = None
                except ManifestBlobUnknown as refusal:
                    outcomes[digest] = _say_missing(refusal, lost)
                except ManifestInvalid as refusal:
                    outcomes[digest] = str(refusal.detail.get("reason", refusal))
            brought = sum(reason is None for reason in outcomes.values())
            record(tx, _OPERATOR, "import", name, detail=f"{brought} manifests")
            return outcomes

        outcomes = await self._db.write(work)
        for digest, reason in outcomes.items():
            if reason is not None:
                self.report.skip(Problem(name, f"manifest {digest}", reason))
        brought = [digest for digest, reason in outcomes.items() if reason is None]
        self.report.manifests += len(brought)
        return brought

    def _read_all(self, digests: Sequence[Digest]) -> dict[Digest, tuple[Manifest, bytes] | str]:
        """Manifests as they lie there now, or why they cannot be read: the other registry goes on."""
        read: dict[Digest, tuple[Manifest, bytes] | str] = {}
        for digest in digests:
            try:
                payload = read_manifest(digest, self._read)
                read[digest] = parse_manifest(payload, None), payload
            except (ContentBroken, ManifestInvalid) as refusal:
                read[digest] = str(refusal)
        return read

    async def _move_tags(
        self, name: RepositoryName, found: FoundRepository, tags: Mapping[str, Digest]
    ) -> None:
        """Point tags to manifests that are here, unless someone has moved them meanwhile."""
        for some in _several(tags, _TAGS_AT_ONCE):
            moved, kept = await self._db.write(
                lambda tx, some=some: _move(tx, name, {tag: (tags[tag], found.tags[tag].at) for tag in some})  # type: ignore[misc]
            )
            self.report.tags += moved
            for tag, reason in kept:
                self.report.keep(Problem(name, f"tag {tag}", reason))


def _say_missing(refusal: ManifestBlobUnknown, lost: Mapping[Digest, str]) -> str:
    missing = [str(each["digest"]) for each in (entry["detail"] for entry in refusal.entries)]  # type: ignore[index]
    return next((lost[Digest(each)] for each in missing if each in lost), f"{missing[0]} is not here")


def _move(
    tx: Transaction, name: RepositoryName, tags: Mapping[str, tuple[Digest, int]]
) -> tuple[int, list[tuple[str, str]]]:
    """How many were moved; those that stay, and why."""
    repository_id = ensure_repository(tx, name)
    held = manifest_rows.find_held(tx, repository_id, [digest for digest, _ in tags.values()])
    moved, kept = 0, []
    for tag, (digest, at) in tags.items():
        target = held.get(digest)
        reason = judge_tag(tag_rows.find_state(tx, repository_id, tag), target.digest if target else digest)
        if target is None:
            kept.append((tag, f"its manifest {digest} was deleted here"))
        elif reason:
            kept.append((tag, reason))
        elif reason is None:
            algorithm = algorithm_of(digest)
            tag_rows.move(
                tx, repository_id, Tag(tag), target.row_id, target.digest, algorithm, IMPORTED_BY, at
            )
            moved += 1
    record(tx, _OPERATOR, "import", name, detail=f"{moved} tags")
    return moved, kept


def _record_blobs(tx: Transaction, name: RepositoryName, blobs: Sequence[_Ready]) -> set[Digest]:
    """Rows live, linked and leased; those for which a later generation is needed."""
    repository_id = ensure_repository(tx, name)
    late = set()
    for blob in blobs:
        if blob_rows.make_live(tx, blob.digest, blob.sha512, blob.size, blob.generation):
            blob_rows.link(tx, repository_id, blob.digest, "uploaded")
        else:
            late.add(blob.digest)
    return late


def _find_held(tx: Transaction, name: RepositoryName, digests: Sequence[Digest]) -> set[Digest]:
    repository_id = find_repository(tx, name)
    return set() if repository_id is None else set(blob_rows.find_held(tx, repository_id, digests))


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
