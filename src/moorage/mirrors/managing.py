"""Upstreams as their administrators see and change them.

Those of the settings are shown beside those that were made; they can be disconnected, nothing else.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import structlog

from moorage.database import Database, Transaction
from moorage.errors import NameTaken, TagImmutable, UpstreamStateInvalid, UpstreamUnknown
from moorage.identity.access.rows import Visibility, find_namespace_in, insert_namespace
from moorage.mirrors import rows, upstream_rows
from moorage.mirrors.asking import UpstreamFailure
from moorage.mirrors.pinning import read_pin
from moorage.mirrors.stating import (
    Changes,
    Given,
    change_address,
    change_upstream,
    check_address,
    check_upstream,
)
from moorage.mirrors.upstreams import Address, Upstream
from moorage.oci.names import RepositoryName
from moorage.records.audit.rows import Actor, record
from moorage.registry.trash.repositories import delete_repository
from moorage.registry.uploads.uploading import Uploads

TEST_TIMEOUT_S: Final = 10.0
_FORGOTTEN_AT_ONCE: Final = 500

Images = Literal["keep", "delete"]
"""What becomes of the images of an upstream that is removed: local ones, or the trash's."""

log = structlog.get_logger()


class Pinger(Protocol):
    """Who can ask another registry; see `Registry`."""

    async def ping(self, at: Address, timeout_s: float) -> None:
        """Ask whether it is a registry, and what it says of our credentials.

        Raises UpstreamFailure.
        """
        ...


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of asking one address; `error` None: all is well."""

    url: str
    error: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Removed:
    """How many repositories of a removed upstream are local now, and how many are in the trash."""

    kept: int
    deleted: int


class ManagedUpstreams:
    """All upstreams. `private_addresses`: networks in which they may lie; see the settings."""

    def __init__(
        self, db: Database, pinger: Pinger, configured: Sequence[Upstream], private_addresses: Sequence[str]
    ) -> None:
        self._db = db
        self._pinger = pinger
        self._configured = {each.name: each for each in configured}
        self._private_addresses = private_addresses

    async def list_all(self) -> list[Upstream]:
        """Every upstream, by name. What stands in the settings counts."""
        made = {each.name: each for each in await upstream_rows.read_upstreams(self._db)}
        found = {**made, **self._configured}
        return [found[name] for name in sorted(found)]

    async def get(self, name: str) -> Upstream:
        """An upstream.

        Raises UpstreamUnknown (404).
        """
        for each in await self.list_all():
            if each.name == name:
                return each
        raise UpstreamUnknown(name=name[:64])

    async def create(
        self, actor: Actor, name: str, changes: Changes, visibility: Visibility | None = None
    ) -> Upstream:
        """Make an upstream, and the namespace of its name where there is none.

        `visibility` None: anyone may pull what needs no credentials, as they could without us.
        Raises FieldInvalid (400), NameTaken (409).
        """
        upstream = change_upstream(Upstream(name, Address("")), changes)

        def work(tx: Transaction) -> Upstream:
            if name in self._configured or upstream_rows.find_upstream_in(tx, name) is not None:
                raise NameTaken(name=name, taken_by="an upstream of this name")
            self._check_in(tx, upstream)
            upstream_rows.insert_upstream(tx, upstream, actor.name)
            record(tx, actor, "upstream.create", name, detail=changes.words)
            _make_namespace(tx, actor, upstream, visibility)
            return upstream

        made = await self._db.write(work)
        log.info("upstream_made", upstream=name, url=upstream.address.url, made_by=str(actor))
        return made

    async def change(self, actor: Actor, name: str, changes: Changes) -> Upstream:
        """Change what is said of an upstream: all of it, or nothing.

        Raises FieldInvalid (400), UpstreamUnknown (404), UpstreamStateInvalid (409).
        """
        self._check_not_configured(name)

        def work(tx: Transaction) -> Upstream:
            old = upstream_rows.find_upstream_in(tx, name)
            if old is None:
                raise UpstreamUnknown(name=name[:64])
            changed = change_upstream(old, changes)
            self._check_in(tx, changed)
            upstream_rows.update_upstream(tx, changed)
            record(tx, actor, "upstream.update", name, detail=changes.words)
            return changed

        changed = await self._db.write(work)
        log.info("upstream_changed", upstream=name, url=changed.address.url, changed_by=str(actor))
        return changed

    async def remove(
        self, actor: Actor, name: str, images: Images | None, uploads: Uploads, grace_ms: int
    ) -> Removed:
        """Forget an upstream. Its images become local ones, or go to the trash; None where it has none.

        Also for one that has left the settings, for the sake of its images.
        Raises UpstreamUnknown (404), UpstreamStateInvalid (409).
        """
        self._check_not_configured(name)

        def work(tx: Transaction) -> tuple[list[RepositoryName], list[int]]:
            repositories = rows.list_repositories_in(tx, name)
            is_made = upstream_rows.find_upstream_in(tx, name) is not None
            if not is_made and not repositories:
                raise UpstreamUnknown(name=name[:64])
            if repositories and images is None:
                raise UpstreamStateInvalid(
                    reason=f"{len(repositories)} repositories of {name} are here:"
                    " say whether to keep their images as local ones, or to delete them"
                )
            ids = rows.make_local(tx, name)
            if is_made:
                upstream_rows.delete_upstream(tx, name)
            record(tx, actor, "upstream.remove", name, detail=f"images={images or 'none'}")
            return repositories, ids

        repositories, ids = await self._db.write(work)
        for repository_id in ids:
            await self._forget_said(repository_id)
        deleted = 0
        for each in repositories if images == "delete" else ():
            try:
                await delete_repository(self._db, uploads, each, actor, grace_ms)
            except TagImmutable:
                # a rule keeps it: a local one, then
                continue
            deleted += 1
        log.info("upstream_removed", upstream=name, repositories=len(repositories), removed_by=str(actor))
        return Removed(len(repositories) - deleted, deleted)

    async def _forget_said(self, repository_id: int) -> None:
        is_left = True
        while is_left:
            is_left = bool(
                await self._db.write(lambda tx: rows.forget_some_said(tx, repository_id, _FORGOTTEN_AT_ONCE))
            )

    async def disconnect(self, actor: Actor, name: str | None) -> list[str]:
        """Let an upstream, None: all, be asked no more; which were until now.

        Raises UpstreamUnknown (404).
        """
        return await self._switch(actor, name, is_on=False)

    async def connect(self, actor: Actor, name: str | None) -> list[str]:
        """Let an upstream, None: all, be asked again; which were not until now.

        Raises UpstreamUnknown (404).
        """
        return await self._switch(actor, name, is_on=True)

    async def _switch(self, actor: Actor, name: str | None, *, is_on: bool) -> list[str]:
        names = (
            [each.name for each in await self.list_all()] if name is None else [(await self.get(name)).name]
        )

        def work(tx: Transaction) -> list[str]:
            switched = [
                each
                for each in names
                if (
                    upstream_rows.delete_disconnection(tx, each)
                    if is_on
                    else upstream_rows.insert_disconnection(tx, each, actor.name)
                )
            ]
            for each in switched:
                record(tx, actor, "upstream.connect" if is_on else "upstream.disconnect", each)
            return switched

        switched = await self._db.write(work)
        for each in switched:
            log.info("upstream_switched", upstream=each, is_connected=is_on, switched_by=str(actor))
        return switched

    async def test(self, actor: Actor, name: str, given: Given) -> list[Trial]:
        """Ask each address of an upstream; or the one that is given, as it would be after a change.

        Raises FieldInvalid (400), UpstreamUnknown (404).
        """
        upstream = await self.get(name)
        addresses: Sequence[Address] = upstream.addresses
        if given != Given():
            changed = change_address(upstream.address, given, "")
            check_address(changed, self._private_addresses)
            addresses = [changed]
        detail = " ".join(each.url for each in addresses)[:500]
        await self._db.write(lambda tx: record(tx, actor, "upstream.test", name, detail=detail))
        return list(await asyncio.gather(*map(self._test, addresses)))

    async def _test(self, address: Address) -> Trial:
        began_s = time.monotonic()
        error = None
        try:
            await self._pinger.ping(address, TEST_TIMEOUT_S)
        except UpstreamFailure as failure:
            error = str(failure)
        return Trial(address.url, error, time.monotonic() - began_s)

    async def make_namespaces(self) -> None:
        """See that each upstream of the settings has its namespace: at the start."""
        made_by = Actor("settings")

        def work(tx: Transaction) -> None:
            for each in self._configured.values():
                _make_namespace(tx, made_by, each, None)

        if self._configured:
            await self._db.write(work)

    def _check_in(self, tx: Transaction, upstream: Upstream) -> None:
        """Raises FieldInvalid (400)."""
        made = {each.name: each for each in upstream_rows.read_upstreams_in(tx)}
        others = {**made, **self._configured}
        others.pop(upstream.name, None)
        check_upstream(upstream, others.values(), self._private_addresses)
        for pin in upstream.pins:
            read_pin(upstream, pin)

    def _check_not_configured(self, name: str) -> None:
        """Raises UpstreamStateInvalid (409)."""
        if name in self._configured:
            raise UpstreamStateInvalid(
                reason=f"{name} stands in the settings, [[mirrors.upstreams]]: change it there"
            )


def _make_namespace(tx: Transaction, actor: Actor, upstream: Upstream, visibility: Visibility | None) -> None:
    if find_namespace_in(tx, upstream.name) is not None:
        return
    has_secret = any(each.password for each in upstream.addresses)
    wanted = visibility or ("private" if has_secret else "public")
    insert_namespace(tx, upstream.name, actor.name, visibility=wanted)
    record(tx, actor, "namespace.create", upstream.name, detail=f"owner=none {wanted}")
