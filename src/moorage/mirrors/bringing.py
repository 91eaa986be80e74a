"""Bringing whole images of an upstream, beside the requests: what a prefetch and a rehearsal have fetched."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from moorage.database import Database
from moorage.errors import ManifestUnknown, RegistryError
from moorage.mirrors.along import Companions
from moorage.mirrors.fetching import Manifests
from moorage.mirrors.filling import Fills
from moorage.mirrors.upstreams import Upstream
from moorage.mirrors.wholeness import Missing, Wanted, find_missing
from moorage.oci.digest import Digest, is_digest
from moorage.oci.names import RepositoryName, Tag
from moorage.registry.manifests.rows import StoredManifest, find_by_digest, find_by_tag

AT_ONCE: Final = 3
"""Blobs of one image that are fetched beside each other."""

FAILURES_MAX: Final = 100
_LEVELS_MAX: Final = 6
_SAY_EVERY_S: Final = 1.0

Say = Callable[[], Awaitable[None]]
"""Told now and then that work goes on; may raise to end it."""


class Failure(msgspec.Struct, frozen=True):
    """What could not be had: an image, or a part of one, and why."""

    image: str
    reason: str


@dataclass(slots=True)
class Brought:
    """What was fetched so far. `failures` holds the first FAILURES_MAX of `failed`."""

    images: int = 0
    manifests: int = 0
    blobs: int = 0
    bytes: int = 0
    failed: int = 0
    failures: list[Failure] = field(default_factory=list)

    def fail(self, image: str, refusal: RegistryError, part: str = "") -> None:
        """Count what could not be had: an image, or a part of it."""
        self.failed += 1
        if len(self.failures) < FAILURES_MAX:
            # the upstream's own words, where there are any
            reason = str(refusal.detail.get("reason") or refusal)
            self.failures.append(Failure(image, f"{part}: {reason}"[:500] if part else reason[:500]))


class Images:
    """Brings images of upstreams to where requests would bring them."""

    def __init__(self, db: Database, manifests: Manifests, fills: Fills, companions: Companions) -> None:
        self._db = db
        self._manifests = manifests
        self._fills = fills
        self._companions = companions

    async def bring(
        self,
        upstream: Upstream,
        repository: RepositoryName,
        reference: str,
        is_wanted: Wanted,
        brought: Brought,
        say: Say,
    ) -> bool:
        """See that an image is here and up to date, with all that is wanted of it; whether it is whole now.

        What cannot be had is noted, and the rest brought. Raises what `say` raises.
        """
        name = named(repository, reference)
        failed_before = brought.failed
        try:
            stored = await self._bring_root(upstream, repository, reference, brought)
        except RegistryError as refusal:
            brought.fail(name, refusal)
            return False
        brought.images += 1
        missing = await self._bring_manifests(upstream, repository, stored, is_wanted, brought, say)
        await self._bring_blobs(upstream, repository, name, missing, brought, say)
        await self._companions.bring(upstream, repository, stored.sha256)
        await say()
        return brought.failed == failed_before

    async def _bring_root(
        self, upstream: Upstream, repository: RepositoryName, reference: str, brought: Brought
    ) -> StoredManifest:
        """Raises RegistryError."""
        if not is_digest(reference):
            await self._manifests.refresh(upstream, repository, Tag(reference))
        stored = await self._find(repository, reference)
        if stored is None:
            await self._manifests.bring(upstream, repository, reference)
            brought.manifests += 1
            stored = await self._find(repository, reference)
        if stored is None:
            raise ManifestUnknown(name=repository, reference=reference)
        return stored

    async def _find(self, repository: RepositoryName, reference: str) -> StoredManifest | None:
        if is_digest(reference):
            return await find_by_digest(self._db, repository, Digest(reference))
        return await find_by_tag(self._db, repository, reference)

    async def _bring_manifests(
        self,
        upstream: Upstream,
        repository: RepositoryName,
        root: StoredManifest,
        is_wanted: Wanted,
        brought: Brought,
        say: Say,
    ) -> list[Missing]:
        """All manifests, level by level; the blobs that are not here."""
        given_up: set[str] = set()
        missing: list[Missing] = []
        for _ in range(_LEVELS_MAX):
            missing = await find_missing(self._db, repository, root, is_wanted)
            manifests = [each for each in missing if each.kind == "manifest" and each.digest not in given_up]
            if not manifests:
                break
            for each in manifests:
                await say()
                try:
                    await self._manifests.bring(upstream, repository, each.digest)
                except RegistryError as refusal:
                    given_up.add(each.digest)
                    brought.fail(named(repository, each.digest), refusal)
                else:
                    brought.manifests += 1
        return [each for each in missing if each.kind != "manifest"]

    async def _bring_blobs(
        self,
        upstream: Upstream,
        repository: RepositoryName,
        name: str,
        missing: list[Missing],
        brought: Brought,
        say: Say,
    ) -> None:
        limit = asyncio.Semaphore(AT_ONCE)

        async def bring(each: Missing) -> None:
            async with limit:
                try:
                    blob = await self._fills.finish(upstream, repository, Digest(each.digest))
                except RegistryError as refusal:
                    brought.fail(name, refusal, each.digest)
                else:
                    brought.blobs += 1
                    brought.bytes += blob.size

        tasks = {asyncio.create_task(bring(each)) for each in missing}
        try:
            while tasks:
                done, tasks = await asyncio.wait(tasks, timeout=_SAY_EVERY_S)
                for each in done:
                    each.result()
                await say()
        finally:
            for each in tasks:
                each.cancel()


def named(repository: RepositoryName, reference: str) -> str:
    """An image as people write it."""
    return f"{repository}@{reference}" if is_digest(reference) else f"{repository}:{reference}"
