"""Garbage: what the store holds, what of it goes when, and a run at once."""

import asyncio
from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta, Struct

from moorage.api.manage import jobs
from moorage.api.manage.documents import time_of
from moorage.api.manage.jobs import JobReply
from moorage.api.manage.routes import Ask, NoQuery
from moorage.lifecycle.garbage import status
from moorage.records.jobs.rows import list_jobs


class StatusReply(Struct, frozen=True):
    """The store's bytes. All blobs are needed, in the trash, waiting or garbage.

    `disk_bytes`: what the disk holds for the data folder, in whole blocks; `free_bytes`: what it could still
    take; `shared_bytes`: what more it would
    be if each image had its own copies; `obstacle`: why nothing is collected now; `last_run`: a job.
    """

    needed_bytes: int
    trash_bytes: int
    waiting_bytes: int
    garbage_bytes: int
    shared_bytes: int
    blobs: int
    uploads_bytes: int
    quarantine_bytes: int
    database_bytes: int
    other_bytes: int
    disk_bytes: int
    free_bytes: int
    obstacle: str | None
    next_at: datetime | None
    last_run: JobReply | None


class PlannedReply(Struct, frozen=True):
    """Something that goes, if nothing happens before: a `deletion` or a `repository` of the trash, or a blob
    that nothing refers to when its `lease` is over.
    """  # noqa: D205 - one sentence

    at: datetime
    kind: str
    repository: str | None
    digest: str | None
    frees_bytes: int
    deletion: int | None


class PlanReply(Struct, frozen=True):
    """What goes when, the soonest first. `garbage_bytes` go with the next run."""

    garbage_bytes: int
    items: list[PlannedReply]


class PlanPage(Struct, frozen=True, forbid_unknown_fields=True):
    """How many of each kind at most."""

    n: Annotated[int, Meta(ge=1, le=10_000)] = 1000


async def show(ask: Ask[None, NoQuery]) -> StatusReply:
    """What the store holds."""
    services = ask.services
    usage = await asyncio.to_thread(services.disk.measure)
    held = await status.measure_store(services.db, usage)
    soonest = await status.plan(services.db, services.settings.delete.delay_ms, 1)
    runs = await list_jobs(services.db, 1, kind="garbage")
    return StatusReply(
        held.needed_bytes,
        held.trash_bytes,
        held.waiting_bytes,
        held.garbage_bytes,
        held.shared_bytes,
        held.blobs,
        usage.uploads_bytes,
        usage.quarantine_bytes,
        usage.database_bytes,
        usage.other_bytes,
        held.disk_bytes,
        await asyncio.to_thread(services.disk.measure_free),
        held.obstacle,
        time_of(soonest[0].at) if soonest else None,
        jobs.show(runs[0]) if runs else None,
    )


async def plan(ask: Ask[None, PlanPage]) -> PlanReply:
    """What goes when."""
    services = ask.services
    found = await status.plan(services.db, services.settings.delete.delay_ms, ask.query.n)
    garbage_bytes = await status.measure_garbage(services.db)
    items = [
        PlannedReply(time_of(each.at), each.kind, each.repository, each.digest, each.frees_bytes, each.id)
        for each in found
    ]
    return PlanReply(garbage_bytes, items)


async def run(ask: Ask[Any, NoQuery]) -> JobReply:
    """Ask for a run."""
    return await jobs.order(ask, "garbage", {}, "garbage", "store")
