"""The tables `job` and `job_schedule`, and all their SQL. Times are milliseconds since 1970-01-01 UTC."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from moorage.clock import now_ms
from moorage.database import Database, Row, Transaction

State = Literal["queued", "running", "done", "failed", "cancelled"]
ATTEMPTS_MAX: Final = 5
_COLUMNS: Final = (
    "id, kind, key, arguments, state, not_before, attempts, attempts_max, holder, is_cancelling, progress,"
    " result, error, created_at, created_by, started_at, finished_at"
)
# a moment before which the job was made or last tried is none to wait for: the clock has gone back
_DUE: Final = "state = 'queued' AND (not_before <= ? OR created_at > ? OR started_at > ?)"


class Progress(msgspec.Struct, frozen=True):
    """How far a job is. `total` is None where no one knows it."""

    done: int
    total: int | None
    unit: str
    note: str = ""


class Job(msgspec.Struct, frozen=True):
    """One row. `error`: why the last attempt failed; `not_before`: when it is tried at the earliest."""

    id: int
    kind: str
    key: str
    arguments: dict[str, Any]
    state: State
    not_before: int
    attempts: int
    attempts_max: int
    holder: str | None
    is_cancelling: bool
    progress: Progress | None
    result: dict[str, Any] | None
    error: str | None
    created_at: int
    created_by: str
    started_at: int | None
    finished_at: int | None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more comes of it by itself."""
        return self.finished_at is not None


def enqueue(
    tx: Transaction,
    kind: str,
    arguments: Mapping[str, object],
    created_by: str,
    key: str | None = None,
    not_before: int | None = None,
) -> int:
    """Ask for a job, in the transaction of what it follows from; its id.

    Of a `key` (default: the kind) one is queued or running at a time: if there is one, its id.
    """
    now = now_ms()
    under_way = find_under_way(tx, key or kind)
    if under_way is not None:
        return under_way
    made = tx.all(
        "INSERT INTO job (kind, key, arguments, state, not_before, attempts_max, created_at, created_by)"
        " VALUES (?, ?, ?, 'queued', ?, ?, ?, ?) RETURNING id",
        (
            kind,
            key or kind,
            msgspec.json.encode(arguments).decode(),
            now if not_before is None else not_before,
            ATTEMPTS_MAX,
            now,
            created_by,
        ),
    )
    return int(made[0][0])


def find_under_way(tx: Transaction, key: str) -> int | None:
    """The job of this key that is queued or running."""
    row = tx.one("SELECT id FROM job WHERE key = ? AND state IN ('queued', 'running')", (key,))
    return None if row is None else int(row[0])


async def has_due(db: Database, kinds: Collection[str], only: int | None = None) -> bool:
    """Whether a job of these kinds waits for nothing but a worker; `only`: whether that one does."""
    condition, values = _wanted(kinds, only)
    return await db.one(f"SELECT 1 FROM job WHERE {condition} LIMIT 1", values) is not None


def take(
    tx: Transaction, kinds: Collection[str], holder: str, lease_ms: int, only: int | None = None
) -> Job | None:
    """Begin the job of these kinds that has waited longest; None when there is none any more."""
    now = now_ms()
    condition, values = _wanted(kinds, only)
    rows = tx.all(
        "UPDATE job SET state = 'running', holder = ?, leased_until = ?, attempts = attempts + 1,"
        " started_at = ?, progress = NULL"
        f" WHERE id = (SELECT id FROM job WHERE {condition} ORDER BY not_before, id LIMIT 1)"
        f" RETURNING {_COLUMNS}",
        (holder, now + lease_ms, now, *values),
    )
    return _job(rows[0]) if rows else None


def _wanted(kinds: Collection[str], only: int | None) -> tuple[str, list[object]]:
    now = now_ms()
    condition = f"{_DUE} AND kind IN ({', '.join('?' * len(kinds))})"
    if only is None:
        return condition, [now, now, now, *kinds]
    return f"{condition} AND id = ?", [now, now, now, *kinds, only]


def renew(tx: Transaction, job_id: int, holder: str, lease_ms: int, progress: Progress | None) -> bool | None:
    """Keep a running job, and write how far it is. Whether it shall stop; None: another has it now."""
    rows = tx.all(
        "UPDATE job SET leased_until = max(?, leased_until + 1), progress = coalesce(?, progress)"
        " WHERE id = ? AND holder = ? AND state = 'running' RETURNING is_cancelling",
        (
            now_ms() + lease_ms,
            None if progress is None else msgspec.json.encode(progress).decode(),
            job_id,
            holder,
        ),
    )
    return bool(rows[0][0]) if rows else None


def end(
    tx: Transaction,
    job_id: int,
    holder: str,
    state: Literal["done", "failed", "cancelled"],
    *,
    progress: Progress | None = None,
    result: Mapping[str, object] | None = None,
    error: str | None = None,
) -> bool:
    """End a running job; False when another has it now."""
    return bool(
        tx.run(
            "UPDATE job SET state = ?, progress = coalesce(?, progress), result = ?, error = ?,"
            " finished_at = ?, holder = NULL, leased_until = NULL"
            " WHERE id = ? AND holder = ? AND state = 'running'",
            (
                state,
                None if progress is None else msgspec.json.encode(progress).decode(),
                None if result is None else msgspec.json.encode(result).decode(),
                error,
                now_ms(),
                job_id,
                holder,
            ),
        )
    )


def put_back(
    tx: Transaction, job_id: int, holder: str, *, delay_ms: int = 0, error: str | None = None
) -> bool:
    """Queue a running job again, unless it was asked to stop: that ends it now.

    Without `error` its worker only stops: that was no attempt. False when another has it now.
    """
    now = now_ms()
    return bool(
        tx.run(
            "UPDATE job SET state = CASE WHEN is_cancelling THEN 'cancelled' ELSE 'queued' END,"
            " finished_at = CASE WHEN is_cancelling THEN ? END, not_before = ?, holder = NULL,"
            " leased_until = NULL, attempts = attempts - ?, error = coalesce(?, error)"
            " WHERE id = ? AND holder = ? AND state = 'running'",
            (now, now + delay_ms, 1 if error is None else 0, error, job_id, holder),
        )
    )


async def list_running(db: Database) -> list[tuple[int, str, int]]:
    """Id, holder and end of the lease of each running job."""
    rows = await db.all("SELECT id, holder, leased_until FROM job WHERE state = 'running' ORDER BY id")
    return [(int(job), str(holder), int(until)) for job, holder, until in rows]


def take_from_the_dead(tx: Transaction, job_id: int, holder: str, leased_until: int) -> State | None:
    """Queue the job of a worker that is dead, or end it; None when it was alive after all.

    Raises nothing; `leased_until` is what it was when it was last renewed.
    """
    rows = tx.all(
        "UPDATE job SET"
        " state = CASE WHEN is_cancelling THEN 'cancelled'"
        "  WHEN attempts >= attempts_max THEN 'failed' ELSE 'queued' END,"
        " finished_at = CASE WHEN is_cancelling OR attempts >= attempts_max THEN ? END,"
        " error = ?, not_before = ?, holder = NULL, leased_until = NULL"
        " WHERE id = ? AND holder = ? AND leased_until = ? AND state = 'running' RETURNING state",
        (now_ms(), "its worker died", now_ms(), job_id, holder, leased_until),
    )
    return rows[0][0] if rows else None


def cancel(tx: Transaction, job_id: int) -> State | None:
    """End a queued job, ask a running one to stop; the state that it was in. None: there is no such job."""
    row = tx.one("SELECT state FROM job WHERE id = ?", (job_id,))
    if row is None:
        return None
    tx.run(
        "UPDATE job SET state = 'cancelled', is_cancelling = 1, finished_at = ?"
        " WHERE id = ? AND state = 'queued'",
        (now_ms(), job_id),
    )
    tx.run("UPDATE job SET is_cancelling = 1 WHERE id = ? AND state = 'running'", (job_id,))
    state: State = row[0]
    return state


def queue_again(tx: Transaction, job_id: int) -> None:
    """Queue a job that failed or was cancelled, as if it were new."""
    tx.run(
        "UPDATE job SET state = 'queued', not_before = ?, attempts = 0, is_cancelling = 0, progress = NULL,"
        " error = NULL, finished_at = NULL, started_at = NULL WHERE id = ?"
        " AND state IN ('failed', 'cancelled')",
        (now_ms(), job_id),
    )


def get(tx: Transaction, job_id: int) -> Job | None:
    """One job, inside a change."""
    row = tx.one(f"SELECT {_COLUMNS} FROM job WHERE id = ?", (job_id,))
    return None if row is None else _job(row)


async def find(db: Database, job_id: int) -> Job | None:
    """One job."""
    row = await db.one(f"SELECT {_COLUMNS} FROM job WHERE id = ?", (job_id,))
    return None if row is None else _job(row)


async def list_jobs(
    db: Database, limit: int, *, before: int | None = None, kind: str | None = None, state: str | None = None
) -> list[Job]:
    """At most `limit` jobs, the newest first; those of lesser id than `before`."""
    conditions: list[str] = []
    values: list[object] = []
    for condition, value in (("id < ?", before), ("kind = ?", kind), ("state = ?", state)):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = await db.all(f"SELECT {_COLUMNS} FROM job {where} ORDER BY id DESC LIMIT ?", (*values, limit))
    return [_job(row) for row in rows]


async def count(db: Database) -> list[tuple[str, State, int]]:
    """How many jobs there are, by kind and state."""
    rows = await db.all("SELECT kind, state, count(*) FROM job GROUP BY kind, state ORDER BY kind, state")
    return [(str(kind), state, int(number)) for kind, state, number in rows]


async def list_forgettable(db: Database, kept: int, before: int, limit: int) -> list[int]:
    """Jobs that ended before that moment, or after which `kept` others of their kind did."""
    rows = await db.all(
        "SELECT id FROM (SELECT id, finished_at, row_number() OVER (PARTITION BY kind ORDER BY id DESC)"
        " AS number FROM job WHERE finished_at IS NOT NULL) AS ended"
        " WHERE number > ? OR finished_at < ? ORDER BY id LIMIT ?",
        (kept, before, limit),
    )
    return [int(row[0]) for row in rows]


def forget(tx: Transaction, ids: Sequence[int]) -> int:
    """Remove jobs that have ended; how many there were."""
    marks = ", ".join("?" * len(ids))
    return tx.run(f"DELETE FROM job WHERE id IN ({marks}) AND finished_at IS NOT NULL", list(ids))


async def last_asked(db: Database, kind: str) -> int | None:
    """When the schedule last asked for a job of this kind."""
    row = await db.one("SELECT last_at FROM job_schedule WHERE kind = ?", (kind,))
    return None if row is None else int(row[0])


def note_asked(tx: Transaction, kind: str, was: int | None, at: int) -> bool:
    """Say that the schedule asked at that moment, last before at `was`; False when another has said so."""
    if was is None:
        return bool(
            tx.run(
                "INSERT INTO job_schedule (kind, last_at) VALUES (?, ?) ON CONFLICT (kind) DO NOTHING",
                (kind, at),
            )
        )
    return bool(tx.run("UPDATE job_schedule SET last_at = ? WHERE kind = ? AND last_at = ?", (at, kind, was)))


def _job(row: Row) -> Job:
    (
        job_id,
        kind,
        key,
        arguments,
        state,
        not_before,
        attempts,
        attempts_max,
        holder,
        is_cancelling,
        progress,
        result,
        error,
        *times,
    ) = row
    return Job(
        job_id,
        kind,
        key,
        msgspec.json.decode(arguments, type=dict[str, Any]),
        state,
        not_before,
        attempts,
        attempts_max,
        holder,
        bool(is_cancelling),
        None if progress is None else msgspec.json.decode(progress, type=Progress),
        None if result is None else msgspec.json.decode(result, type=dict[str, Any]),
        error,
        *times,
    )
