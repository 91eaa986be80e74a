"""Who runs what a pattern of repositories names: whoever may give it away, rule it, or see its rules."""

from moorage.database import Database
from moorage.errors import Denied, RegistryError
from moorage.identity.access import rows
from moorage.identity.access.patterns import covers, namespace_of
from moorage.identity.callers.caller import Caller


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


async def may_see_rules(db: Database, caller: Caller, pattern: str) -> bool:
    """Whether this caller may know of what was ruled about a pattern: who could undo it, and auditors."""
    return caller.is_auditor or await may_administer(db, caller, pattern)


async def check_may_administer(db: Database, caller: Caller, pattern: str) -> None:
    """Raises Denied (403)."""
    if not await may_administer(db, caller, pattern):
        raise Denied(reason=f"{caller.name} may not administer {pattern}")


async def check_may_undo(db: Database, caller: Caller, pattern: str, unknown: RegistryError) -> None:
    """Whether what was ruled about a pattern may be undone; who may not see it is told it is `unknown`.

    Raises Denied (403), and `unknown`.
    """
    if not await may_see_rules(db, caller, pattern):
        raise unknown
    await check_may_administer(db, caller, pattern)
