"""What comes along with an image: its signatures, attestations and SBOMs, beside the requests.

Whoever has an image when the line is down also wants to check it. So after a manifest came, what has it as
its subject is fetched, what cosign keeps under tags made of its digest, and their small blobs. No client
waits for it. What was not done when the process ended is done when the tag is next asked about, or by a
prefetch.
Source: distribution-spec v1.1.1, "Listing Referrers"; cosign, SIGNATURE_SPEC.md.
"""

import asyncio
import re
from collections import OrderedDict
from typing import Final, Protocol

import structlog

from moorage.database import Database
from moorage.errors import ManifestInvalid, ManifestUnknown, RegistryError
from moorage.mirrors import along_rows as rows
from moorage.mirrors.asking import UpstreamFailure
from moorage.mirrors.fetching import Manifests
from moorage.mirrors.filling import Fills
from moorage.mirrors.upstreams import Upstream
from moorage.oci.digest import SHA256, Digest, algorithm_of
from moorage.oci.manifest import parse_manifest
from moorage.oci.names import RepositoryName, Tag
from moorage.registry.blobs.rows import read_held
from moorage.registry.manifests.rows import StoredManifest, find_by_digest, find_by_tag

BLOB_MAX_BYTES: Final = 1024 * 1024
"""A larger blob of a signature or an SBOM waits until someone asks for it."""

DEPTH_MAX: Final = 3
"""Signatures of SBOMs of images, and no further."""

REFERRERS_MAX: Final = 100
"""Referrers of one manifest that come along."""

AT_ONCE: Final = 2
WAITING_MAX: Final = 1000
_CHILDREN_MAX: Final = 50
_ENDINGS: Final = (".sig", ".att", ".sbom")
# tag ::= "sha256-" hex [ ".sig" | ".att" | ".sbom" ] ; cosign's, or a list of referrers
_OF_ANOTHER = re.compile(r"sha(?:256|512)-[0-9a-f]{64,128}(?:\.(?:sig|att|sbom))?", re.ASCII)

_Key = tuple[RepositoryName, Digest]

log = structlog.get_logger()


class BringReferrers(Protocol):
    """What brings the manifests of referrers; None once they are here."""

    async def __call__(self, upstream: Upstream, repository: RepositoryName, subject: Digest) -> int | None:
        """See `Mirrors.bring_referrers`."""
        ...


class Companions:
    """Brings what comes along, as one process does: a few images at a time."""

    def __init__(
        self,
        db: Database,
        manifests: Manifests,
        fills: Fills,
        bring_referrers: BringReferrers,
    ) -> None:
        self._db = db
        self._manifests = manifests
        self._fills = fills
        self._looks = fills.looks
        self._bring_referrers = bring_referrers
        self._waiting: OrderedDict[_Key, Upstream] = OrderedDict()
        self._busy: set[_Key] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def note(self, upstream: Upstream, repository: RepositoryName, digest: Digest, tag: Tag | None) -> None:
        """A manifest is here, or still is: see to what comes along with it, some time soon.

        What is itself another's has come along already. With too many waiting it is left for another time.
        """
        key = repository, digest
        if tag is not None and _OF_ANOTHER.fullmatch(tag) is not None:
            return
        if key in self._busy or key in self._waiting or len(self._waiting) >= WAITING_MAX:
            return
        self._waiting[key] = upstream
        if len(self._tasks) < AT_ONCE:
            task = asyncio.create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Leave what is not done for another time."""
        self._waiting.clear()
        for each in self._tasks:
            each.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _work(self) -> None:
        while self._waiting:
            key, upstream = self._waiting.popitem(last=False)
            repository, digest = key
            self._busy.add(key)
            try:
                await self.bring(upstream, repository, digest)
            except RegistryError as refusal:
                log.warning("companions_not_noted", repository=repository, digest=digest, reason=str(refusal))
            except Exception:
                log.exception("companions_failed", repository=repository, digest=digest)
            finally:
                self._busy.discard(key)

    async def bring(self, upstream: Upstream, repository: RepositoryName, digest: Digest) -> None:
        """See that all that comes along with an image, and with its children that are here, is here.

        What cannot be had now is left for another time. Raises RegistryError where nothing can be written.
        """
        stored = await find_by_digest(self._db, repository, digest)
        if stored is None or not self._looks.may_ask(upstream) or _subject_of(stored) is not None:
            return
        for each in [digest, *await rows.list_children(self._db, repository, digest, _CHILDREN_MAX)]:
            await self._bring_of(upstream, repository, each)

    async def _bring_of(self, upstream: Upstream, repository: RepositoryName, digest: Digest) -> None:
        if algorithm_of(digest) != SHA256 or await rows.has_come_along(self._db, repository, digest):
            return
        is_all = await self._bring_signatures(upstream, repository, digest)
        is_all = await self._bring_referring(upstream, repository, digest, 1) and is_all
        if is_all:
            await self._db.write(lambda tx: rows.note_along(tx, repository, digest))
            log.debug("companions_mirrored", upstream=upstream.name, repository=repository, digest=digest)

    async def _bring_referring(
        self, upstream: Upstream, repository: RepositoryName, subject: Digest, depth: int
    ) -> bool:
        """The referrers of a manifest, theirs, and their small blobs; whether nothing is left to be had."""
        is_all = await self._bring_referrers(upstream, repository, subject) is None
        for each in await rows.list_referrers(self._db, repository, subject, REFERRERS_MAX):
            is_all = await self._bring_blobs(upstream, repository, each) and is_all
            if depth < DEPTH_MAX:
                is_all = await self._bring_referring(upstream, repository, each, depth + 1) and is_all
        return is_all

    async def _bring_signatures(self, upstream: Upstream, repository: RepositoryName, digest: Digest) -> bool:
        """What cosign keeps beside a manifest. By HEAD first: most have none, and a GET may count."""
        is_all = True
        for ending in _ENDINGS:
            tag = Tag(digest.replace(":", "-") + ending)
            try:
                if not await self._looks.has_tag(upstream, repository, tag):
                    continue
                await self._bring_tag(upstream, repository, tag)
            except ManifestUnknown:
                continue
            except (UpstreamFailure, RegistryError):
                is_all = False
                continue
            stored = await find_by_tag(self._db, repository, tag)
            if stored is not None:
                is_all = await self._bring_blobs(upstream, repository, stored.sha256) and is_all
        return is_all

    async def _bring_tag(self, upstream: Upstream, repository: RepositoryName, tag: Tag) -> None:
        if await find_by_tag(self._db, repository, tag) is None:
            await self._manifests.bring(upstream, repository, tag)
        else:
            await self._manifests.refresh(upstream, repository, tag)

    async def _bring_blobs(self, upstream: Upstream, repository: RepositoryName, digest: Digest) -> bool:
        """The small blobs of a manifest that is here; whether all of them are."""
        stored = await find_by_digest(self._db, repository, digest)
        if stored is None:
            return True
        try:
            manifest = parse_manifest(stored.payload, stored.media_type)
        except ManifestInvalid:
            return True
        if manifest.is_index:
            return True
        small = [each.target.digest for each in manifest.references if each.target.size <= BLOB_MAX_BYTES]
        held = await read_held(self._db, repository, small)
        is_all = True
        for each in small:
            if each in held:
                continue
            try:
                await self._fills.finish(upstream, repository, each)
            except RegistryError as refusal:
                is_all = False
                log.info(
                    "companion_not_mirrored", repository=repository, digest=each, reason=str(refusal)[:300]
                )
        return is_all


def _subject_of(stored: StoredManifest) -> Digest | None:
    """What a manifest says it is of."""
    try:
        manifest = parse_manifest(stored.payload, stored.media_type)
    except ManifestInvalid:
        return None
    return manifest.subject.digest if manifest.subject else None
