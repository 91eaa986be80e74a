"""The prefetch: what an upstream's pins mean is brought here before anyone asks, and kept up to date.

Within the hours in which an upstream's bandwidth allows one, and as fast as that allows.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Final

import msgspec
import structlog

from moorage.clock import now_ms
from moorage.database import Database
from moorage.errors import RegistryError
from moorage.mirrors.bringing import Brought, Images, named
from moorage.mirrors.evicting_rows import list_mirrored
from moorage.mirrors.mirrors import Mirrors
from moorage.mirrors.pinning import Pin, read_pins
from moorage.mirrors.throttling import cap_at
from moorage.mirrors.upstreams import Upstream
from moorage.mirrors.wholeness import wants
from moorage.oci.names import RepositoryName, is_repository_name, is_tag
from moorage.records.jobs.running import CannotBeDone, Running

KIND: Final = "prefetch"
TAGS_LISTED_MAX: Final = 20_000
"""Tags of one repository that are looked through."""

_PAGE: Final = 1000

log = structlog.get_logger()


class Prefetch:
    """The job's handler. Its argument: `upstream`, the one that is meant; without it all that have pins."""

    def __init__(self, db: Database, mirrors: Mirrors) -> None:
        self._db = db
        self._mirrors = mirrors
        self._images = Images(db, mirrors.manifests, mirrors.fills, mirrors.companions)

    async def is_due(self, _: Database) -> bool:
        """Whether anything is pinned."""
        await self._mirrors.upstreams.look()
        return any(each.pins for each in self._mirrors.upstreams.all)

    async def run(self, running: Running) -> Mapping[str, object]:
        """Bring what is pinned; what came of it."""
        await self._mirrors.upstreams.look(at_once=True)
        chosen = choose_upstreams(self._mirrors, running)
        brought, put_off = Brought(), list[str]()
        try:
            for upstream in chosen:
                reason = self._why_not(upstream)
                if reason is None:
                    reason = await self._bring_pinned(upstream, brought, running)
                if reason is not None:
                    put_off.append(f"{upstream.name}: {reason}")
        finally:
            await self._mirrors.savings.write()
        log.info(
            "images_prefetched",
            images=brought.images,
            blobs=brought.blobs,
            bytes=brought.bytes,
            failed=brought.failed,
        )
        return {
            "upstreams": [each.name for each in chosen if each.pins],
            "images": brought.images,
            "manifests": brought.manifests,
            "blobs": brought.blobs,
            "bytes": brought.bytes,
            "failed": brought.failed,
            "failures": msgspec.to_builtins(brought.failures),
            "put_off": put_off,
        }

    def _why_not(self, upstream: Upstream) -> str | None:
        """Why nothing is prefetched of an upstream at this moment."""
        if self._mirrors.upstreams.is_disconnected(upstream):
            return "it is disconnected: moorage upstream connect"
        if cap_at(upstream, now_ms()) == 0:
            return "its bandwidth allows no prefetch at this hour"
        return None

    async def _bring_pinned(self, upstream: Upstream, brought: Brought, running: Running) -> str | None:
        """All that is pinned of an upstream; why not all of it, where its hours were over meanwhile."""
        is_wanted = wants(upstream.platforms)
        async for repository, tag in self._list_pinned(upstream, brought):
            reason = self._why_not(upstream)
            if reason is not None:
                return reason
            note = named(repository, tag)

            async def say(note: str = note) -> None:
                await running.say(brought.bytes, None, "bytes", note)

            await say()
            await self._images.bring(upstream, repository, tag, is_wanted, brought, say)
        return None

    async def _list_pinned(
        self, upstream: Upstream, brought: Brought
    ) -> AsyncIterator[tuple[RepositoryName, str]]:
        """Each image that is pinned, once."""
        seen: set[tuple[RepositoryName, str]] = set()
        for pin in read_pins(upstream):
            for repository in await self._list_repositories(upstream, pin):
                try:
                    tags = [pin.tag] if pin.tag is not None else await self._list_tags(upstream, repository)
                except RegistryError as refusal:
                    brought.fail(f"{repository}:{pin.text.partition(':')[2]}", refusal)
                    continue
                for tag in pin.select(tags):
                    if (repository, tag) not in seen:
                        seen.add((repository, tag))
                        yield repository, tag

    async def _list_repositories(self, upstream: Upstream, pin: Pin) -> list[RepositoryName]:
        """Those of its names that stand for one; those that are here of the others."""
        found = [
            upstream.local_of(RepositoryName(name))
            for name in pin.names
            if is_repository_name(name) and upstream.mirrors(RepositoryName(name))
        ]
        if any("*" in name for name in pin.names):
            here = await list_mirrored(self._db, upstream.name)
            remotes = [(name, upstream.remote_of(name)) for _, name in here]
            found += [name for name, remote in remotes if pin.is_of(remote) and upstream.mirrors(remote)]
        return list(dict.fromkeys(found))

    async def _list_tags(self, upstream: Upstream, repository: RepositoryName) -> list[str]:
        """All tags of a repository that its upstream lists. Raises RegistryError."""
        tags: list[str] = []
        while len(tags) < TAGS_LISTED_MAX:
            some = await self._mirrors.looks.list_tags(upstream, repository, tags[-1] if tags else "", _PAGE)
            tags += some
            if len(some) < _PAGE:
                break
        return [tag for tag in tags if is_tag(tag)]


def choose_upstreams(mirrors: Mirrors, running: Running) -> list[Upstream]:
    """The upstream that a job is about, or all of them. Raises CannotBeDone."""
    name = running.arguments.get("upstream")
    if name is None:
        return list(mirrors.upstreams.all)
    upstream = mirrors.upstreams.find(str(name))
    if upstream is None:
        raise CannotBeDone(f"there is no upstream {name} any more")
    return [upstream]
