"""Upstreams, the switch of their lines, and what they saved: the endpoints."""

from datetime import date, timedelta
from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, Struct, structs

from moorage.api.gate import Needs
from moorage.api.manage.documents import NamePage, Page, page
from moorage.api.manage.routes import Ask, NoQuery, Route
from moorage.api.manage.upstream_documents import (
    DaySavings,
    NewUpstream,
    RemovedReply,
    SavingsReply,
    StatusReply,
    SwitchedReply,
    TestReply,
    UpstreamChange,
    UpstreamReply,
    UpstreamSavings,
    UpstreamTest,
    read_changes,
    read_given,
    show_counted,
    show_status,
    show_tested,
    show_upstream,
)
from moorage.config_mirrors import usual_hosts, usual_url
from moorage.errors import FieldInvalid, Unsupported
from moorage.lifecycle.garbage.rows import measure_shared
from moorage.mirrors.managing import Images
from moorage.mirrors.saving import KEPT, today
from moorage.mirrors.status import MONTH, read_savings, read_statuses
from moorage.mirrors.upstreams import Upstream

Day = Annotated[str, Meta(max_length=10, description="a day of UTC, as `2026-11-27`")]


class RemovalQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """What becomes of the upstream's images, if there are any: local ones, or the trash's."""

    images: Images | None = None


class SavingsQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """From which day to which, both among them; without: the last 30 days."""

    since: Day = ""
    until: Day = ""


async def list_all(ask: Ask[None, NamePage]) -> Page[UpstreamReply]:
    """A page of the upstreams."""
    found = [each for each in await ask.services.managed.list_all() if each.name > ask.query.after]
    return page(found, ask.query.n, show_upstream, lambda each: each.name)


async def create(ask: Ask[NewUpstream, NoQuery]) -> UpstreamReply:
    """Make an upstream."""
    new = ask.body
    if new.url is UNSET:
        url = usual_url(new.name)
        if not url:
            raise FieldInvalid(field="url", reason=f"is missing: {new.name} says no host")
        new = structs.replace(new, url=url)
    if new.hosts is UNSET:
        new = structs.replace(new, hosts=list(usual_hosts(new.name)))
    made = await ask.services.managed.create(ask.actor, new.name, read_changes(new), new.visibility)
    return await _settled(ask, made)


async def get(ask: Ask[None, NoQuery]) -> UpstreamReply:
    """One upstream."""
    return show_upstream(await ask.services.managed.get(ask.path["name"]))


async def change(ask: Ask[UpstreamChange, NoQuery]) -> UpstreamReply:
    """Change an upstream: all that is sent, or nothing."""
    changed = await ask.services.managed.change(ask.actor, ask.path["name"], read_changes(ask.body))
    return await _settled(ask, changed)


async def delete(ask: Ask[None, RemovalQuery]) -> RemovedReply:
    """Forget an upstream."""
    services, images = ask.services, ask.query.images
    settings = services.settings.delete
    if images == "delete" and not settings.enabled:
        raise Unsupported(reason="deleting is switched off (delete.enabled)")
    removed = await services.managed.remove(
        ask.actor, ask.path["name"], images, services.uploads, settings.grace_ms
    )
    await services.mirrors.upstreams.look(at_once=True)
    return RemovedReply(removed.kept, removed.deleted)


async def disconnect(ask: Ask[None, NoQuery]) -> SwitchedReply:
    """Let an upstream be asked no more."""
    return await _switched(ask, await ask.services.managed.disconnect(ask.actor, ask.path["name"]))


async def connect(ask: Ask[None, NoQuery]) -> SwitchedReply:
    """Let an upstream be asked again."""
    return await _switched(ask, await ask.services.managed.connect(ask.actor, ask.path["name"]))


async def disconnect_all(ask: Ask[None, NoQuery]) -> SwitchedReply:
    """Let no upstream be asked any more."""
    return await _switched(ask, await ask.services.managed.disconnect(ask.actor, None))


async def connect_all(ask: Ask[None, NoQuery]) -> SwitchedReply:
    """Let all upstreams be asked again."""
    return await _switched(ask, await ask.services.managed.connect(ask.actor, None))


async def show_all_statuses(ask: Ask[None, NamePage]) -> Page[StatusReply]:
    """How all upstreams are."""
    found = [each for each in await ask.services.managed.list_all() if each.name > ask.query.after]
    statuses = await read_statuses(ask.services.db)
    return page(found, ask.query.n, lambda each: show_status(statuses.of(each)), lambda each: each.name)


async def show_one_status(ask: Ask[None, NoQuery]) -> StatusReply:
    """How an upstream is."""
    upstream = await ask.services.managed.get(ask.path["name"])
    return show_status((await read_statuses(ask.services.db)).of(upstream))


async def test(ask: Ask[UpstreamTest, NoQuery]) -> TestReply:
    """Ask an upstream whether it answers."""
    tested = await ask.services.managed.test(ask.actor, ask.path["name"], read_given(ask.body))
    return TestReply([show_tested(each) for each in tested])


async def show_savings(ask: Ask[None, SavingsQuery]) -> SavingsReply:
    """What was saved, by day."""
    db = ask.services.db
    until = _read_day("until", ask.query.until) or today()
    since = _read_day("since", ask.query.since) or until - MONTH + timedelta(days=1)
    if since > until or until - since > KEPT:
        raise FieldInvalid(field="since", reason=f"want a day before `until`, at most {KEPT.days} days")
    savings = await read_savings(db, since.isoformat(), until.isoformat())
    return SavingsReply(
        since.isoformat(),
        until.isoformat(),
        show_counted(savings.total),
        [DaySavings(day, show_counted(counted)) for day, counted in savings.days.items()],
        [UpstreamSavings(name, show_counted(counted)) for name, counted in savings.upstreams.items() if name],
        await measure_shared(db),
    )


def _read_day(field: str, text: str) -> date | None:
    """Raises FieldInvalid (400)."""
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise FieldInvalid(field=field, reason="want a day, as 2026-11-27") from error


async def _settled(ask: Ask[Any, Any], upstream: Upstream) -> UpstreamReply:
    """What is answered is in force in this process at once; in the others within a second."""
    await ask.services.mirrors.upstreams.look(at_once=True)
    return show_upstream(upstream)


async def _switched(ask: Ask[Any, Any], names: list[str]) -> SwitchedReply:
    await ask.services.mirrors.upstreams.look(at_once=True)
    return SwitchedReply(names)


_ONE: Final = "/upstreams/{name}"

ROUTES: Final = (
    Route(
        "GET",
        "/upstreams",
        list_all,
        Needs.AUDITOR,
        Page[UpstreamReply],
        "All upstreams: other registries whose images are had through this one.",
        query=NamePage,
    ),
    Route(
        "POST",
        "/upstreams",
        create,
        Needs.ADMIN,
        UpstreamReply,
        "Make an upstream, and the namespace of its name.",
        status=201,
        body=NewUpstream,
    ),
    Route(
        "GET",
        "/upstreams/status",
        show_all_statuses,
        Needs.AUDITOR,
        Page[StatusReply],
        "How all upstreams are: their lines, what is kept of them, what that saved.",
        query=NamePage,
    ),
    Route(
        "PUT",
        "/upstreams/disconnection",
        disconnect_all,
        Needs.ADMIN,
        SwitchedReply,
        "Let no upstream be asked any more; what is here is served on.",
    ),
    Route(
        "DELETE",
        "/upstreams/disconnection",
        connect_all,
        Needs.ADMIN,
        SwitchedReply,
        "Let all upstreams be asked again.",
    ),
    Route("GET", _ONE, get, Needs.AUDITOR, UpstreamReply, "One upstream."),
    Route(
        "PATCH",
        _ONE,
        change,
        Needs.ADMIN,
        UpstreamReply,
        "Change an upstream; with another address its password has to be sent again.",
        body=UpstreamChange,
    ),
    Route(
        "DELETE",
        _ONE,
        delete,
        Needs.ADMIN,
        RemovedReply,
        "Forget an upstream; if there are images of it, say whether to keep or delete them.",
        query=RemovalQuery,
    ),
    Route(
        "GET",
        f"{_ONE}/status",
        show_one_status,
        Needs.AUDITOR,
        StatusReply,
        "How an upstream is.",
    ),
    Route(
        "PUT",
        f"{_ONE}/disconnection",
        disconnect,
        Needs.ADMIN,
        SwitchedReply,
        "Let an upstream be asked no more; what is here is served on.",
    ),
    Route(
        "DELETE",
        f"{_ONE}/disconnection",
        connect,
        Needs.ADMIN,
        SwitchedReply,
        "Let an upstream be asked again.",
    ),
    Route(
        "POST",
        f"{_ONE}/test",
        test,
        Needs.ADMIN,
        TestReply,
        "Ask an upstream, as it is or as it would be, whether it answers.",
        body=UpstreamTest,
    ),
    Route(
        "GET",
        "/savings",
        show_savings,
        Needs.AUDITOR,
        SavingsReply,
        "What was fetched, served and saved, by day.",
        query=SavingsQuery,
    ),
)
