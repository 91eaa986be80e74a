"""Rules: what one says, who may make one, and from when it counts."""

from datetime import timedelta
from typing import Final, NamedTuple

from moorage.clock import now_ms
from moorage.database import Database, Transaction
from moorage.errors import FieldInvalid, RuleUnknown
from moorage.identity.access.patterns import check_pattern
from moorage.identity.callers.caller import Caller
from moorage.identity.managing.administering import check_may_administer, check_may_undo
from moorage.lifecycle.retention import rows
from moorage.lifecycle.retention.rows import NewestBy, RetentionRule
from moorage.lifecycle.retention.saying import describe
from moorage.records.audit.rows import Actor, record
from moorage.registry.tags.patterns import compile_tag_pattern

KEEP_NEWEST_MAX: Final = 1_000
AGE_MIN: Final = timedelta(hours=1)
AGE_MAX: Final = timedelta(days=36_500)


class Keeps(NamedTuple):
    """Which of the tags that a rule names stay: all that one of these is true of. None says nothing."""

    newest: int | None = None
    newest_by: NewestBy = "time"
    pushed: timedelta | None = None
    pulled: timedelta | None = None


async def create_rule(
    db: Database, caller: Caller, actor: Actor, scope: str, pattern: str, keeps: Keeps, wait: timedelta
) -> RetentionRule:
    """Make a rule. By the schedule it removes nothing until `wait` is over, and keeps at once.

    Raises PatternInvalid, FieldInvalid (400), Denied (403).
    """
    compile_tag_pattern(pattern)
    check_keeps(keeps)
    await check_may_administer(db, caller, check_pattern(scope))

    def work(tx: Transaction) -> RetentionRule:
        made = rows.insert_rule(
            tx,
            scope,
            pattern,
            keep_newest=keeps.newest,
            newest_by=keeps.newest_by,
            keep_pushed_ms=_ms(keeps.pushed),
            keep_pulled_ms=_ms(keeps.pulled),
            in_effect_from=now_ms() + int(wait.total_seconds() * 1000),
            created_by=actor.name,
        )
        record(tx, actor, "retention.create", scope, detail=f"rule {made.id}: {describe(made)}")
        return made

    return await db.write(work)


async def delete_rule(db: Database, caller: Caller, actor: Actor, rule_id: int) -> None:
    """Remove a rule.

    Raises RuleUnknown (404), Denied (403).
    """
    rule = await rows.get_rule(db, rule_id)
    await check_may_undo(db, caller, rule.scope, RuleUnknown(id=rule_id))

    def work(tx: Transaction) -> None:
        rows.delete_rule(tx, rule_id)
        record(tx, actor, "retention.delete", rule.scope, detail=f"rule {rule.id}: {describe(rule)}")

    await db.write(work)


def _ms(age: timedelta | None) -> int | None:
    return None if age is None else int(age.total_seconds() * 1000)


def check_keeps(keeps: Keeps) -> None:
    """Refuse to keep nothing, too many, or for no time.

    Raises FieldInvalid (400).
    """
    if keeps.newest is None and keeps.pushed is None and keeps.pulled is None:
        raise FieldInvalid(
            field="keep_newest", reason="say what to keep: the newest so many, or what was pushed or pulled"
        )
    if keeps.newest is not None and not 1 <= keeps.newest <= KEEP_NEWEST_MAX:
        raise FieldInvalid(field="keep_newest", reason=f"want 1 to {KEEP_NEWEST_MAX}")
    for field, age in (("keep_pushed", keeps.pushed), ("keep_pulled", keeps.pulled)):
        if age is not None and not AGE_MIN <= age <= AGE_MAX:
            raise FieldInvalid(field=field, reason="want 1h to 36500d")
