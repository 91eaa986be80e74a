"""Grants: the endpoints and their documents."""

from datetime import datetime

from msgspec import Struct

from moorage.api.manage.documents import Actions, IdPage, Page, Pattern, Receiver, collect, time_of
from moorage.api.manage.routes import Ask, NoQuery
from moorage.errors import GrantUnknown
from moorage.identity.access import rows
from moorage.identity.access.deciding import Action
from moorage.identity.access.rows import Grant
from moorage.identity.managing import grants as managing
from moorage.identity.managing.administering import may_see_rules


class GrantReply(Struct, frozen=True):
    """A grant. `to`: `account alice`, `group ops` or `everyone` who has signed in."""

    id: int
    to: str
    pattern: str
    actions: list[Action]
    created_at: datetime
    created_by: str


class NewGrant(Struct, frozen=True, forbid_unknown_fields=True):
    """A grant to be given. Where there is one to the same on the same pattern, its actions become these."""

    to: Receiver
    pattern: Pattern
    actions: Actions


def show_grant(grant: Grant) -> GrantReply:
    """A grant as the API shows it."""
    return GrantReply(
        grant.id, grant.to, grant.pattern, list(grant.actions), time_of(grant.created_at), grant.created_by
    )


async def list_all(ask: Ask[None, IdPage]) -> Page[GrantReply]:
    """A page of the grants that the caller could take back; for auditors of all."""
    db, caller = ask.services.db, ask.caller
    return await collect(
        lambda after, limit: rows.list_grants(db, after, limit),
        ask.query.after,
        ask.query.n,
        lambda grant: grant.id,
        lambda grant: may_see_rules(db, caller, grant.pattern),
        show_grant,
    )


async def create(ask: Ask[NewGrant, NoQuery]) -> GrantReply:
    """Give a grant."""
    new = ask.body
    made = await managing.create_grant(
        ask.services.db, ask.caller, ask.actor, new.to, new.pattern, list(new.actions)
    )
    return show_grant(made)


async def get(ask: Ask[None, NoQuery]) -> GrantReply:
    """One grant."""
    grant = await rows.get_grant(ask.services.db, ask.id)
    if not await may_see_rules(ask.services.db, ask.caller, grant.pattern):
        raise GrantUnknown(id=ask.id)
    return show_grant(grant)


async def delete(ask: Ask[None, NoQuery]) -> None:
    """Take a grant back."""
    await managing.delete_grant(ask.services.db, ask.caller, ask.actor, ask.id)
