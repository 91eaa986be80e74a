"""How upstreams are: their lines, what is here of them, and what that saved."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from moorage.database import Database
from moorage.mirrors import line_rows, rows, saving_rows, upstream_rows
from moorage.mirrors.line_rows import Line
from moorage.mirrors.rows import Held
from moorage.mirrors.saving import Counted, today
from moorage.mirrors.upstream_rows import Disconnection
from moorage.mirrors.upstreams import Upstream

MONTH: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Status:
    """One upstream. `lines` are by the URLs of its addresses, in the order in which they are tried."""

    upstream: Upstream
    disconnection: Disconnection | None
    lines: Mapping[str, Line]
    held: Held
    today: Counted
    month: Counted
    """The last 30 days, today among them."""


class Statuses:
    """What is needed for the status of any upstream, read once."""

    def __init__(
        self,
        disconnections: Mapping[str, Disconnection],
        lines: Mapping[tuple[str, str], Line],
        held: Mapping[str, Held],
        counted: tuple[Mapping[str, Counted], Mapping[str, Counted]],
    ) -> None:
        self._disconnections = disconnections
        self._lines = lines
        self._held = held
        self._today, self._month = counted

    def of(self, upstream: Upstream) -> Status:
        """How an upstream is."""
        name = upstream.name
        return Status(
            upstream,
            self._disconnections.get(name),
            {each.url: self._lines.get((name, each.url), Line()) for each in upstream.addresses},
            self._held.get(name, Held()),
            self._today.get(name, Counted()),
            self._month.get(name, Counted()),
        )


async def read_statuses(db: Database) -> Statuses:
    """How upstreams are."""
    day = today()
    return Statuses(
        await upstream_rows.read_disconnections(db),
        await line_rows.read_lines(db),
        await rows.read_held(db),
        (
            await read_counted(db, day.isoformat(), day.isoformat()),
            await read_counted(db, (day - MONTH + timedelta(days=1)).isoformat(), day.isoformat()),
        ),
    )


async def read_counted(db: Database, since: str, until: str) -> dict[str, Counted]:
    """What was counted of each upstream from one day to another, that one included."""
    sums = await saving_rows.read_sums(db, since, until)
    return {upstream: Counted.of(kinds) for upstream, kinds in sums.items()}


@dataclass(frozen=True, slots=True)
class SavingsFound:
    """What was counted in some days: together, by day, and by upstream; "" is what pushes skipped."""

    total: Counted
    days: Mapping[str, Counted]
    upstreams: Mapping[str, Counted]


async def read_savings(db: Database, since: str, until: str) -> SavingsFound:
    """What was counted from one day to another, that one included."""
    by_day: dict[str, dict[str, int]] = {}
    by_upstream: dict[str, dict[str, int]] = {}
    for each in await saving_rows.read_days(db, since, until):
        for sums in (by_day.setdefault(each.day, {}), by_upstream.setdefault(each.upstream, {})):
            sums[each.kind] = sums.get(each.kind, 0) + each.amount
    days = {day: Counted.of(kinds) for day, kinds in by_day.items()}
    upstreams = {upstream: Counted.of(kinds) for upstream, kinds in by_upstream.items()}
    return SavingsFound(sum(days.values(), Counted()), days, upstreams)
