"""The table `immutability_rule` and all its SQL."""

from typing import NamedTuple

from moorage.clock import now_ms
from moorage.database import Database, Row, Transaction
from moorage.errors import RuleUnknown


class ImmutabilityRule(NamedTuple):
    """Tags of a pattern stay where they are, in the repositories of another.

    `scope` is as in a grant, `pattern` as `registry.tags.patterns` has it; `created_at` is in milliseconds
    since 1970-01-01 UTC.
    """

    id: int
    scope: str
    pattern: str
    created_at: int
    created_by: str


_COLUMNS = "id, scope, pattern, created_at, created_by"


# of the repository's namespace, and of any; "0" is the character after "/"
_OF_NAMESPACE = f"""
    SELECT {_COLUMNS} FROM immutability_rule WHERE scope = ? OR (scope > ? AND scope < ?)
    UNION ALL
    SELECT {_COLUMNS} FROM immutability_rule
    WHERE instr(scope, '*') > 0 AND (instr(scope, '/') = 0 OR instr(scope, '*') < instr(scope, '/'))
"""


def read_rules_near(tx: Transaction, namespace: str) -> list[ImmutabilityRule]:
    """The rules that may concern repositories of a namespace, the oldest first."""
    return sorted(map(_rule, tx.all(_OF_NAMESPACE, (namespace, f"{namespace}/", f"{namespace}0"))))


async def list_rules_near(db: Database, namespace: str) -> list[ImmutabilityRule]:
    """The same outside a transaction."""
    rows = await db.all(_OF_NAMESPACE, (namespace, f"{namespace}/", f"{namespace}0"))
    return sorted(map(_rule, rows))


async def list_rules(db: Database, after: int, limit: int) -> list[ImmutabilityRule]:
    """At most `limit` rules of a greater id than `after`, in order."""
    rows = await db.all(
        f"SELECT {_COLUMNS} FROM immutability_rule WHERE id > ? ORDER BY id LIMIT ?", (after, limit)
    )
    return [_rule(row) for row in rows]


async def get_rule(db: Database, rule_id: int) -> ImmutabilityRule:
    """One rule.

    Raises RuleUnknown (404).
    """
    row = await db.one(f"SELECT {_COLUMNS} FROM immutability_rule WHERE id = ?", (rule_id,))
    if row is None:
        raise RuleUnknown(id=rule_id)
    return _rule(row)


def find_same(tx: Transaction, scope: str, pattern: str) -> ImmutabilityRule | None:
    """The rule that says just this."""
    row = tx.one(
        f"SELECT {_COLUMNS} FROM immutability_rule WHERE scope = ? AND pattern = ?", (scope, pattern)
    )
    return None if row is None else _rule(row)


def insert_rule(tx: Transaction, scope: str, pattern: str, created_by: str) -> ImmutabilityRule:
    """Add a rule that is not there yet."""
    row = tx.one(
        "INSERT INTO immutability_rule (scope, pattern, created_at, created_by) VALUES (?, ?, ?, ?)"
        f" RETURNING {_COLUMNS}",
        (scope, pattern, now_ms(), created_by),
    )
    assert row is not None  # noqa: S101 - inserted by this statement
    return _rule(row)


def delete_rule(tx: Transaction, rule_id: int) -> bool:
    """Remove a rule; False when there is none."""
    return tx.run("DELETE FROM immutability_rule WHERE id = ?", (rule_id,)) > 0


def count_rules_in(tx: Transaction, namespace: str) -> int:
    """How many rules there are for a namespace and what is in it."""
    row = tx.one(
        "SELECT count(*) FROM immutability_rule WHERE scope = ? OR (scope > ? AND scope < ?)",
        (namespace, f"{namespace}/", f"{namespace}0"),
    )
    assert row is not None  # noqa: S101 - it counts
    return int(row[0])


def _rule(row: Row) -> ImmutabilityRule:
    return ImmutabilityRule(*row)
