"""The audit: the endpoint and its documents."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from moorage.api.manage.documents import AfterId, Limit, Page, page, time_of
from moorage.api.manage.routes import Ask
from moorage.records.audit.rows import Entry, Filter, Outcome, list_entries

_Text = Annotated[str, Meta(max_length=255)]
_Time = Annotated[datetime, Meta(tz=True)]


class EntryReply(Struct, frozen=True):
    """One row: who did what to what, when, from where, by which token; and whether it was allowed."""

    id: int
    at: datetime
    actor: str
    token: int | None
    address: str
    action: str
    target: str
    outcome: Outcome
    detail: str


class AuditPage(Struct, frozen=True, forbid_unknown_fields=True):
    """Which rows: the newest first, or, with `after`, those that came after it, the oldest first.

    `next` goes into `before`; where `after` was sent, into `after`. A `target` that ends in `*` stands for
    all that begin so.
    """

    n: Limit = 100
    before: AfterId | None = None
    after: AfterId | None = None
    actor: _Text | None = None
    action: _Text | None = None
    target: _Text | None = None
    outcome: Outcome | None = None
    address: _Text | None = None
    token: AfterId | None = None
    since: _Time | None = None
    until: _Time | None = None


async def list_all(ask: Ask[None, AuditPage]) -> Page[EntryReply]:
    """A page of the audit."""
    query = ask.query
    wanted = Filter(
        query.actor,
        query.action,
        query.target,
        query.outcome,
        query.address,
        query.token,
        _ms(query.since),
        _ms(query.until),
    )
    found = await list_entries(ask.services.db, wanted, query.n + 1, before=query.before, after=query.after)
    return page(found, query.n, _show, lambda entry: entry.id)


def _ms(time: datetime | None) -> int | None:
    return None if time is None else int(time.timestamp() * 1000)


def _show(entry: Entry) -> EntryReply:
    return EntryReply(
        entry.id,
        time_of(entry.at),
        entry.actor,
        entry.token,
        entry.address,
        entry.action,
        entry.target,
        entry.outcome,
        entry.detail,
    )
