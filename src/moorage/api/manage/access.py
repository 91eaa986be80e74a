"""Why someone may or may not do something: the endpoint and its documents."""

from msgspec import Struct

from moorage.api.manage.documents import Name, Repository
from moorage.api.manage.routes import Ask
from moorage.errors import NameInvalid
from moorage.identity.access.deciding import Action
from moorage.identity.managing.explaining import explain as explain_decision
from moorage.oci.names import is_repository_name
from moorage.records.audit.rows import ANONYMOUS


class Question(Struct, frozen=True, forbid_unknown_fields=True):
    """May this account do this there? There need be no such repository.

    `anonymous`: someone who has not signed in.
    """

    action: Action
    repository: Repository
    account: Name = ANONYMOUS


class Explanation(Struct, frozen=True):
    """The answer, and the rule that gives it."""

    is_allowed: bool
    rule: str


async def explain(ask: Ask[None, Question]) -> Explanation:
    """Whether, and why."""
    query = ask.query
    if not is_repository_name(query.repository):
        raise NameInvalid(name=query.repository)
    decision = await explain_decision(
        ask.services.db, ask.caller, query.account, query.action, query.repository
    )
    return Explanation(decision.is_allowed, decision.rule)
