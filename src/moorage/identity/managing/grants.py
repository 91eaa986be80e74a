"""Grants: given and taken back by whoever administers all that their pattern names."""

from moorage.database import Database, Transaction
from moorage.errors import Denied, GrantUnknown
from moorage.identity.access import rows
from moorage.identity.access.patterns import check_pattern, covers, namespace_of
from moorage.identity.access.rows import Grant
from moorage.identity.accounts.names import EVERYONE
from moorage.identity.callers.caller import Caller
from moorage.identity.managing.receivers import Receiver, find_receiver
from moorage.records.audit.rows import Actor, record


async def may_administer(db: Database, caller: Caller, pattern: str) -> bool:
    """Whether this caller has `admin` on every repository that a pattern names, now or later.

    That is an administrator; the owner of the namespace; who has a grant of `admin` that covers the
    pattern. A token with scopes needs one that covers it too.
    """
    if caller.is_admin:
        return True
    if caller.account is None or caller.bearer is not None:
        return False
    token = caller.token
    if token is not None and token.scopes is not None:
        if not any("admin" in each.actions and covers(each.pattern, pattern) for each in token.scopes):
            return False
        if token.kind == "exchange":
            return True
    subject = caller.subject
    namespace = await rows.read_namespace(db, namespace_of(pattern))
    if namespace is not None and (
        namespace.owner_account == subject.name or namespace.owner_group in subject.groups
    ):
        return True
    grants = await rows.read_grants_for(db, caller.account)
    return any("admin" in each.scope.actions and covers(each.scope.pattern, pattern) for each in grants)


async def may_see_grant(db: Database, caller: Caller, grant: Grant) -> bool:
    """Whether this caller may know of a grant: who could take it back, and auditors."""
    return caller.is_auditor or await may_administer(db, caller, grant.pattern)


async def create_grant(
    db: Database, caller: Caller, actor: Actor, to: str, pattern: str, actions: list[str]
) -> Grant:
    """Give actions on a pattern to `account alice`, `group ops` or `everyone` who has signed in.

    Raises PatternInvalid, ActionsInvalid, FieldInvalid (400), Denied (403), AccountUnknown,
    GroupUnknown (404).
    """
    if not await may_administer(db, caller, check_pattern(pattern)):
        raise Denied(reason=f"{caller.name} may not administer {pattern}")

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
    if not await may_administer(db, caller, grant.pattern):
        if caller.is_auditor:
            raise Denied(reason=f"{caller.name} may not administer {grant.pattern}")
        raise GrantUnknown(id=grant_id)

    def work(tx: Transaction) -> None:
        rows.delete_grant(tx, grant_id)
        record(tx, actor, "grant.delete", grant.pattern, detail=f"{grant.to}: {','.join(grant.actions)}")

    await db.write(work)
