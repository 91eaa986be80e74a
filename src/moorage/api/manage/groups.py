"""Groups: the endpoints and their documents."""

from datetime import datetime

from msgspec import Struct

from moorage.api.manage.documents import Name, NamePage, Page, Words, check_words, collect, time_of
from moorage.api.manage.routes import Ask, NoQuery
from moorage.errors import GroupUnknown
from moorage.identity.accounts import rows
from moorage.identity.accounts.rows import Group
from moorage.identity.callers.caller import Caller
from moorage.identity.managing import groups as managing


class GroupReply(Struct, frozen=True):
    """A group."""

    name: str
    description: str
    created_at: datetime
    created_by: str


class GroupWithMembers(GroupReply, frozen=True):
    """A group and the names of the accounts in it."""

    members: list[str]


class NewGroup(Struct, frozen=True, forbid_unknown_fields=True):
    """A group to be made."""

    name: Name
    description: Words = ""


def show_group(group: Group) -> GroupReply:
    """A group as the API shows it."""
    return GroupReply(group.name, group.description, time_of(group.created_at), group.created_by)


def _may_see(caller: Caller, name: str) -> bool:
    """Whoever is in it, and auditors all."""
    return caller.is_auditor or name in caller.subject.groups


async def list_all(ask: Ask[None, NamePage]) -> Page[GroupReply]:
    """A page of the groups that the caller is in; for auditors of all."""
    db, caller = ask.services.db, ask.caller

    async def is_shown(group: Group) -> bool:
        return _may_see(caller, group.name)

    return await collect(
        lambda after, limit: rows.list_groups(db, after, limit),
        ask.query.after,
        ask.query.n,
        lambda group: group.name,
        is_shown,
        show_group,
    )


async def create(ask: Ask[NewGroup, NoQuery]) -> GroupReply:
    """Make a group."""
    description = check_words(ask.body.description, "description")
    return show_group(await managing.create_group(ask.services.db, ask.actor, ask.body.name, description))


async def get(ask: Ask[None, NoQuery]) -> GroupWithMembers:
    """One group and who is in it."""
    name = ask.path["name"]
    if not _may_see(ask.caller, name):
        raise GroupUnknown(name=name[:64])
    group = await rows.get_group(ask.services.db, name)
    members = await rows.list_members(ask.services.db, group.id)
    return GroupWithMembers(
        group.name, group.description, time_of(group.created_at), group.created_by, members
    )


async def delete(ask: Ask[None, NoQuery]) -> None:
    """Remove a group."""
    await managing.delete_group(ask.services.db, ask.actor, ask.path["name"])


async def add_member(ask: Ask[None, NoQuery]) -> None:
    """Put an account into a group."""
    await managing.add_member(ask.services.db, ask.actor, ask.path["name"], ask.path["account"])


async def remove_member(ask: Ask[None, NoQuery]) -> None:
    """Take an account out of a group."""
    await managing.remove_member(ask.services.db, ask.actor, ask.path["name"], ask.path["account"])
