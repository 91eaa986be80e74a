"""Pushing the images of an archive, by the use cases that a client's push goes through."""

from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field

from moorage.database import Database
from moorage.errors import ManifestInvalid
from moorage.oci import media_types
from moorage.oci.descriptor import Descriptor
from moorage.oci.digest import Digest, algorithm_of, digest_of
from moorage.oci.manifest import Kind, Manifest, parse_manifest
from moorage.oci.names import RepositoryName, Tag
from moorage.records.audit.rows import Actor
from moorage.registry.blobs.linking import hold_blobs
from moorage.registry.blobs.store import BlobStore
from moorage.registry.manifests.pushing import push_manifest
from moorage.registry.manifests.rows import find_by_digest, find_by_tag
from moorage.registry.uploads.uploading import Chunk, Uploads
from moorage.threads import in_thread
from moorage.transfer.images import docker_archive, layout
from moorage.transfer.images.archive import Archive, ArchiveRefused
from moorage.transfer.images.docker_archive import SavedImage
from moorage.transfer.images.naming import Named, Placed, place
from moorage.transfer.images.packing import DOCKER, PackedLayer, write_manifest

_OPERATOR = Actor("operator", "local")
_MANIFESTS_MAX = 10_000


@dataclass(slots=True)
class Brought:
    """What came: each image by repository, tag and digest; counts of what was new with it.

    `was` is the sha256 digest of what a tag named before, if it was there.
    """

    images: list[dict[str, str | None]] = field(default_factory=list)
    manifests: int = 0
    blobs: int = 0
    bytes: int = 0
    now: str = ""
    """What it is at, for whoever shows it."""


class Bringing:
    """One archive on its way in."""

    def __init__(
        self,
        db: Database,
        store: BlobStore,
        uploads: Uploads,
        threads: Executor,
        archive: Archive,
        manifest_max_bytes: int,
        lease_ms: int,
    ) -> None:
        self._db = db
        self._store = store
        self._uploads = uploads
        self._threads = threads
        self._archive = archive
        self._manifest_max_bytes = manifest_max_bytes
        self._lease_ms = lease_ms
        self._packed: dict[tuple[RepositoryName, SavedImage], bytes] = {}
        self.brought = Brought()

    async def bring_layout(self, target: str | None) -> Brought:
        """Push what an OCI layout names. Raises ArchiveRefused, and what a push raises."""
        for image in place(layout.read_layout(self._archive), target):
            await self._push(image)
        return self.brought

    async def bring_saved(self, target: str | None) -> Brought:
        """Push what `docker save` wrote: of newer ones the layout within, byte for byte."""
        if layout.is_layout(self._archive):
            return await self.bring_layout(target)
        saved = {digest_of(each.config.encode()): each for each in docker_archive.read_saved(self._archive)}
        named = [
            Named(Descriptor(media_types.DOCKER_MANIFEST, key, 0), name)
            for key, image in saved.items()
            for name in image.names or ("",)
        ]
        for placed in place(named, target):
            await self._push_saved(saved[placed.root.digest], placed)
        return self.brought

    # a layout's images

    async def _push(self, image: Placed) -> None:
        self.brought.now = f"{image.repository}:{image.tag}" if image.tag else image.repository
        order = self._find_manifests(image.root)
        for digest, media_type in order:
            manifest, payload = self._read_manifest(digest, media_type)
            await self._push_blobs(image.repository, manifest, {each for each, _ in order})
            if digest == image.root.digest:
                await self._push_image(image.repository, payload, manifest.media_type, digest, image.tag)
            else:
                await self._push_manifest(image.repository, payload, manifest.media_type, digest, [])

    def _find_manifests(self, root: Descriptor) -> list[tuple[Digest, str]]:
        """The manifests below one, and it, children first, each once."""
        order: dict[Digest, str] = {}
        seen: set[Digest] = set()
        ahead = [(root.digest, root.media_type, False)]
        while ahead:
            digest, media_type, is_after_children = ahead.pop()
            if is_after_children:
                order[digest] = media_type
                continue
            if digest in seen:
                continue
            seen.add(digest)
            if len(seen) > _MANIFESTS_MAX:
                raise ArchiveRefused(f"an image of the archive has more than {_MANIFESTS_MAX} manifests")
            manifest, _ = self._read_manifest(digest, media_type)
            ahead.append((digest, media_type, True))
            for each in manifest.references:
                target = each.target
                is_manifest = each.kind is Kind.MANIFEST and target.media_type in media_types.MANIFESTS
                if is_manifest and self._archive.find(layout.path_of(target.digest)) is not None:
                    ahead.append((target.digest, target.media_type, False))
        return list(order.items())

    def _read_manifest(self, digest: Digest, media_type: str) -> tuple[Manifest, bytes]:
        payload = self._archive.read(layout.path_of(digest), self._manifest_max_bytes)
        if digest_of(payload, algorithm_of(digest)) != digest:
            raise ArchiveRefused(f"{digest} in the archive has other bytes than its name says")
        try:
            return parse_manifest(
                payload, media_type if media_type in media_types.MANIFESTS else None
            ), payload
        except ManifestInvalid as refusal:
            reason = refusal.detail.get("reason", refusal)
            raise ArchiveRefused(f"{digest} in the archive is no manifest: {reason}") from refusal

    async def _push_blobs(
        self, repository: RepositoryName, manifest: Manifest, manifests: set[Digest]
    ) -> None:
        """The blobs that the repository does not have, in their order in the archive."""
        wanted = {each.target.digest for each in manifest.references} - manifests
        held = await hold_blobs(self._db, repository, list(wanted), self._lease_ms)
        found = [
            (member.position, member.size, digest)
            for digest in wanted - held
            if (member := self._archive.find(layout.path_of(digest))) is not None
        ]
        for _, size, digest in sorted(found):
            pieces = self._archive.pieces(layout.path_of(digest))
            await self._push_blob(repository, pieces, size, lambda digest=digest: digest)  # type: ignore[misc]

    async def _push_blob(
        self,
        repository: RepositoryName,
        pieces: Iterator[bytes],
        size: int | None,
        name: Callable[[], Digest],
    ) -> int:
        """Push one blob, which `name` names when all of its pieces are read; its size."""
        upload = await self._uploads.begin(repository, str(_OPERATOR))
        try:
            chunk = Chunk(self._flow(pieces), size)
            if size is None:
                await self._uploads.append(repository, upload.id, chunk)
                chunk = Chunk(self._flow(iter(())), 0)
                blob = await self._uploads.finish(repository, upload.id, chunk, name())
            else:
                blob = await self._uploads.finish(repository, upload.id, chunk, name())
        except BaseException:
            await self._uploads.abandon(upload)
            raise
        self.brought.blobs += 1
        self.brought.bytes += blob.size
        return blob.size

    async def _flow(self, pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
        while (piece := await in_thread(self._threads, next, pieces, None)) is not None:
            yield piece

    async def _push_image(
        self, repository: RepositoryName, payload: bytes, media_type: str, digest: Digest, tag: Tag | None
    ) -> None:
        """Push what a tag names, if one does. One that names it already is left as it is."""
        named = None if tag is None else await find_by_tag(self._db, repository, tag)
        is_there = named is not None and named.digest == digest
        tags = [] if tag is None or is_there else [tag]
        await self._push_manifest(repository, payload, media_type, digest, tags)
        was = None if named is None else named.digest
        self.brought.images.append({"repository": repository, "tag": tag, "digest": digest, "was": was})

    async def _push_manifest(
        self, repository: RepositoryName, payload: bytes, media_type: str, digest: Digest, tags: list[Tag]
    ) -> None:
        is_new = await find_by_digest(self._db, repository, digest) is None
        await push_manifest(
            self._db,
            self._store,
            repository,
            payload,
            media_type,
            digest=digest,
            tags=tags,
            pushed_by=_OPERATOR,
        )
        self.brought.manifests += is_new

    # what docker saved

    async def _push_saved(self, image: SavedImage, placed: Placed) -> None:
        repository = placed.repository
        self.brought.now = f"{repository}:{placed.tag}" if placed.tag else repository
        payload = self._packed.get((repository, image))
        if payload is None:
            payload = self._packed[repository, image] = await self._pack(repository, image)
        await self._push_image(
            repository, payload, media_types.DOCKER_MANIFEST, digest_of(payload), placed.tag
        )

    async def _pack(self, repository: RepositoryName, image: SavedImage) -> bytes:
        """Push the layers and the configuration of an image; the manifest that it has then."""
        layers = []
        for name, diff_id in zip(image.layers, image.diff_ids, strict=True):
            packed = PackedLayer(self._archive.pieces(name), name, diff_id)
            size = await self._push_blob(repository, packed.pieces(), None, packed.get_digest)
            layers.append((packed.get_digest(), size))
        config = self._archive.read(image.config, layout.JSON_MAX_BYTES)
        digest = digest_of(config)
        size = await self._push_blob(repository, iter([config]), len(config), lambda: digest)
        return write_manifest(DOCKER, (digest, size), layers)
