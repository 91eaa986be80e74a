"""Accounts: made, changed, removed; their passwords."""

from typing import Final

from moorage.clock import now_ms
from moorage.database import Database, Transaction
from moorage.errors import AccountUnknown, ClaimInvalid, CredentialsInvalid, Denied, FieldInvalid, LastAdmin
from moorage.identity.access.rows import insert_namespace
from moorage.identity.accounts import rows
from moorage.identity.accounts.names import check_name
from moorage.identity.accounts.passwords import Passwords
from moorage.identity.accounts.rows import Account, Kind, Role
from moorage.identity.callers.caller import Caller
from moorage.identity.callers.callers import Callers
from moorage.identity.tokens.rows import PREFIX, hash_secret, make_secret, revoke_refresh_tokens
from moorage.records.audit.rows import Actor, record

CLAIM_LIFE_MS: Final = 3600 * 1000


async def create_account(
    db: Database,
    passwords: Passwords,
    caller: Caller,
    actor: Actor,
    name: str,
    *,
    kind: Kind = "person",
    role: Role = "member",
    password: str | None = None,
    description: str = "",
) -> Account:
    """Make an account; for a person also the namespace of that name, private and theirs.

    The first account is a person with a password, and administers.
    Raises AccountNameInvalid, PasswordInvalid, FieldInvalid (400), NameTaken (409), Denied (403).
    """
    if kind == "robot" and password is not None:
        raise FieldInvalid(field="password", reason="a robot has tokens only")
    kept = None if password is None else await passwords.hash(password)

    def work(tx: Transaction) -> Account:
        is_first = not rows.has_accounts(tx)
        if is_first and (kind != "person" or kept is None):
            raise FieldInvalid(field="kind", reason="the first account is a person with a password")
        if not is_first and caller.means == "open":
            # let in by another worker a moment before the first account was made
            raise Denied(reason="there are accounts now: sign in")
        return insert(tx, actor, name, kind, "admin" if is_first else role, kept, description)

    return await db.write(work)


async def make_claim(db: Database) -> str | None:
    """The secret of a claim that can be used once within an hour; None when there are accounts.

    Earlier claims are void.
    """
    secret = make_secret()

    def work(tx: Transaction) -> bool:
        if rows.has_accounts(tx):
            return False
        rows.put_claim(tx, hash_secret(secret), now_ms() + CLAIM_LIFE_MS)
        return True

    return secret if await db.write(work) else None


async def create_first_admin(
    db: Database, passwords: Passwords, actor: Actor, name: str, password: str, *, claim: str | None = None
) -> Account:
    """Make the first account. `claim`: the hash of the claim's secret, which is used up by it.

    Raises AccountNameInvalid, PasswordInvalid (400); ClaimInvalid, Denied (403): there is an account;
    NameTaken (409): a namespace has the name.
    """
    check_name(name)
    if claim is not None and not await rows.is_claim(db, claim):
        # before a password is hashed for anyone who asks
        raise ClaimInvalid
    kept = await passwords.hash(password)

    def work(tx: Transaction) -> Account:
        if rows.has_accounts(tx):
            raise Denied(reason="there are accounts: an administrator makes others")
        if claim is not None and not rows.take_claim(tx, claim):
            raise ClaimInvalid
        return insert(tx, actor, name, "person", "admin", kept, "")

    return await db.write(work)


def insert(
    tx: Transaction, actor: Actor, name: str, kind: Kind, role: Role, password: str | None, description: str
) -> Account:
    """Make an account, of a person with the namespace of that name. `password` is a hash.

    Raises AccountNameInvalid (400), NameTaken (409).
    """
    made = rows.insert_account(
        tx, name, actor.name, kind=kind, role=role, password=password, description=description
    )
    if kind == "person":
        insert_namespace(tx, name, actor.name, account_id=made.id)
    record(tx, actor, "account.create", name, detail=f"kind={kind} role={role}")
    return made


async def update_account(
    db: Database,
    actor: Actor,
    name: str,
    *,
    role: Role | None = None,
    is_disabled: bool | None = None,
    description: str | None = None,
) -> Account:
    """Change what is given.

    Raises AccountUnknown (404), LastAdmin (409).
    """
    changes = {"role": role, "is_disabled": is_disabled, "description": description}
    detail = " ".join(f"{key}={value}" for key, value in changes.items() if value is not None)

    def work(tx: Transaction) -> Account:
        account = rows.get_account_in(tx, name)
        if role not in {None, "admin"} or is_disabled:
            _check_not_last(tx, account)
        rows.update_account(tx, account.id, role=role, is_disabled=is_disabled, description=description)
        record(tx, actor, "account.update", name, detail=detail)
        return rows.get_account_in(tx, name)

    return await db.write(work)


async def delete_account(db: Database, actor: Actor, name: str) -> None:
    """Remove an account, its tokens, grants and memberships. What it owned is the administrators'.

    Raises AccountUnknown (404), LastAdmin (409).
    """

    def work(tx: Transaction) -> None:
        account = rows.get_account_in(tx, name)
        _check_not_last(tx, account)
        rows.delete_account(tx, account.id)
        record(tx, actor, "account.delete", name)

    await db.write(work)


def _check_not_last(tx: Transaction, account: Account) -> None:
    """Raises LastAdmin (409)."""
    is_admin = account.role == "admin" and not account.is_disabled
    if is_admin and not rows.has_other_admin(tx, account.id):
        raise LastAdmin(name=account.name)


async def set_password(
    db: Database,
    passwords: Passwords,
    callers: Callers,
    caller: Caller,
    actor: Actor,
    name: str,
    password: str,
    current: str | None,
) -> None:
    """Give an account another password; what docker keeps in the old one's stead counts no more.

    Whoever changes their own says the `current` one: a token alone shall not take an account over.
    Raises AccountUnknown (404), Denied (403), TooManySignIns (429), PasswordInvalid, FieldInvalid (400).
    """
    is_own = caller.account is not None and caller.account.name == name
    if is_own:
        await _check_current(callers, name, current, actor.address)
    elif not caller.is_admin:
        if caller.is_auditor:
            raise Denied(reason=f"{caller.name} is no admin")
        raise AccountUnknown(name=name[:64])
    kept = await passwords.hash(password)

    def work(tx: Transaction) -> None:
        account = rows.get_account_in(tx, name)
        if account.kind == "robot":
            raise FieldInvalid(field="password", reason="a robot has tokens only")
        rows.set_password(tx, account.id, kept)
        revoke_refresh_tokens(tx, account.id)
        record(tx, actor, "account.password", name)

    await db.write(work)


async def _check_current(callers: Callers, name: str, current: str | None, address: str) -> None:
    """Raises FieldInvalid (400), Denied (403), TooManySignIns (429)."""
    if current is None:
        raise FieldInvalid(field="current_password", reason="want the password that is to be changed")
    if current.startswith(PREFIX):
        raise Denied(reason="current_password is a token, not the password")
    try:
        await callers.sign_in(name, current, address)
    except CredentialsInvalid as refusal:
        raise Denied(reason="current_password is wrong") from refusal
