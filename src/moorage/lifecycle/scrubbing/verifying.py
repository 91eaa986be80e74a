"""One image read again, end to end: its index, the manifests below, their configs and layers."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import msgspec

from moorage.database import Database
from moorage.errors import ManifestUnknown
from moorage.lifecycle.progress import Progress
from moorage.lifecycle.scrubbing import rows
from moorage.lifecycle.scrubbing.reading import BlobReader
from moorage.lifecycle.scrubbing.rows import ManifestRow, Target
from moorage.oci import media_types
from moorage.oci.digest import Digest, encoded_of
from moorage.registry.blobs.rows import Blob
from moorage.registry.blobs.store import BlobStore
from moorage.registry.blobs.withdrawing import withdraw

_REFERRERS_MAX = 1000


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with one part of an image."""

    digest: str
    kind: str
    finding: str


class Referrer(msgspec.Struct, frozen=True):
    """A manifest that speaks of the image: a signature, an SBOM."""

    digest: str
    type: str


class Verified(msgspec.Struct):
    """What was read of an image. Without faults every byte of it is as it was pushed."""

    repository: str
    reference: str
    digests: list[str]
    manifests: int = 0
    blobs: int = 0
    bytes: int = 0
    faults: list[Fault] = []
    absent: list[str] = []
    """Layers that the registry does not hold, and took the manifest without: foreign ones."""
    not_here: list[str] = []
    """Of a mirrored image: what was not fetched yet, and is when someone asks for it."""
    referrers: list[Referrer] = []


class Verifier:
    """Reads images of one store."""

    def __init__(self, db: Database, store: BlobStore) -> None:
        self._db = db
        self._store = store

    async def verify(self, repository: str, reference: str | None, progress: Progress) -> Verified:
        """Read an image by tag or digest, or all tagged images of a repository.

        What is damaged is withdrawn, so that a push brings it back. Raises ManifestUnknown (404).
        """
        threads = ThreadPoolExecutor(1, thread_name_prefix="verify")
        try:
            roots = await self._roots(repository, reference)
            found = Verified(
                repository, reference or "", [*roots], faults=[], absent=[], not_here=[], referrers=[]
            )
            walk = _Walk(self._db, self._store, BlobReader(self._store, threads, None), progress, found)
            for root in roots:
                await walk.manifest(root)
        finally:
            threads.shutdown(wait=False)
        return found

    async def _roots(self, repository: str, reference: str | None) -> list[Digest]:
        if reference is not None and ":" in reference:
            manifest = await rows.find_manifest(self._db, repository, reference)
            roots = [] if manifest is None else [manifest.digest]
        else:
            roots = [digest for _, digest in await rows.list_tagged(self._db, repository, reference)]
        if not roots:
            raise ManifestUnknown(name=repository, reference=(reference or "")[:200])
        return list(dict.fromkeys(roots))


class _Walk:
    def __init__(
        self, db: Database, store: BlobStore, reader: BlobReader, progress: Progress, found: Verified
    ) -> None:
        self._db = db
        self._store = store
        self._reader = reader
        self._progress = progress
        self._found = found
        self._seen: set[Digest] = set()
        self._is_mirrored = False

    async def manifest(self, root: Digest) -> None:
        """A manifest and all below it, each digest once."""
        waiting = [root]
        while waiting:
            digest = waiting.pop()
            if digest in self._seen:
                continue
            self._seen.add(digest)
            manifest = await rows.find_manifest(self._db, self._found.repository, digest)
            if manifest is None:
                self._lack(digest, "manifest")
                continue
            self._is_mirrored = bool(manifest.is_mirrored)
            waiting += await self._take(manifest)

    async def _take(self, manifest: ManifestRow) -> list[Digest]:
        """One manifest and its blobs; the manifests that it lists."""
        found = self._found
        found.manifests += 1
        found.bytes += len(manifest.payload)
        if hashlib.sha256(manifest.payload).hexdigest() != encoded_of(manifest.digest):
            self._fault(manifest.digest, "manifest", "wrong bytes")
        referrers = await rows.list_referrers(self._db, found.repository, manifest.digest, _REFERRERS_MAX)
        found.referrers += [Referrer(digest, kind) for digest, kind in referrers]
        targets = await rows.list_targets(self._db, manifest.row_id)
        for target in targets:
            if not target.is_manifest and target.digest not in self._seen:
                self._seen.add(target.digest)
                await self._blob(target, _is_foreign(manifest, target))
        return [target.digest for target in targets if target.is_manifest]

    async def _blob(self, target: Target, is_foreign: bool) -> None:  # noqa: FBT001 - of the layer
        if target.state is None and is_foreign:
            self._found.absent.append(target.digest)
            return
        if target.state is None:
            self._lack(target.digest, target.kind)
            return
        if target.state != "live":
            self._fault(target.digest, target.kind, "damaged")
            return
        blob = Blob(target.digest, None, target.size, target.generation)
        finding = await self._reader.look_at(blob, self._tell)
        self._found.blobs += 1
        if finding == "whole":
            return
        self._fault(target.digest, target.kind, finding)
        if finding != "unreadable":
            await withdraw(self._db, self._store, blob, finding)

    def _lack(self, digest: str, kind: str) -> None:
        if self._is_mirrored:
            self._found.not_here.append(digest)
        else:
            self._fault(digest, kind, "missing")

    def _fault(self, digest: str, kind: str, finding: str) -> None:
        self._found.faults.append(Fault(digest, kind, finding))

    async def _tell(self, length: int) -> None:
        self._found.bytes += length
        await self._progress.say(self._found.bytes, None, "bytes")


class _Layer(msgspec.Struct):
    digest: str
    media_type: str = msgspec.field(default="", name="mediaType")


class _Image(msgspec.Struct):
    layers: list[_Layer] = []


def _is_foreign(manifest: ManifestRow, target: Target) -> bool:
    """Whether it is a layer that the registry takes a manifest without."""
    if target.kind != "layer":
        return False
    try:
        layers = msgspec.json.decode(manifest.payload, type=_Image).layers
    except msgspec.DecodeError:
        return False
    return any(each.digest == target.digest and media_types.is_foreign(each.media_type) for each in layers)
