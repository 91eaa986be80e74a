"""Accounts: the endpoints and their documents."""

from datetime import datetime

from msgspec import UNSET, Struct, UnsetType

from moorage.api.manage.documents import Name, NamePage, Page, Password, Words, check_words, page, time_of
from moorage.api.manage.routes import Ask, NoQuery
from moorage.errors import AccountUnknown, Denied
from moorage.identity.accounts import rows
from moorage.identity.accounts.rows import Account, Kind, Role
from moorage.identity.managing import accounts as managing


class AccountReply(Struct, frozen=True):
    """An account."""

    name: str
    kind: Kind
    role: Role
    is_disabled: bool
    has_password: bool
    description: str
    created_at: datetime
    created_by: str


class NewAccount(Struct, frozen=True, forbid_unknown_fields=True):
    """An account to be made. A robot has tokens only. The first one of all is made an administrator."""

    name: Name
    kind: Kind = "person"
    role: Role = "member"
    password: Password | None = None
    description: Words = ""


class AccountChange(Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be changed of an account."""

    role: Role | UnsetType = UNSET
    is_disabled: bool | UnsetType = UNSET
    description: Words | UnsetType = UNSET


class PasswordChange(Struct, frozen=True, forbid_unknown_fields=True):
    """A new password. For one's own, the current one has to be said."""

    password: Password
    current_password: Password | None = None


def show_account(account: Account) -> AccountReply:
    """An account as the API shows it."""
    return AccountReply(
        account.name,
        account.kind,
        account.role,
        account.is_disabled,
        account.has_password,
        account.description,
        time_of(account.created_at),
        account.created_by,
    )


async def list_all(ask: Ask[None, NamePage]) -> Page[AccountReply]:
    """A page of the accounts, by name."""
    found = await rows.list_accounts(ask.services.db, ask.query.after, ask.query.n + 1)
    return page(found, ask.query.n, show_account, lambda account: account.name)


async def create(ask: Ask[NewAccount, NoQuery]) -> AccountReply:
    """Make an account."""
    new = ask.body
    if new.password is not None:
        _check_line(ask)
    made = await managing.create_account(
        ask.services.db,
        ask.services.passwords,
        ask.caller,
        ask.actor,
        new.name,
        kind=new.kind,
        role=new.role,
        password=new.password,
        description=check_words(new.description, "description"),
    )
    return show_account(made)


async def get(ask: Ask[None, NoQuery]) -> AccountReply:
    """One account: one's own, or as an auditor any."""
    name = ask.path["name"]
    if not ask.caller.is_auditor and ask.caller.name != name:
        raise AccountUnknown(name=name[:64])
    return show_account(await rows.get_account(ask.services.db, name))


async def change(ask: Ask[AccountChange, NoQuery]) -> AccountReply:
    """Change an account."""
    role, is_disabled, description = ask.body.role, ask.body.is_disabled, ask.body.description
    changed = await managing.update_account(
        ask.services.db,
        ask.actor,
        ask.path["name"],
        role=None if role is UNSET else role,
        is_disabled=None if is_disabled is UNSET else is_disabled,
        description=None if description is UNSET else check_words(description, "description"),
    )
    return show_account(changed)


async def delete(ask: Ask[None, NoQuery]) -> None:
    """Remove an account."""
    await managing.delete_account(ask.services.db, ask.actor, ask.path["name"])


async def set_password(ask: Ask[PasswordChange, NoQuery]) -> None:
    """Change a password."""
    _check_line(ask)
    await managing.set_password(
        ask.services.db,
        ask.services.passwords,
        ask.services.callers,
        ask.caller,
        ask.actor,
        ask.path["name"],
        ask.body.password,
        ask.body.current_password,
    )


def _check_line(ask: Ask[NewAccount, NoQuery] | Ask[PasswordChange, NoQuery]) -> None:
    """Raises Denied (403) where others could read a password on its way."""
    if ask.caller.means != "local" and not ask.services.gate.may_use_password(ask.request):
        raise Denied(reason="passwords are not taken over plain HTTP: use https")
