"""How upstreams are and what they save, as a person reads it; `moorage savings`."""

from typing import Annotated, Final

import typer

from moorage.cli.manage.client import Fact
from moorage.cli.manage.session import Session, managing
from moorage.cli.manage.showing import shown, shown_bytes

_LINES: Final = {
    "upstream": "UPSTREAM",
    "address": "ADDRESS",
    "state": "STATE",
    "error": "LAST ERROR",
    "quota": "QUOTA LEFT",
}
_KEPT: Final = {
    "upstream": "UPSTREAM",
    "repositories": "REPOSITORIES",
    "kept": "KEPT",
    "budget": "BUDGET",
    "today_rate": "HITS TODAY",
    "today_saved": "SAVED TODAY",
    "month_rate": "HITS 30 DAYS",
    "month_saved": "SAVED 30 DAYS",
    "stale": "STALE",
    "passed": "NOT KEPT",
}
_DAYS: Final = {
    "day": "DAY",
    "served": "SERVED",
    "fetched": "FETCHED",
    "saved": "SAVED",
    "rate": "HITS",
    "stale": "STALE",
    "heads": "HEADS",
    "gets": "GETS",
    "skipped": "PUSHES SKIPPED",
}


def show_status(session: Session, found: list[Fact]) -> None:
    """The lines, then what is kept and saved."""
    if session.show.as_json:
        session.show.json(found)
        return
    lines = [_line(each, line) for each in found for line in each["lines"]]
    session.show.table(lines, _LINES, "There are no upstreams. The first: moorage upstream add docker.io")
    if lines:
        typer.echo("")
        session.show.table([_kept(each) for each in found], _KEPT, "")


def _line(status: Fact, line: Fact) -> Fact:
    left, limit = line["quota_left"], line["quota_limit"]
    quota = "" if left is None else f"{left:,}" if limit is None else f"{left:,} of {limit:,}"
    error = line["last_error"]
    return {
        "upstream": status["name"],
        "address": line["url"],
        "state": _state(status, line),
        "error": error and f"{shown(line['failed_at'])}: {error}",
        "quota": quota,
    }


def _state(status: Fact, line: Fact) -> str:
    """The state of a line in words."""
    if not status["is_connected"]:
        return f"disconnected by {status['disconnected_by']}, {shown(status['disconnected_at'])}"
    since = f"down since {shown(line['opened_at'])}"
    match line["state"]:
        case "open":
            return f"{since}, tried again {shown(line['retry_at'])}"
        case "half-open":
            return f"{since}, tried now"
    if line["failures"]:
        return f"up, but failed {line['failures']} times in a row"
    if line["answered_at"] is None:
        return "not asked yet"
    return f"up, answered {shown(line['answered_at'])}"


def _kept(status: Fact) -> Fact:
    today, month, budget = status["today"], status["month"], status["budget_bytes"]
    return {
        "upstream": status["name"],
        "repositories": f"{status['repositories']:,}",
        "kept": shown_bytes(status["kept_bytes"]),
        "budget": "all" if budget is None else shown_bytes(budget),
        "today_rate": _rate(today),
        "today_saved": shown_bytes(today["saved_bytes"]),
        "month_rate": _rate(month),
        "month_saved": shown_bytes(month["saved_bytes"]),
        "stale": f"{month['stale']:,}",
        "passed": f"{month['passed']:,}",
    }


def _rate(counted: Fact) -> str:
    rate = counted["hit_rate"]
    return "" if rate is None else f"{rate:.0%}"


@managing
def savings(
    session: Session,
    *,
    since: Annotated[
        str | None,
        typer.Option("--since", help="From this day of UTC, as 2026-11-01.", show_default="30 days"),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", help="Until this day, it included.", show_default="today")
    ] = None,
) -> None:
    """Show by day what upstreams did not have to send again, and what pushes did not have to send."""
    found = session.client.get("savings", since=since, until=until)
    if session.show.as_json:
        session.show.json(found)
        return
    rows = [_day(each["day"], each["counted"]) for each in found["days"]]
    if rows:
        rows.append(_day("together", found["total"]))
    session.show.table(rows, _DAYS, f"Nothing was counted from {found['since']} until {found['until']}.")
    for each in found["upstreams"]:
        counted = each["counted"]
        typer.echo(
            f"{each['upstream']}: {shown_bytes(counted['served_bytes'])} served,"
            f" {shown_bytes(counted['fetched_bytes'])} fetched."
        )
    typer.echo(f"On the disk, sharing saves {shown_bytes(found['shared_bytes'])} now.")


def _day(day: str, counted: Fact) -> Fact:
    return {
        "day": day,
        "served": shown_bytes(counted["served_bytes"]),
        "fetched": shown_bytes(counted["fetched_bytes"]),
        "saved": shown_bytes(counted["saved_bytes"]),
        "rate": _rate(counted),
        "stale": f"{counted['stale']:,}",
        "heads": f"{counted['heads']:,}",
        "gets": f"{counted['gets']:,}",
        "skipped": shown_bytes(counted["push_skipped_bytes"]),
    }
