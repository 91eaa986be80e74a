"""OCI layouts that images go to: a folder that may hold others, or a new tar made of one in the end."""

import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import Executor
from typing import Any, Protocol

from moorage.errors import ManifestInvalid
from moorage.oci import media_types
from moorage.oci.descriptor import Descriptor
from moorage.oci.digest import Digest, algorithm_of, digest_of, encoded_of, is_digest
from moorage.oci.manifest import Manifest, parse_manifest
from moorage.threads import in_thread
from moorage.transfer.between.archives import MANIFEST_MAX_BYTES
from moorage.transfer.between.ports import Content, CopyRefused, How, OpenBlob
from moorage.transfer.images import docker_archive, layout
from moorage.transfer.images.archive import Archive, Sink

Entry = dict[str, Any]
"""A descriptor in `index.json`, kept as it was read."""


class Partial(Protocol):
    """A blob's file that is not whole yet, and that no one else writes to. Each method raises OSError."""

    size: int

    def read(self) -> Iterable[bytes]:
        """What is there."""
        ...

    def append(self, piece: bytes) -> None:
        """Add to it."""
        ...

    def keep(self) -> None:
        """It is whole: give it its name, durably."""
        ...

    def empty(self) -> None:
        """Throw away what is there."""
        ...

    def close(self) -> None:
        """Let go of it; what is there stays for another time."""
        ...


class WrittenLayout(Archive, Protocol):
    """A layout's folder, for threads. Each method raises OSError and CopyRefused."""

    def read_entries(self) -> list[Entry]:
        """What its index lists."""
        ...

    def write_entries(self, change: Callable[[list[Entry]], list[Entry]]) -> None:
        """Change what its index lists, alone and durably."""
        ...

    def put(self, digest: Digest, payload: bytes) -> None:
        """Write a small blob, durably."""
        ...

    def open_partial(self, digest: Digest) -> Partial:
        """A blob's file that an earlier attempt may have begun."""
        ...

    def tidy(self) -> None:
        """Leave nothing behind that is no layout's, but for what others are writing."""
        ...


class LayoutDestination:
    """A layout's folder."""

    def __init__(self, folder: WrittenLayout, threads: Executor) -> None:
        self._folder = folder
        self._threads = threads

    async def find_manifest(self, reference: str, *, is_listed: bool) -> Digest | None:
        """See `Destination`."""
        entries = self._folder.read_entries() if is_listed else []
        if not is_digest(reference):
            found = [each for each in entries if _name_of(each) == reference]
            return found[0]["digest"] if found else None
        if is_listed and reference not in {each["digest"] for each in entries}:
            return None
        return Digest(reference) if self._is_whole(Digest(reference)) else None

    async def has_blob(self, target: Descriptor) -> bool:
        """See `Destination`."""
        member = self._folder.find(layout.path_of(target.digest))
        return member is not None and member.size == target.size

    async def put_blob(self, target: Descriptor, read: OpenBlob, moved: Callable[[int], None]) -> How:
        """See `Destination`."""
        opened: list[Partial] = []

        def open_it() -> None:
            opened.append(self._folder.open_partial(target.digest))

        try:
            # whoever is cancelled meanwhile still has to close it
            await in_thread(self._threads, open_it)
            partial = opened[0]
            while not await self._fill(partial, target, read, moved):
                # what an earlier attempt left is not what it should be
                await in_thread(self._threads, partial.empty)
            await in_thread(self._threads, partial.keep)
        finally:
            for each in opened:
                each.close()
        return "sent"

    async def put_manifest(self, content: Content, tag: str | None, *, is_listed: bool) -> None:
        """See `Destination`."""
        await in_thread(self._threads, self._folder.put, content.digest, content.payload)
        if tag is None and not is_listed:
            return
        entry: Entry = {
            "mediaType": content.media_type,
            "digest": content.digest,
            "size": len(content.payload),
        }
        if tag is not None:
            entry["annotations"] = {layout.REF_NAME: tag}
        await in_thread(self._threads, self._folder.write_entries, lambda entries: _add(entries, entry))

    async def finish(self) -> None:
        """See `Destination`."""
        await in_thread(self._threads, self._folder.tidy)

    async def _fill(
        self, partial: Partial, target: Descriptor, read: OpenBlob, moved: Callable[[int], None]
    ) -> bool:
        """Bring what is missing; False when an earlier part of it was wrong. Raises CopyRefused."""
        began_at = partial.size
        hasher = hashlib.new(algorithm_of(target.digest), usedforsecurity=False)
        await in_thread(self._threads, _hash_all, hasher.update, partial.read())
        try:
            if began_at < target.size or not began_at:
                async with read(began_at) as pieces:
                    await self._take(partial, pieces, hasher.update if began_at else None, moved)
        except CopyRefused:
            if partial.size >= target.size:
                await in_thread(self._threads, partial.empty)
            raise
        if not began_at:
            # what came from its first byte on was compared with its digest by whoever read it
            return True
        return partial.size == target.size and hasher.hexdigest() == encoded_of(target.digest)

    async def _take(
        self,
        partial: Partial,
        pieces: AsyncIterator[bytes],
        note: Callable[[bytes], None] | None,
        moved: Callable[[int], None],
    ) -> None:
        def write(piece: bytes) -> None:
            partial.append(piece)
            if note is not None:
                note(piece)

        async for piece in pieces:
            await in_thread(self._threads, write, piece)
            moved(len(piece))

    def _is_whole(self, digest: Digest) -> bool:
        """Whether a manifest is there, with its own bytes."""
        name = layout.path_of(digest)
        member = self._folder.find(name)
        if member is None or member.size > MANIFEST_MAX_BYTES:
            return False
        return digest_of(self._folder.read(name, MANIFEST_MAX_BYTES), algorithm_of(digest)) == digest


class TarDestination(LayoutDestination):
    """A new tar, written in the end from a folder beside it, which an interrupted copy leaves to the next.

    `names_docker`: what docker is to call the image, which makes it something that `docker load` reads.
    """

    def __init__(
        self,
        folder: WrittenLayout,
        threads: Executor,
        open_sink: Callable[[], Sink],
        remove_folder: Callable[[], None],
        names_docker: str | None = None,
    ) -> None:
        super().__init__(folder, threads)
        self._open_sink = open_sink
        self._remove_folder = remove_folder
        self._names_docker = names_docker
        folder.write_entries(lambda _: [])

    async def finish(self) -> None:
        """See `Destination`."""
        await in_thread(self._threads, self._write)

    def _write(self) -> None:
        entries = self._folder.read_entries()
        manifests, blobs = self._gather(entries)
        files = {layout.MARK: layout.MARK_CONTENT}
        if self._names_docker is not None:
            root = manifests[entries[0]["digest"]]
            files[docker_archive.MANIFEST] = json.dumps([_describe_saved(root, self._names_docker)]).encode()
            entries = [_name_for_docker(each, self._names_docker) for each in entries]
        index = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": entries}
        files[layout.INDEX] = json.dumps(index).encode()
        sink = self._open_sink()
        try:
            for digest in (*blobs, *manifests):
                self._add(sink, digest)
            for name, content in files.items():
                sink.add(name, len(content), _reader(iter([content])))
            sink.finish()
        except BaseException:
            sink.discard()
            raise
        self._remove_folder()

    def _gather(self, entries: Iterable[Entry]) -> tuple[dict[Digest, Manifest], dict[Digest, None]]:
        """All manifests that entries lead to, and all blobs."""
        manifests: dict[Digest, Manifest] = {}
        blobs: dict[Digest, None] = {}
        ahead = [(Digest(each["digest"]), each["mediaType"]) for each in entries]
        while ahead:
            digest, media_type = ahead.pop()
            if digest in manifests:
                continue
            payload = self._folder.read(layout.path_of(digest), MANIFEST_MAX_BYTES)
            try:
                manifest = manifests[digest] = parse_manifest(payload, media_type)
            except ManifestInvalid as refusal:
                raise CopyRefused(f"{digest} is no manifest: {refusal}") from refusal
            for each in manifest.references:
                target = each.target
                if target.media_type in media_types.MANIFESTS:
                    ahead.append((target.digest, target.media_type))
                elif self._folder.find(layout.path_of(target.digest)) is not None:
                    blobs[target.digest] = None
        return manifests, blobs

    def _add(self, sink: Sink, digest: Digest) -> None:
        name = layout.path_of(digest)
        member = self._folder.find(name)
        assert member is not None  # noqa: S101 - it was found, and no one else has this folder
        sink.add(name, member.size, _reader(self._folder.pieces(name)))


def _reader(pieces: Iterable[bytes]) -> Callable[[int], bytes]:
    """Reads what pieces give, so many bytes at a time at most."""
    source = iter(pieces)
    held = b""

    def read(size: int) -> bytes:
        nonlocal held
        held = held or next(source, b"")
        piece, held = held[:size], held[size:]
        return piece

    return read


def _hash_all(note: Callable[[bytes], None], pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        note(piece)


def _name_of(entry: Entry) -> str | None:
    annotations = entry.get("annotations")
    return annotations.get(layout.REF_NAME) if isinstance(annotations, dict) else None


def _add(entries: list[Entry], entry: Entry) -> list[Entry]:
    """A name goes to one image at a time; an image without a name is listed once."""
    name, digest = _name_of(entry), entry["digest"]
    kept = [each for each in entries if name is None or _name_of(each) != name]
    if name is None and any(each["digest"] == digest for each in kept):
        return kept
    return [each for each in kept if each["digest"] != digest or _name_of(each) is not None] + [entry]


def _name_for_docker(entry: Entry, name: str) -> Entry:
    return entry | {"annotations": {layout.REF_NAME: name.rpartition(":")[2], layout.FULL_NAME: name}}


def _describe_saved(manifest: Manifest, name: str) -> dict[str, object]:
    """As docker lists it. Raises CopyRefused for what is no image that runs."""
    if manifest.is_index or manifest.references[0].target.media_type not in docker_archive.CONFIG_TYPES:
        raise CopyRefused("this is no image that docker can load: copy it to an OCI layout, oci:PATH")
    config, *layers = manifest.references
    return {
        "Config": layout.path_of(config.target.digest),
        "RepoTags": [name],
        "Layers": [layout.path_of(layer.target.digest) for layer in layers],
    }
