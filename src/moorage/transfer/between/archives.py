"""Archives that images come from: OCI layouts, and what `docker save` wrote."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from moorage.errors import ManifestInvalid
from moorage.oci import media_types
from moorage.oci.descriptor import Descriptor
from moorage.oci.digest import Digest, algorithm_of, digest_of, is_digest
from moorage.oci.manifest import parse_manifest
from moorage.threads import in_thread
from moorage.transfer.between.ports import Absent, Content, CopyRefused
from moorage.transfer.images import docker_archive, layout
from moorage.transfer.images.archive import Archive, ArchiveRefused
from moorage.transfer.images.docker_archive import SavedImage
from moorage.transfer.images.naming import find_tag, is_beside
from moorage.transfer.images.packing import OCI, PackedLayer, write_manifest

MANIFEST_MAX_BYTES = 4 * 1024 * 1024


class ArchiveReader:
    """Reads an archive in threads, by one at a time, as its port demands.

    `is_sequential`: it can only be read from its front, so that blobs come one after the other.
    """

    def __init__(self, archive: Archive, threads: Executor, *, is_sequential: bool) -> None:
        self.archive = archive
        self._threads = threads
        self._each_blob = asyncio.Semaphore(1 if is_sequential else 1_000)
        self._each_piece = asyncio.Lock()

    @asynccontextmanager
    async def open(self, pieces: Iterator[bytes], offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """What an iterator gives from an offset on. Raises CopyRefused, also on the way."""
        async with self._each_blob:
            yield self._flow(pieces, offset)

    async def _flow(self, pieces: Iterator[bytes], offset: int) -> AsyncIterator[bytes]:
        try:
            while (piece := await self._next(pieces)) is not None:
                if rest := piece[offset:]:
                    yield rest
                offset = max(offset - len(piece), 0)
        except ArchiveRefused as refusal:
            raise CopyRefused(str(refusal)) from refusal

    async def _next(self, pieces: Iterator[bytes]) -> bytes | None:
        async with self._each_piece:
            return await in_thread(self._threads, next, pieces, None)


class LayoutSource:
    """An OCI layout, a folder or a tar of it."""

    def __init__(self, reader: ArchiveReader, name: str) -> None:
        """Read what it names. Raises CopyRefused."""
        self._reader = reader
        self._name = name
        try:
            self._named = layout.read_layout(reader.archive)
        except ArchiveRefused as refusal:
            raise CopyRefused(f"{name}: {refusal}") from refusal
        self._subjects: dict[Digest, list[Descriptor]] | None = None

    async def list_tags(self) -> list[str]:
        """See `Source`."""
        return list(dict.fromkeys(tag for _, name in self._named if (tag := find_tag(name)) is not None))

    async def get_manifest(self, reference: str) -> Content:
        """See `Source`."""
        if is_digest(reference):
            return self._read(Digest(reference))
        found = self._choose(reference)
        return self._read(found.digest, found.media_type)

    async def list_referrers(self, subject: Digest) -> list[Descriptor]:
        """See `Source`; of what stands in its index for itself."""
        if self._subjects is None:
            self._subjects = self._read_subjects()
        return self._subjects.get(subject, [])

    def open_blob(self, target: Descriptor, offset: int) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """See `Source`."""
        name = layout.path_of(target.digest)
        if self._reader.archive.find(name) is None:
            raise Absent(f"{self._name} has no {target.digest}")
        return self._reader.open(self._reader.archive.pieces(name), offset)

    def position_of(self, target: Descriptor) -> int:
        """See `Source`."""
        member = self._reader.archive.find(layout.path_of(target.digest))
        return 0 if member is None else member.position

    def _choose(self, reference: str) -> Descriptor:
        """What a name or tag names; "" the only image."""
        if reference:
            exact = {root.digest: root for root, name in self._named if name == reference}
            tagged = {root.digest: root for root, name in self._named if find_tag(name) == reference}
            found = exact or tagged
        else:
            named = {root.digest: root for root, name in self._named if name and not is_beside(name)}
            found = named or {root.digest: root for root, _ in self._named}
        if len(found) == 1:
            return next(iter(found.values()))
        names = ", ".join(name for _, name in self._named if name and not is_beside(name)) or "none by name"
        if not found:
            raise Absent(f"{self._name} has no {reference or 'image'}; it has {names}")
        what = f"several images called {reference}" if reference else "several images"
        raise CopyRefused(f"{self._name} has {what}: name one, as oci:PATH:TAG; it has {names}")

    def _read(self, digest: Digest, media_type: str | None = None) -> Content:
        name = layout.path_of(digest)
        if self._reader.archive.find(name) is None:
            raise Absent(f"{self._name} has no {digest}")
        try:
            payload = self._reader.archive.read(name, MANIFEST_MAX_BYTES)
        except ArchiveRefused as refusal:
            raise CopyRefused(f"{self._name}: {refusal}") from refusal
        if digest_of(payload, algorithm_of(digest)) != digest:
            raise CopyRefused(f"{self._name}: {digest} has other bytes than its name says")
        if media_type not in media_types.MANIFESTS:
            try:
                media_type = parse_manifest(payload, None).media_type
            except ManifestInvalid as refusal:
                raise CopyRefused(f"{self._name}: {digest} is no manifest: {refusal}") from refusal
        return Content(digest, media_type, payload)

    def _read_subjects(self) -> dict[Digest, list[Descriptor]]:
        subjects: dict[Digest, list[Descriptor]] = {}
        for root in {root.digest: root for root, _ in self._named}.values():
            content = self._read(root.digest, root.media_type)
            try:
                subject = parse_manifest(content.payload, content.media_type).subject
            except ManifestInvalid:
                continue
            if subject is not None:
                subjects.setdefault(subject.digest, []).append(root)
        return subjects


class SavedSource:
    """What `docker save` wrote before it wrote layouts: its layers are packed by gzip on the way.

    A layer is packed once to learn its digest and again to be sent: nothing of it is kept. The media types
    are OCI's, as other programs want them in a layout.
    """

    def __init__(self, reader: ArchiveReader, name: str) -> None:
        """Read what it holds. Raises CopyRefused."""
        self._reader = reader
        self._name = name
        try:
            self._images = docker_archive.read_saved(reader.archive)
        except ArchiveRefused as refusal:
            raise CopyRefused(f"{name}: {refusal}") from refusal
        self._packed: dict[SavedImage, Content] = {}
        self._layers: dict[Digest, tuple[str, Digest] | str] = {}
        """By its digest: a layer's name and diff id, or a config's name."""

    async def list_tags(self) -> list[str]:
        """See `Source`."""
        tags = [find_tag(name) for image in self._images for name in image.names]
        return list(dict.fromkeys(tag for tag in tags if tag is not None))

    async def get_manifest(self, reference: str) -> Content:
        """See `Source`."""
        if is_digest(reference):
            known = [each for each in self._packed.values() if each.digest == reference]
            if not known:
                raise Absent(f"{self._name} names its images by no digest")
            return known[0]
        image = self._choose(reference)
        if image not in self._packed:
            try:
                self._packed[image] = await self._pack(image)
            except ArchiveRefused as refusal:
                raise CopyRefused(f"{self._name}: {refusal}") from refusal
        return self._packed[image]

    async def list_referrers(self, subject: Digest) -> list[Descriptor]:  # noqa: ARG002 - the port's
        """See `Source`: there are none."""
        return []

    def open_blob(self, target: Descriptor, offset: int) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """See `Source`."""
        layer = self._layers.get(target.digest)
        if layer is None:
            raise Absent(f"{self._name} has no {target.digest}")
        archive = self._reader.archive
        pieces = archive.pieces(layer) if isinstance(layer, str) else self._pieces(*layer).pieces()
        return self._reader.open(pieces, offset)

    def position_of(self, target: Descriptor) -> int:
        """See `Source`."""
        layer = self._layers.get(target.digest, "")
        member = self._reader.archive.find(layer if isinstance(layer, str) else layer[0])
        return 0 if member is None else member.position

    def _choose(self, reference: str) -> SavedImage:
        def is_meant(name: str) -> bool:
            return reference in {name, find_tag(name)}

        found = [each for each in self._images if not reference or any(map(is_meant, each.names))]
        if len({each.config for each in found}) == 1:
            return found[0]
        names = ", ".join(name for image in self._images for name in image.names) or "none by name"
        if not found:
            raise Absent(f"{self._name} has no {reference}; it has {names}")
        raise CopyRefused(
            f"{self._name} has several images: name one, as docker-archive:PATH:NAME:TAG; it has {names}"
        )

    async def _pack(self, image: SavedImage) -> Content:
        layers: list[tuple[Digest, int]] = []
        for name, diff_id in zip(image.layers, image.diff_ids, strict=True):
            packed, size = self._pieces(name, diff_id), 0
            async with self._reader.open(packed.pieces(), 0) as pieces:
                async for piece in pieces:
                    size += len(piece)
            layers.append((packed.get_digest(), size))
            self._layers[packed.get_digest()] = (name, diff_id)
        config = self._reader.archive.read(image.config, layout.JSON_MAX_BYTES)
        self._layers[digest_of(config)] = image.config
        payload = write_manifest(OCI, (digest_of(config), len(config)), layers)
        return Content(digest_of(payload), OCI.manifest, payload)

    def _pieces(self, name: str, diff_id: Digest) -> PackedLayer:
        return PackedLayer(self._reader.archive.pieces(name), name, diff_id)


def open_saved(reader: ArchiveReader, name: str) -> LayoutSource | SavedSource:
    """What `docker save` wrote; newer ones write a layout, whose bytes are taken as they are."""
    return LayoutSource(reader, name) if layout.is_layout(reader.archive) else SavedSource(reader, name)
