"""A job run to its end in this process, as a worker does."""

from collections.abc import Mapping
from typing import Any

from moorage.database import Database, Transaction
from moorage.records.jobs import rows
from moorage.records.jobs.running import Handler, Running


async def run_job(db: Database, kind: str, handler: Handler, **arguments: Any) -> Mapping[str, Any]:
    """What came of it."""

    def take(tx: Transaction) -> rows.Job | None:
        rows.enqueue(tx, kind, arguments, "test")
        return rows.take(tx, [kind], "holder", 60_000)

    job = await db.write(take)
    assert job is not None
    result = await handler(Running(db, job, "holder", 60_000))
    await db.write(lambda tx: rows.end(tx, job.id, "holder", "done", result=result))
    assert result is not None
    return result
