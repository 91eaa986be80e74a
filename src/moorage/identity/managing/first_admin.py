"""How the first administrator comes in: by a link printed once at the start, or beside the data folder."""

from typing import Final

from moorage.clock import now_ms
from moorage.database import Database, Transaction
from moorage.errors import ClaimInvalid
from moorage.identity.access.rows import find_namespace_in, insert_namespace
from moorage.identity.accounts import rows
from moorage.identity.accounts.names import check_name
from moorage.identity.accounts.passwords import Passwords
from moorage.identity.accounts.rows import Account
from moorage.identity.tokens.rows import hash_secret, make_secret
from moorage.records.audit.rows import Actor, record

CLAIM_LIFE_MS: Final = 3600 * 1000


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
    """Make the first account, an administrator, with the namespace of its name.

    `claim` is the hash of a claim's secret, which is used up; None: whoever asks may write the data folder.
    Raises AccountNameInvalid, PasswordInvalid (400); ClaimInvalid (403), also when there is an account.
    """
    check_name(name)
    if claim is not None and not await rows.is_claim(db, claim):
        # before a password is hashed for anyone who asks
        raise ClaimInvalid
    kept = await passwords.hash(password)

    def work(tx: Transaction) -> Account:
        if rows.has_accounts(tx) or (claim is not None and not rows.take_claim(tx, claim)):
            raise ClaimInvalid
        account = rows.insert_account(tx, name, actor.name, role="admin", password=kept)
        if find_namespace_in(tx, name) is None:
            insert_namespace(tx, name, name, account_id=account.id)
        record(tx, actor, "account.create", name, detail="the first administrator")
        return account

    return await db.write(work)
