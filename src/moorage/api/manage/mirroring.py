"""What is fetched of upstreams before anyone asks, and whether they could be done without: the endpoints."""

from typing import Annotated, Final

from msgspec import Meta, Struct

from moorage.api.gate import Needs
from moorage.api.manage import jobs
from moorage.api.manage.jobs import JobReply
from moorage.api.manage.routes import Ask, NoQuery, Route
from moorage.mirrors import prefetching, rehearsing

Name = Annotated[str, Meta(max_length=64)]


class PrefetchOrder(Struct, frozen=True, forbid_unknown_fields=True):
    """Of which upstream the pinned images are fetched; without it of all that have pins."""

    upstream: Name | None = None


class RehearsalOrder(Struct, frozen=True, forbid_unknown_fields=True):
    """What was pulled of which upstream, without it of all, in how many days; `fetch`: close the gaps."""

    upstream: Name | None = None
    days: Annotated[int, Meta(ge=1, le=rehearsing.DAYS_MAX)] = rehearsing.DAYS
    fetch: bool = False


async def prefetch(ask: Ask[PrefetchOrder, NoQuery]) -> JobReply:
    """Ask for a prefetch."""
    upstream = ask.body.upstream
    await _check(ask, upstream)
    target = upstream or "all"
    return await jobs.order(
        ask, prefetching.KIND, {"upstream": upstream}, f"{prefetching.KIND} {target}", target
    )


async def rehearse(ask: Ask[RehearsalOrder, NoQuery]) -> JobReply:
    """Ask for a rehearsal."""
    body = ask.body
    await _check(ask, body.upstream)
    arguments = {"upstream": body.upstream, "days": body.days, "fetch": body.fetch}
    target = body.upstream or "all"
    key = f"{rehearsing.KIND} {target} {body.days} {body.fetch}"
    return await jobs.order(ask, rehearsing.KIND, arguments, key, target)


async def _check(ask: Ask[PrefetchOrder, NoQuery] | Ask[RehearsalOrder, NoQuery], name: str | None) -> None:
    """Raises UpstreamUnknown (404)."""
    if name is not None:
        await ask.services.managed.get(name)


ROUTES: Final = (
    Route(
        "POST",
        "/upstreams/prefetches",
        prefetch,
        Needs.ADMIN,
        JobReply,
        "Fetch what upstreams have pinned.",
        status=202,
        body=PrefetchOrder,
    ),
    Route(
        "POST",
        "/upstreams/rehearsals",
        rehearse,
        Needs.ADMIN,
        JobReply,
        "Find what was pulled of late and could not be if the line to its upstream went now.",
        status=202,
        body=RehearsalOrder,
    ),
)
