"""The table `audit` and all its SQL."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from moorage.clock import now_ms
from moorage.database import Database, Transaction

Outcome = Literal["allowed", "denied"]
ANONYMOUS = "anonymous"
_SLICE_ROWS = 5_000


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
    last = await db.one("SELECT max(id) FROM audit")
    top = int(last[0] or 0) if last else 0
    low, high = (after or 0) + 1, min(top, (before or top + 1) - 1)
    found: list[Entry] = []
    while low <= high and len(found) < limit:
        # a few thousand rows at a time, others in between: what is asked for may be rare, and the audit long
        if after is None:
            first, end = max(low, high - _SLICE_ROWS + 1), high
            high = first - 1
        else:
            first, end = low, min(high, low + _SLICE_ROWS - 1)
            low = end + 1
        rows = await db.all(
            "SELECT id, at, actor, token, address, action, target, outcome, detail FROM audit"
            f" WHERE {' AND '.join(['id BETWEEN ? AND ?', *conditions])}"
            f" ORDER BY id {'DESC' if after is None else 'ASC'} LIMIT ?",
            (first, end, *values, limit - len(found)),
        )
        found += [Entry(*row) for row in rows]
        await asyncio.sleep(0)
    return found


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
