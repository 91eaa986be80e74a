"""Rules that fix tags: made and removed by whoever administers all that their scope names."""

from typing import Final

from moorage.database import Database, Transaction
from moorage.errors import FieldInvalid, RuleUnknown
from moorage.identity.access.patterns import check_pattern, namespace_of
from moorage.identity.callers.caller import Caller
from moorage.identity.managing.administering import check_may_administer, check_may_undo
from moorage.records.audit.rows import Actor, record
from moorage.registry.tags import immutability_rows as rows
from moorage.registry.tags.immutability_rows import ImmutabilityRule
from moorage.registry.tags.patterns import compile_tag_pattern

RULES_MAX: Final = 100
"""Rules of one namespace: each is read whenever one of its tags moves."""


async def create_rule(
    db: Database, caller: Caller, actor: Actor, scope: str, pattern: str
) -> ImmutabilityRule:
    """Fix the tags of a pattern, wherever they are now, in all repositories of a scope.

    The rule that is there already, if it says the same. Raises PatternInvalid, FieldInvalid (400),
    Denied (403).
    """
    compile_tag_pattern(pattern)
    await check_may_administer(db, caller, check_pattern(scope))

    def work(tx: Transaction) -> ImmutabilityRule:
        same = rows.find_same(tx, scope, pattern)
        if same is not None:
            return same
        if rows.count_rules_in(tx, namespace_of(scope)) >= RULES_MAX:
            raise FieldInvalid(field="scope", reason=f"{namespace_of(scope)} has {RULES_MAX} rules already")
        made = rows.insert_rule(tx, scope, pattern, actor.name)
        record(tx, actor, "immutability.create", scope, detail=pattern)
        return made

    return await db.write(work)


async def delete_rule(db: Database, caller: Caller, actor: Actor, rule_id: int) -> None:
    """Let the tags of a rule move again.

    Raises RuleUnknown (404), Denied (403).
    """
    rule = await rows.get_rule(db, rule_id)
    await check_may_undo(db, caller, rule.scope, RuleUnknown(id=rule_id))

    def work(tx: Transaction) -> None:
        if not rows.delete_rule(tx, rule_id):
            raise RuleUnknown(id=rule_id)
        record(tx, actor, "immutability.delete", rule.scope, detail=rule.pattern)

    await db.write(work)
