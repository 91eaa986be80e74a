"""Repositories: the endpoints and their documents."""

from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from moorage.api.deletions import Frees, frees_at
from moorage.api.manage.documents import NamePage, Page, Repository, page, time_of
from moorage.api.manage.routes import Ask, NoQuery
from moorage.api.v2.lists import list_pullable
from moorage.clock import now_ms
from moorage.database import Database
from moorage.errors import NameInvalid, NameUnknown, Unsupported, UpstreamStateInvalid
from moorage.identity.managing.administering import check_may_administer
from moorage.lifecycle.garbage.rows import measure_deleted
from moorage.lifecycle.renaming import rename_repository
from moorage.mirrors.rows import find_upstream
from moorage.oci.names import RepositoryName, is_repository_name
from moorage.registry.images.measuring_rows import Measured, measure_repositories
from moorage.registry.repositories.creating import create_repository
from moorage.registry.repositories.rows import (
    DeletedRepository,
    find_renamed,
    get_repository,
    list_aliases,
    read_repository,
)
from moorage.registry.trash.repositories import delete_repository


class ListedRepository(Struct, frozen=True):
    """A repository in a list.

    `size_bytes`: what its blobs take, each counted once, also those that others share and those that only
    what is in the trash needs. `pushed_at`: when one of its tags was last pushed; null without a tag.
    """

    name: str
    size_bytes: int
    tags: int
    pushed_at: datetime | None


class OldName(Struct, frozen=True):
    """A name that a repository had, by which it can be pulled from until then."""

    name: str
    until: datetime


class RepositoryReply(Struct, frozen=True):
    """A repository."""

    name: str
    created_at: datetime
    old_names: list[OldName]


class RepositoryChange(Struct, frozen=True, forbid_unknown_fields=True):
    """What a repository is to be called."""

    name: Repository


class NewRepository(Struct, frozen=True, forbid_unknown_fields=True):
    """A repository to be made. A push makes one too."""

    name: Repository


async def list_all(ask: Ask[None, NamePage]) -> Page[ListedRepository]:
    """A page of the repositories that the caller may pull from."""
    found = await list_pullable(ask.services, ask.caller, ask.query.after, ask.query.n + 1)
    measured = await measure_repositories(ask.services.db, found[: ask.query.n])
    return page(found, ask.query.n, lambda name: _show_listed(measured[name]), str)


def _show_listed(measured: Measured) -> ListedRepository:
    pushed_at = None if measured.pushed_at is None else time_of(measured.pushed_at)
    return ListedRepository(measured.name, measured.bytes, measured.tags, pushed_at)


async def create(ask: Ask[NewRepository, NoQuery]) -> RepositoryReply:
    """Make a repository with nothing in it."""
    name = check_name(ask.body.name)
    await ask.services.gate.check_action(ask.caller, name, "push")
    await create_repository(ask.services.db, name, ask.actor)
    return await _show(ask, name)


async def get(ask: Ask[None, NoQuery]) -> RepositoryReply:
    """One repository."""
    return await _show(ask, await check_seen(ask))


async def rename(ask: Ask[RepositoryChange, NoQuery]) -> RepositoryReply:
    """Give a repository another name."""
    db, caller = ask.services.db, ask.caller
    name, renamed = await check_seen(ask), check_name(ask.body.name)
    for each in (name, renamed):
        await check_may_administer(db, caller, each)
    await _check_is_local(ask, name)
    await rename_repository(db, name, renamed, ask.services.settings.repositories.old_names, ask.actor)
    return await _show(ask, renamed)


async def _check_is_local(ask: Ask[Any, Any], name: RepositoryName) -> None:
    """See that a repository is a local one: an upstream's is found by no other name than that.

    Raises UpstreamStateInvalid (409).
    """
    _, upstream = await find_upstream(ask.services.db, name)
    if upstream is not None:
        raise UpstreamStateInvalid(reason=f"{name} mirrors {upstream}, so it keeps its name")


class DeletedRepositoryReply(Struct, frozen=True):
    """A repository in the trash. `deletion` restores it, until `restorable_until`."""

    deletion: int
    name: str
    deleted_at: datetime
    deleted_by: str
    restorable_until: datetime
    frees: Frees


async def show_deleted(db: Database, deleted: DeletedRepository) -> DeletedRepositoryReply:
    """A repository in the trash as the API shows it."""
    until = time_of(deleted.purge_at or now_ms())
    return DeletedRepositoryReply(
        deleted.id,
        deleted.name,
        time_of(deleted.deleted_at),
        deleted.deleted_by,
        until,
        # its leases go with it
        frees_at(await measure_deleted(db, deleted.id), until, timedelta(0)),
    )


async def delete(ask: Ask[None, NoQuery]) -> DeletedRepositoryReply:
    """Put a repository and all that is in it into the trash."""
    name = await check_seen(ask)
    if not ask.services.settings.delete.enabled:
        raise Unsupported(reason="deleting is switched off (delete.enabled)")
    await ask.services.gate.check_action(ask.caller, name, "delete")
    settings = ask.services.settings.delete
    db, uploads = ask.services.db, ask.services.uploads
    return await show_deleted(db, await delete_repository(db, uploads, name, ask.actor, settings.grace_ms))


async def check_seen(ask: Ask[Any, Any]) -> RepositoryName:
    """The name in the path, of a repository that the caller may pull from if there is one.

    Who says the name that one had before is told the one it has.

    Raises NameInvalid (400), NameUnknown (404).
    """
    name = check_name(ask.path["name"])
    if not await ask.services.gate.may(ask.caller, name, "pull"):
        raise NameUnknown(name=name)
    renamed = await find_renamed(ask.services.db, name)
    if renamed is not None and await ask.services.gate.may(ask.caller, renamed, "pull"):
        raise NameUnknown(name=name, reason=f"it is called {renamed} now")
    return name


async def _show(ask: Ask[Any, NoQuery], name: RepositoryName) -> RepositoryReply:
    db = ask.services.db
    found = await read_repository(db, name)
    had = await list_aliases(db, await get_repository(db, name))
    return RepositoryReply(
        found.name, time_of(found.created_at), [OldName(each.name, time_of(each.until)) for each in had]
    )


def check_name(text: str) -> RepositoryName:
    """The name of a repository.

    Raises NameInvalid (400).
    """
    if not is_repository_name(text):
        raise NameInvalid(name=text[:255])
    return text
