"""What people may do with jobs that there are: look at them, cancel them, have them tried again."""

from moorage.database import Database, Transaction
from moorage.errors import JobStateInvalid, JobUnknown
from moorage.records.audit.rows import Actor, record
from moorage.records.jobs import rows
from moorage.records.jobs.rows import Job


async def get_job(db: Database, job_id: int) -> Job:
    """One job.

    Raises JobUnknown (404).
    """
    return _found(await rows.find(db, job_id))


async def cancel(db: Database, job_id: int, by: Actor) -> Job:
    """End a job that waits at once; one that runs, when its handler next says how far it is.

    Raises JobUnknown (404), JobStateInvalid (409).
    """

    def work(tx: Transaction) -> Job:
        job = _found(rows.get(tx, job_id))
        if job.has_ended:
            raise JobStateInvalid(state=job.state, reason="it has ended")
        rows.cancel(tx, job_id)
        record(tx, by, "job.cancel", str(job_id), detail=job.kind)
        return _found(rows.get(tx, job_id))

    return await db.write(work)


async def retry(db: Database, job_id: int, by: Actor) -> Job:
    """Queue a job that failed or was cancelled.

    Raises JobUnknown (404), JobStateInvalid (409).
    """

    def work(tx: Transaction) -> Job:
        job = _found(rows.get(tx, job_id))
        if job.state not in {"failed", "cancelled"}:
            raise JobStateInvalid(state=job.state, reason="only what failed or was cancelled is tried again")
        other = rows.find_under_way(tx, job.key)
        if other is not None:
            raise JobStateInvalid(state=job.state, reason=f"job {other} does the same")
        rows.queue_again(tx, job_id)
        record(tx, by, "job.retry", str(job_id), detail=job.kind)
        return _found(rows.get(tx, job_id))

    return await db.write(work)


def _found(job: Job | None) -> Job:
    if job is None:
        raise JobUnknown
    return job
