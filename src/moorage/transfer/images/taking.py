"""Taking images away: an OCI layout of them, with all that belongs to each, or what `docker load` reads."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from io import BytesIO
from typing import NamedTuple

from moorage.database import Database
from moorage.errors import BlobUnknown, ContentDamaged
from moorage.identity.access.patterns import is_match
from moorage.oci import media_types
from moorage.oci.digest import Digest, algorithm_of, encoded_of, is_digest
from moorage.oci.manifest import Kind, Manifest, parse_manifest
from moorage.oci.names import RepositoryName
from moorage.registry.blobs import rows as blob_rows
from moorage.registry.blobs.store import BlobDamaged, BlobStore
from moorage.registry.images.platforms import CONFIG_MAX_BYTES, platform_name
from moorage.registry.manifests import rows
from moorage.registry.manifests.rows import StoredManifest
from moorage.registry.manifests.serving import get_manifest
from moorage.registry.repositories.rows import get_repository, list_repositories
from moorage.registry.tags.rows import list_tags
from moorage.threads import in_thread
from moorage.transfer.images import docker_archive, layout
from moorage.transfer.images.archive import ArchiveRefused, Sink

_AT_ONCE = 500
_LISTED_MAX_BYTES = 4 * 1024 * 1024


class Chosen(NamedTuple):
    """An image that is wanted: by a tag, or by its digest."""

    repository: RepositoryName
    reference: str


@dataclass(slots=True)
class Taken:
    """What was written: each image by repository, tag and digest; counts of all that is in the file."""

    images: list[dict[str, str | None]] = field(default_factory=list)
    manifests: int = 0
    blobs: int = 0
    bytes: int = 0
    now: str = ""
    """What it is at, for whoever shows it."""


async def choose(db: Database, wanted: Sequence[str]) -> list[Chosen]:
    """The images that patterns name: `team/app`, `team/app:1.0`, `team/*:1.*`, `team/app@sha256:...`.

    Raises ArchiveRefused for one that names nothing.
    """
    chosen: dict[Chosen, None] = {}
    names: list[str] = []
    while some := await list_repositories(db, names[-1] if names else "", _AT_ONCE):
        names += some
    for text in wanted:
        name, at, digest = text.partition("@")
        pattern, colon, tag = name.partition(":")
        if at and not is_digest(digest):
            raise ArchiveRefused(f"{text[:200]!r}: {digest[:80]!r} is no digest")
        found: list[Chosen] = []
        for repository in map(RepositoryName, names):
            if not is_match(pattern, repository):
                continue
            if at:
                found.append(Chosen(repository, digest))
            else:
                tags = await _match_tags(db, repository, tag if colon else "*")
                found += [Chosen(repository, each) for each in tags]
        if not found:
            raise ArchiveRefused(f"{text[:200]!r} names nothing in this registry")
        chosen |= dict.fromkeys(found)
    return list(chosen)


async def _match_tags(db: Database, repository: RepositoryName, pattern: str) -> list[str]:
    tags: list[str] = []
    repository_id, after = await get_repository(db, repository), ""
    while some := await list_tags(db, repository_id, after, _AT_ONCE):
        tags += [tag for tag in some if fnmatchcase(tag, pattern)]
        after = some[-1]
    return tags


@dataclass(frozen=True, slots=True)
class _Whole:
    """A manifest with what it says, and the repository it is taken from."""

    repository: RepositoryName
    stored: StoredManifest
    manifest: Manifest

    @property
    def descriptor(self) -> dict[str, object]:
        return {
            "mediaType": self.stored.media_type,
            "digest": self.stored.digest,
            "size": len(self.stored.payload),
        }


class Taking:
    """One archive on its way out."""

    def __init__(self, db: Database, store: BlobStore, threads: Executor, sink: Sink) -> None:
        self._db = db
        self._store = store
        self._threads = threads
        self._sink = sink
        self._written: set[Digest] = set()
        self.taken = Taken()

    async def take_layout(self, chosen: Sequence[Chosen], *, with_referrers: bool) -> Taken:
        """Write images with their children and, if wanted, what refers to any of these.

        Raises ManifestUnknown, BlobUnknown (404), ContentDamaged (500), OSError.
        """
        is_one = len({each.repository for each in chosen}) == 1
        entries: dict[str, dict[str, object]] = {}
        for each in chosen:
            root = await self._get(each.repository, each.reference)
            self._note(each, root.stored.digest)
            name = each.reference if is_one else f"{each.repository}:{each.reference}"
            annotations = {} if is_digest(each.reference) else {"annotations": {layout.REF_NAME: name}}
            found = [root.descriptor | annotations]
            found += [referrer.descriptor for referrer in await self._take_all(root, with_referrers)]
            entries |= {json.dumps(entry): entry for entry in found}
        index = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": list(entries.values())}
        await self._finish({layout.INDEX: json.dumps(index).encode(), layout.MARK: layout.MARK_CONTENT})
        return self.taken

    async def take_saved(self, chosen: Sequence[Chosen], platform: str, *, is_asked: bool) -> Taken:
        """Write what `docker load` reads: a layout of single images, and docker's own list of them.

        `platform` (as linux/amd64) says which image of an index. Where a person has asked for it, a single
        image has to be for it too. Raises as `take_layout`, and ArchiveRefused.
        """
        listed: dict[Digest, dict[str, object]] = {}
        entries: list[dict[str, object]] = []
        for each in chosen:
            image = await self._find_image(each, platform, is_asked=is_asked)
            self._note(each, image.stored.digest)
            await self._take_whole(image)
            name = f"{each.repository}:{each.reference}"
            fact = listed.setdefault(image.stored.digest, _describe_saved(image))
            entry = image.descriptor
            if not is_digest(each.reference):
                tags = fact["RepoTags"]
                assert isinstance(tags, list)  # noqa: S101 - made so above
                tags.append(name)
                entry = entry | {"annotations": {layout.REF_NAME: each.reference, layout.FULL_NAME: name}}
            entries.append(entry)
        index = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": entries}
        files = {
            docker_archive.MANIFEST: json.dumps(list(listed.values())).encode(),
            layout.INDEX: json.dumps(index).encode(),
            layout.MARK: layout.MARK_CONTENT,
        }
        await self._finish(files)
        return self.taken

    async def _take_all(self, root: _Whole, with_referrers: bool) -> list[_Whole]:  # noqa: FBT001 - passed on
        """Write an image with all that its index lists; the referrers that were written with it."""
        referrers: list[_Whole] = []
        seen: set[Digest] = set()
        ahead = [root]
        while ahead:
            whole = ahead.pop()
            if whole.stored.sha256 in seen:
                continue
            seen.add(whole.stored.sha256)
            await self._take_whole(whole)
            ahead += await self._find_children(whole)
            if with_referrers:
                found = await self._find_referrers(whole)
                referrers += found
                ahead += found
        return referrers

    async def _find_children(self, whole: _Whole) -> list[_Whole]:
        """The manifests that an index lists, of those that are here."""
        children = []
        for each in whole.manifest.references:
            digest = each.target.digest
            if each.kind is Kind.MANIFEST and await rows.find_by_digest(self._db, whole.repository, digest):
                children.append(await self._get(whole.repository, digest))
        return children

    async def _find_referrers(self, whole: _Whole) -> list[_Whole]:
        found: list[_Whole] = []
        after, has_more = 0, True
        while has_more:
            some, has_more = await rows.list_referrers(
                self._db, whole.repository, whole.stored.sha256, [], after, _AT_ONCE, _LISTED_MAX_BYTES
            )
            found += [await self._get(whole.repository, each.digest) for each in some]
            after = some[-1].row_id if some else after
        return found

    async def _find_image(self, chosen: Chosen, platform: str, *, is_asked: bool) -> _Whole:
        """A single image: what was chosen, or what its index has for a platform. Raises ArchiveRefused."""
        whole = await self._get(chosen.repository, chosen.reference)
        if not whole.manifest.is_index:
            named = await self._read_platform(whole) if is_asked else None
            if named is not None and platform not in {named, "/".join(named.split("/")[:2])}:
                raise ArchiveRefused(
                    f"{chosen.repository}:{chosen.reference} has no image for {platform};"
                    f" it is one for {named}: leave --platform out, or choose that"
                )
            return whole
        platforms: list[str] = []
        for entry in json.loads(whole.stored.payload)["manifests"]:
            fact = entry.get("platform") or {}
            known = [str(fact[key]) for key in ("os", "architecture", "variant") if fact.get(key)]
            platforms.append("/".join(known))
            if platform in {"/".join(known), "/".join(known[:2])}:
                return await self._get(chosen.repository, entry["digest"])
        shown = ", ".join(sorted(each for each in platforms if each)) or "none that it names"
        raise ArchiveRefused(
            f"{chosen.repository}:{chosen.reference} has no image for {platform}; it has {shown}:"
            " choose one with --platform"
        )

    async def _read_platform(self, image: _Whole) -> str | None:
        """For which platform an image is, as its config says; None where that says nothing."""
        config = image.manifest.references[0].target
        blob = await blob_rows.find_blob(self._db, image.repository, config.digest)
        file = None if blob is None else self._store.open_blob(blob.digest, blob.generation)
        if blob is None or file is None:
            return None
        try:
            content = await in_thread(self._threads, file.read, 0, min(blob.size, CONFIG_MAX_BYTES))
            return platform_name(json.loads(content))
        except (BlobDamaged, ValueError, RecursionError):
            return None
        finally:
            file.close()

    async def _get(self, repository: RepositoryName, reference: str) -> _Whole:
        stored = await get_manifest(self._db, repository, reference)
        return _Whole(repository, stored, parse_manifest(stored.payload, stored.media_type))

    async def _take_whole(self, whole: _Whole) -> None:
        """Write a manifest and its blobs, unless they are written."""
        for each in whole.manifest.references:
            digest = each.target.digest
            if digest in self._written:
                continue
            if each.kind is not Kind.MANIFEST or not await rows.find_by_digest(
                self._db, whole.repository, digest
            ):
                await self._take_blob(whole.repository, digest, may_be_absent=each.may_be_absent)
        if whole.stored.digest not in self._written:
            self._written.add(whole.stored.digest)
            await self._add(layout.path_of(whole.stored.digest), whole.stored.payload)
            self.taken.manifests += 1
            self.taken.bytes += len(whole.stored.payload)

    async def _take_blob(self, repository: RepositoryName, digest: Digest, *, may_be_absent: bool) -> None:
        """Write a blob, its bytes compared with its digest. Raises BlobUnknown, ContentDamaged."""
        blob = await blob_rows.find_blob(self._db, repository, digest)
        file = None if blob is None else self._store.open_blob(blob.digest, blob.generation)
        if blob is None or file is None:
            if may_be_absent:
                return
            raise BlobUnknown(digest=digest)
        hasher = hashlib.new(algorithm_of(digest), usedforsecurity=False)
        offset = 0

        def read(size: int) -> bytes:
            nonlocal offset
            piece = file.read(offset, min(size, blob.size - offset))
            hasher.update(piece)
            offset += len(piece)
            return piece

        try:
            await in_thread(self._threads, self._sink.add, layout.path_of(digest), blob.size, read)
        except BlobDamaged as error:
            raise ContentDamaged(digest=digest) from error
        finally:
            file.close()
        if hasher.hexdigest() != encoded_of(digest):
            raise ContentDamaged(digest=digest)
        self._written.add(digest)
        self.taken.blobs += 1
        self.taken.bytes += blob.size

    async def _add(self, name: str, content: bytes) -> None:
        stream = BytesIO(content)
        await in_thread(self._threads, self._sink.add, name, len(content), stream.read)

    async def _finish(self, files: Mapping[str, bytes]) -> None:
        for name, content in files.items():
            await self._add(name, content)
        await in_thread(self._threads, self._sink.finish)

    def _note(self, chosen: Chosen, digest: Digest) -> None:
        self.taken.now = f"{chosen.repository}:{chosen.reference}"
        tag = None if is_digest(chosen.reference) else chosen.reference
        self.taken.images.append({"repository": chosen.repository, "tag": tag, "digest": digest})


def _describe_saved(image: _Whole) -> dict[str, object]:
    """As docker lists it, without names yet. Raises ArchiveRefused for what is no image that runs."""
    config, *layers = image.manifest.references
    if config.target.media_type not in docker_archive.CONFIG_TYPES:
        raise ArchiveRefused(
            f"{image.stored.digest} is no image that docker can load, but {config.target.media_type}"
        )
    return {
        "Config": layout.path_of(config.target.digest),
        "RepoTags": [],
        "Layers": [layout.path_of(layer.target.digest) for layer in layers],
    }
