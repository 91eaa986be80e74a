"""Namespaces: the endpoints and their documents."""

from datetime import datetime

from msgspec import UNSET, Struct, UnsetType

from moorage.api.manage.documents import Name, NamePage, Owner, Page, collect, time_of
from moorage.api.manage.routes import Ask, NoQuery
from moorage.errors import NamespaceUnknown
from moorage.identity.access import rows
from moorage.identity.access.rows import NamespaceRow, Visibility
from moorage.identity.managing import namespaces as managing


class NamespaceReply(Struct, frozen=True):
    """A namespace. `owner` null: the administrators'."""

    name: str
    owner: str | None
    visibility: Visibility
    created_at: datetime
    created_by: str


class NewNamespace(Struct, frozen=True, forbid_unknown_fields=True):
    """A namespace to be made."""

    name: Name
    owner: Owner | None = None
    visibility: Visibility = "private"


class NamespaceChange(Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be changed of a namespace."""

    owner: Owner | UnsetType | None = UNSET
    visibility: Visibility | UnsetType = UNSET


def show_namespace(namespace: NamespaceRow) -> NamespaceReply:
    """A namespace as the API shows it."""
    return NamespaceReply(
        namespace.name,
        namespace.owner,
        namespace.visibility,
        time_of(namespace.created_at),
        namespace.created_by,
    )


async def list_all(ask: Ask[None, NamePage]) -> Page[NamespaceReply]:
    """A page of the namespaces that the caller may know of."""
    db, caller = ask.services.db, ask.caller
    return await collect(
        lambda after, limit: rows.list_namespaces(db, after, limit),
        ask.query.after,
        ask.query.n,
        lambda namespace: namespace.name,
        lambda namespace: managing.may_see_namespace(db, caller, namespace),
        show_namespace,
    )


async def create(ask: Ask[NewNamespace, NoQuery]) -> NamespaceReply:
    """Make a namespace."""
    new = ask.body
    made = await managing.create_namespace(ask.services.db, ask.actor, new.name, new.owner, new.visibility)
    return show_namespace(made)


async def get(ask: Ask[None, NoQuery]) -> NamespaceReply:
    """One namespace."""
    name = ask.path["name"]
    found = await rows.get_namespace(ask.services.db, name)
    if not await managing.may_see_namespace(ask.services.db, ask.caller, found):
        raise NamespaceUnknown(name=name[:64])
    return show_namespace(found)


async def change(ask: Ask[NamespaceChange, NoQuery]) -> NamespaceReply:
    """Change a namespace: all that is sent, or nothing."""
    owner, visibility = ask.body.owner, ask.body.visibility
    changed = await managing.update_namespace(
        ask.services.db,
        ask.caller,
        ask.actor,
        ask.path["name"],
        visibility=None if visibility is UNSET else visibility,
        owner=managing.KEPT if owner is UNSET else owner,
    )
    return show_namespace(changed)


async def delete(ask: Ask[None, NoQuery]) -> None:
    """Forget a namespace's owner and visibility."""
    await managing.delete_namespace(ask.services.db, ask.actor, ask.path["name"])
