"""Grants: given and taken back by whoever administers all that their pattern names."""

from moorage.database import Database, Transaction
from moorage.errors import GrantUnknown
from moorage.identity.access import rows
from moorage.identity.access.patterns import check_pattern
from moorage.identity.access.rows import Grant
from moorage.identity.accounts.names import EVERYONE
from moorage.identity.callers.caller import Caller
from moorage.identity.managing.administering import check_may_administer, check_may_undo
from moorage.identity.managing.receivers import Receiver, find_receiver
from moorage.records.audit.rows import Actor, record


async def create_grant(
    db: Database, caller: Caller, actor: Actor, to: str, pattern: str, actions: list[str]
) -> Grant:
    """Give actions on a pattern to `account alice`, `group ops` or `everyone` who has signed in.

    Raises PatternInvalid, ActionsInvalid, FieldInvalid (400), Denied (403), AccountUnknown,
    GroupUnknown (404).
    """
    await check_may_administer(db, caller, check_pattern(pattern))

    def work(tx: Transaction) -> Grant:
        account_id, group_id = Receiver() if to == EVERYONE else find_receiver(tx, to, "to")
        made = rows.insert_grant(tx, pattern, actions, actor.name, account_id=account_id, group_id=group_id)
        record(tx, actor, "grant.create", pattern, detail=f"{to}: {','.join(made.actions)}")
        return made

    return await db.write(work)


async def delete_grant(db: Database, caller: Caller, actor: Actor, grant_id: int) -> None:
    """Take a grant back.

    Raises GrantUnknown (404), Denied (403).
    """
    grant = await rows.get_grant(db, grant_id)
    await check_may_undo(db, caller, grant.pattern, GrantUnknown(id=grant_id))

    def work(tx: Transaction) -> None:
        rows.delete_grant(tx, grant_id)
        record(tx, actor, "grant.delete", grant.pattern, detail=f"{grant.to}: {','.join(grant.actions)}")

    await db.write(work)
