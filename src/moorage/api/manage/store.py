"""Whether the store is whole: checks, scrubs, what was found, and the images that it concerns."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from moorage.api.manage import jobs
from moorage.api.manage.documents import Limit, Page, Repository, page, time_of
from moorage.api.manage.jobs import JobReply
from moorage.api.manage.routes import Ask, NoQuery
from moorage.database import Transaction
from moorage.lifecycle.checking import rows as checking_rows
from moorage.lifecycle.checking.report import IMAGES_MAX
from moorage.lifecycle.scrubbing import rows as scrub_rows
from moorage.lifecycle.scrubbing.scrub import begin_now
from moorage.lifecycle.store.rows import read_state
from moorage.lifecycle.store.sequence import Sequence
from moorage.oci.digest import Digest
from moorage.records.jobs.rows import enqueue
from moorage.registry.blobs.rows import get_total


class StoreReply(Struct, frozen=True):
    """Whether rows and files belong together, as far as it is known.

    `mistrusted`: why no garbage is collected; `damaged_blobs`: how many are 404 until they are pushed again;
    `report`: what the last check found, which was begun at `checked_at`.
    """

    mistrusted: str | None
    mistrusted_at: datetime | None
    damaged_blobs: int
    checked_at: datetime | None
    report: dict[str, Any] | None


class DamagedReply(Struct, frozen=True):
    """A blob that is 404 until it is pushed again, and images that need it."""

    digest: str
    images: list[str]


class DamagedPage(Struct, frozen=True, forbid_unknown_fields=True):
    """Which of them."""

    n: Limit = 100
    after: Annotated[str, Meta(max_length=80, description="what `next` of the page before says")] = ""


class CheckOrder(Struct, frozen=True, forbid_unknown_fields=True):
    """`withdraw_all`: also when a great part of all files is missing, as after the loss of a disk."""

    withdraw_all: bool = False


class ScrubOrder(Struct, frozen=True, forbid_unknown_fields=True):
    """`now`: everything from the beginning, as fast as the disk can; else the rest of the round, slowly."""

    now: bool = False


class VerifyOrder(Struct, frozen=True, forbid_unknown_fields=True):
    """Which image: a tag or a digest; without one all tagged images of the repository."""

    repository: Repository
    reference: Annotated[str, Meta(max_length=200)] | None = None


class ScrubReply(Struct, frozen=True):
    """The reading of everything: the round that is under way, else the last. `next_at`: of the next."""

    is_under_way: bool
    started_at: datetime | None
    finished_at: datetime | None
    next_at: datetime | None
    blobs: int
    bytes: int
    manifests: int
    damaged: int
    total_blobs: int
    total_bytes: int


async def show(ask: Ask[Any, NoQuery]) -> StoreReply:
    """What is known of the store."""
    db = ask.services.db
    state = await read_state(db)
    return StoreReply(
        state.mistrusted,
        None if state.mistrusted_at is None else time_of(state.mistrusted_at),
        await checking_rows.count_damaged(db),
        None if state.checked_at is None else time_of(state.checked_at),
        None if state.report is None else msgspec.json.decode(state.report),
    )


async def list_damaged(ask: Ask[None, DamagedPage]) -> Page[DamagedReply]:
    """A page of what was withdrawn and not pushed again."""
    db = ask.services.db
    digests = await checking_rows.list_damaged(db, ask.query.after, ask.query.n + 1)
    images = {
        digest: await checking_rows.list_images_of(db, digest, IMAGES_MAX)
        for digest in digests[: ask.query.n]
    }
    return page(digests, ask.query.n, lambda digest: DamagedReply(digest, images[digest]), Digest)


async def check(ask: Ask[CheckOrder, NoQuery]) -> JobReply:
    """Ask for a check."""
    return await jobs.order(ask, "check", {"withdraw_all": ask.body.withdraw_all}, "check", "store")


async def accept(ask: Ask[None, NoQuery]) -> StoreReply:
    """Trust the store again."""
    await Sequence(ask.services.db, ask.services.settings.storage.data).accept(ask.actor)
    return await show(ask)


async def show_scrub(ask: Ask[None, NoQuery]) -> ScrubReply:
    """How far the reading of everything is."""
    db = ask.services.db
    found = await scrub_rows.read_round(db)
    blobs, size = await get_total(db)
    period_ms = int(ask.services.settings.scrub.period.total_seconds() * 1000)
    next_ms = None if found.is_under_way or found.finished_at is None else found.finished_at + period_ms
    return ScrubReply(
        found.is_under_way,
        None if found.started_at is None else time_of(found.started_at),
        None if found.finished_at is None else time_of(found.finished_at),
        None if next_ms is None else time_of(next_ms),
        found.blobs,
        found.bytes,
        found.manifests,
        found.damaged,
        blobs,
        size,
    )


async def scrub(ask: Ask[ScrubOrder, NoQuery]) -> JobReply:
    """Ask for a scrub. One that goes on already begins again when everything is asked for now."""
    is_now = ask.body.now
    actor = ask.actor

    def work(tx: Transaction) -> int:
        if is_now:
            begin_now(tx, actor)
        return enqueue(tx, "scrub", {}, str(actor))

    return await jobs.shown_as_queued(ask, work)


async def verify(ask: Ask[VerifyOrder, NoQuery]) -> JobReply:
    """Ask for an image to be read."""
    arguments = {"repository": ask.body.repository, "reference": ask.body.reference}
    image = f"{ask.body.repository} {ask.body.reference or ''}".strip()
    return await jobs.order(ask, "verify", arguments, f"verify {image}", image)
