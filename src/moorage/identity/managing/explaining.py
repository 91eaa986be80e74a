"""Why someone may, or may not, do something to a repository."""

from moorage.database import Database
from moorage.errors import AccountUnknown
from moorage.identity.access import rows
from moorage.identity.access.deciding import Action, Decision, decide
from moorage.identity.access.patterns import namespace_of
from moorage.identity.accounts.rows import Account, get_account
from moorage.identity.callers.caller import Caller
from moorage.records.audit.rows import ANONYMOUS


async def explain(db: Database, caller: Caller, account: str, action: Action, repository: str) -> Decision:
    """The decision on an account, or on `anonymous`, by its password or a token without scopes.

    Raises AccountUnknown (404): who is no auditor asks about themselves.
    """
    if not caller.is_auditor and caller.name != account:
        raise AccountUnknown(name=account[:64])
    who: Account | None = None if account == ANONYMOUS else await get_account(db, account)
    if who is not None and who.is_disabled:
        return Decision(is_allowed=False, rule=f"the account {who.name} is disabled")
    subject = await rows.read_subject(db, who)
    namespace = await rows.read_namespace(db, namespace_of(repository))
    grants = [] if who is None else await rows.read_grants_for(db, who)
    decision = decide(subject, repository, action, namespace, grants)
    if decision.is_allowed or caller.is_auditor:
        return decision
    # whose the namespace is, and whether there is one, is not theirs to know
    return Decision(is_allowed=False, rule=f"nothing gives {account} {action} on {repository}")
