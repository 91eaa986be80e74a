"""Repositories: the endpoints and their documents."""

from datetime import datetime

from msgspec import Struct

from moorage.api.manage.documents import NamePage, Page, Repository, page, time_of
from moorage.api.manage.routes import Ask, NoQuery
from moorage.api.manage.seen import check_name, check_seen
from moorage.api.v2.lists import list_pullable
from moorage.errors import Unsupported
from moorage.oci.names import RepositoryName
from moorage.registry.removal.removing import delete_repository
from moorage.registry.repositories.creating import create_repository
from moorage.registry.repositories.rows import read_repository


class ListedRepository(Struct, frozen=True):
    """A repository in a list."""

    name: str


class RepositoryReply(Struct, frozen=True):
    """A repository."""

    name: str
    created_at: datetime


class NewRepository(Struct, frozen=True, forbid_unknown_fields=True):
    """A repository to be made. A push makes one too."""

    name: Repository


async def list_all(ask: Ask[None, NamePage]) -> Page[ListedRepository]:
    """A page of the repositories that the caller may pull from."""
    found = await list_pullable(ask.services, ask.caller, ask.query.after, ask.query.n + 1)
    return page(found, ask.query.n, ListedRepository, str)


async def create(ask: Ask[NewRepository, NoQuery]) -> RepositoryReply:
    """Make a repository with nothing in it."""
    name = check_name(ask.body.name)
    await ask.services.gate.check_action(ask.caller, name, "push")
    await create_repository(ask.services.db, name, ask.actor)
    return await _show(ask, name)


async def get(ask: Ask[None, NoQuery]) -> RepositoryReply:
    """One repository."""
    return await _show(ask, await check_seen(ask))


async def delete(ask: Ask[None, NoQuery]) -> None:
    """Remove a repository and all that is in it."""
    name = await check_seen(ask)
    if not ask.services.settings.delete.enabled:
        raise Unsupported(reason="deleting is switched off (delete.enabled)")
    await ask.services.gate.check_action(ask.caller, name, "delete")
    await delete_repository(ask.services.db, ask.services.uploads, name, ask.actor)


async def _show(
    ask: Ask[NewRepository, NoQuery] | Ask[None, NoQuery], name: RepositoryName
) -> RepositoryReply:
    found = await read_repository(ask.services.db, name)
    return RepositoryReply(found.name, time_of(found.created_at))
