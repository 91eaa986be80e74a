"""Jobs: the endpoints and their documents. Each kind is asked for by an operation of its own."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta, Struct

from moorage.api.manage.documents import AfterId, Limit, Page, page, time_of
from moorage.api.manage.routes import Ask, NoQuery
from moorage.database import Transaction
from moorage.errors import JobUnknown
from moorage.records.audit.rows import record
from moorage.records.jobs import managing
from moorage.records.jobs.rows import Job, Progress, State, enqueue, list_jobs
from moorage.records.jobs.scheduling import BY


class JobReply(Struct, frozen=True):
    """A job: what it is to do, how far it is, what came of it.

    `error` is why the last attempt failed; while `state` is `queued`, it is tried again at `not_before`.
    """

    id: int
    kind: str
    state: State
    arguments: dict[str, Any]
    progress: Progress | None
    result: dict[str, Any] | None
    error: str | None
    attempts: int
    attempts_max: int
    is_cancelling: bool
    created_at: datetime
    created_by: str
    not_before: datetime
    started_at: datetime | None
    finished_at: datetime | None


class JobPage(Struct, frozen=True, forbid_unknown_fields=True):
    """Which jobs: the newest first."""

    n: Limit = 100
    after: AfterId | None = None
    kind: Annotated[str, Meta(max_length=64)] | None = None
    state: State | None = None


async def list_all(ask: Ask[None, JobPage]) -> Page[JobReply]:
    """A page of the jobs."""
    query = ask.query
    found = await list_jobs(
        ask.services.db, query.n + 1, before=query.after, kind=query.kind, state=query.state
    )
    return page(found, query.n, show, lambda job: job.id)


async def get(ask: Ask[None, NoQuery]) -> JobReply:
    """One job."""
    job = await managing.get_job(ask.services.db, ask.id)
    caller = ask.caller
    # an account of that name may be older than the schedules
    is_own = caller.account is not None and caller.name == job.created_by != BY
    if not caller.is_auditor and not is_own:
        raise JobUnknown
    return show(job)


async def cancel(ask: Ask[None, NoQuery]) -> JobReply:
    """Have a job stop."""
    return show(await managing.cancel(ask.services.db, ask.id, ask.actor))


async def retry(ask: Ask[None, NoQuery]) -> JobReply:
    """Have a job tried again."""
    return show(await managing.retry(ask.services.db, ask.id, ask.actor))


def show(job: Job) -> JobReply:
    """A job as documents show it."""
    return JobReply(
        job.id,
        job.kind,
        job.state,
        job.arguments,
        job.progress,
        job.result,
        job.error,
        job.attempts,
        job.attempts_max,
        job.is_cancelling,
        time_of(job.created_at),
        job.created_by,
        time_of(job.not_before),
        None if job.started_at is None else time_of(job.started_at),
        None if job.finished_at is None else time_of(job.finished_at),
    )


async def order(
    ask: Ask[Any, NoQuery], kind: str, arguments: Mapping[str, object], key: str, target: str
) -> JobReply:
    """Queue a job as the caller asks for it; the one of that `key` that is under way, if there is one.

    `target` is what the audit says it is about.
    """
    actor = ask.actor

    def work(tx: Transaction) -> int:
        record(tx, actor, kind, target)
        return enqueue(tx, kind, arguments, str(actor), key)

    return await shown_as_queued(ask, work)


async def shown_as_queued(ask: Ask[Any, Any], work: Callable[[Transaction], int]) -> JobReply:
    """Queue a job by `work`, which returns its number."""
    job_id = await ask.services.db.write(work)
    return show(await managing.get_job(ask.services.db, job_id))
