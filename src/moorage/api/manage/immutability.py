"""Rules that fix tags: the endpoints and their documents."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from moorage.api.manage.documents import IdPage, Page, Pattern, collect, time_of
from moorage.api.manage.routes import Ask, NoQuery
from moorage.errors import RuleUnknown
from moorage.identity.managing.administering import may_see_rules
from moorage.registry.tags import immutability_rows as rows
from moorage.registry.tags import ruling
from moorage.registry.tags.immutability_rows import ImmutabilityRule
from moorage.registry.tags.patterns import PATTERN_MAX_LENGTH

TagPattern = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=PATTERN_MAX_LENGTH,
        description="tags, as `1.*`, or an expression after `re:` that fits the whole tag",
    ),
]


class ImmutabilityReply(Struct, frozen=True):
    """A rule: in the repositories of `scope` the tags of `pattern` stay where they are."""

    id: int
    scope: str
    pattern: str
    created_at: datetime
    created_by: str


class NewImmutability(Struct, frozen=True, forbid_unknown_fields=True):
    """A rule to be made. Tags that are there already are fixed where they are."""

    scope: Pattern
    pattern: TagPattern


def _show(rule: ImmutabilityRule) -> ImmutabilityReply:
    return ImmutabilityReply(rule.id, rule.scope, rule.pattern, time_of(rule.created_at), rule.created_by)


async def list_all(ask: Ask[None, IdPage]) -> Page[ImmutabilityReply]:
    """A page of the rules that the caller could remove; for auditors of all."""
    db, caller = ask.services.db, ask.caller
    return await collect(
        lambda after, limit: rows.list_rules(db, after, limit),
        ask.query.after,
        ask.query.n,
        lambda rule: rule.id,
        lambda rule: may_see_rules(db, caller, rule.scope),
        _show,
    )


async def create(ask: Ask[NewImmutability, NoQuery]) -> ImmutabilityReply:
    """Make a rule."""
    new = ask.body
    made = await ruling.create_rule(ask.services.db, ask.caller, ask.actor, new.scope, new.pattern)
    return _show(made)


async def get(ask: Ask[None, NoQuery]) -> ImmutabilityReply:
    """One rule."""
    rule = await rows.get_rule(ask.services.db, ask.id)
    if not await may_see_rules(ask.services.db, ask.caller, rule.scope):
        raise RuleUnknown(id=ask.id)
    return _show(rule)


async def delete(ask: Ask[None, NoQuery]) -> None:
    """Remove a rule."""
    await ruling.delete_rule(ask.services.db, ask.caller, ask.actor, ask.id)
