"""The table `audit` and all its SQL."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from moorage.clock import now_ms
from moorage.database import Database, Transaction

Outcome = Literal["allowed", "denied"]
ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something: an account's name, or `anonymous`; from where; by which token, if by one."""

    name: str = ANONYMOUS
    address: str = ""
    token: int | None = None

    def __str__(self) -> str:
        return f"{ANONYMOUS}@{self.address}" if self.name == ANONYMOUS else self.name


class Entry(msgspec.Struct, frozen=True):
    """One row. `at` is in milliseconds since 1970-01-01 UTC; `target` what was acted on."""

    id: int
    at: int
    actor: str
    token: int | None
    address: str
    action: str
    target: str
    outcome: Outcome
    detail: str


class Filter(msgspec.Struct, frozen=True):
    """Which rows are wanted; None is any. `target` ending in `*` is a prefix. Times as in `Entry`."""

    actor: str | None = None
    action: str | None = None
    target: str | None = None
    outcome: Outcome | None = None
    address: str | None = None
    token: int | None = None
    since: int | None = None
    until: int | None = None


def record(
    tx: Transaction, actor: Actor, action: str, target: str, outcome: Outcome = "allowed", detail: str = ""
) -> None:
    """Add a row, in the transaction of what it speaks of."""
    tx.run(
        "INSERT INTO audit (at, actor, token, address, action, target, outcome, detail)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (now_ms(), actor.name, actor.token, actor.address, action, target, outcome, detail),
    )


async def list_entries(
    db: Database, wanted: Filter, limit: int, *, before: int | None = None, after: int | None = None
) -> list[Entry]:
    """At most `limit` rows: the newest first; with `after`, those of greater id, the oldest first."""
    conditions, values = _conditions(wanted)
    if before is not None:
        conditions.append("id < ?")
        values.append(before)
    if after is not None:
        conditions.append("id > ?")
        values.append(after)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    order = "DESC" if after is None else "ASC"
    rows = await db.all(
        "SELECT id, at, actor, token, address, action, target, outcome, detail"
        f" FROM audit {where} ORDER BY id {order} LIMIT ?",
        (*values, limit),
    )
    return [Entry(*row) for row in rows]


_EQUAL: Mapping[str, str] = {
    "actor": "actor = ?",
    "action": "action = ?",
    "outcome": "outcome = ?",
    "address": "address = ?",
    "token": "token = ?",
    "since": "at >= ?",
    "until": "at < ?",
}


def _conditions(wanted: Filter) -> tuple[list[str], list[object]]:
    conditions, values = [], []
    for name, condition in _EQUAL.items():
        value = getattr(wanted, name)
        if value is not None:
            conditions.append(condition)
            values.append(value)
    if wanted.target is not None and wanted.target.endswith("*"):
        # no LIKE: `_` and `%` are themselves in a repository's name
        conditions.append("substr(target, 1, ?) = ?")
        values += [len(wanted.target) - 1, wanted.target[:-1]]
    elif wanted.target is not None:
        conditions.append("target = ?")
        values.append(wanted.target)
    return conditions, values
