"""`moorage audit`: who did what, when, from where, and whether they might."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Annotated, Any

import typer

from moorage.cli.manage.client import Client, Fact
from moorage.cli.manage.session import Session, managing
from moorage.cli.manage.showing import shown
from moorage.cli.manage.words import read_moment

_COLUMNS = {
    "at": "AT",
    "actor": "WHO",
    "address": "FROM",
    "token": "TOKEN",
    "action": "DID",
    "target": "TO",
    "outcome": "OUTCOME",
    "detail": "DETAIL",
}
_LOOK_EVERY_S = 1.0
_PAGE_MAX = 1000


def _option(name: str, meaning: str) -> Any:
    return typer.Option(name, help=meaning, show_default=False)


@managing
def audit(
    session: Session,
    *,
    actor: Annotated[str | None, _option("--actor", "Only what this account did.")] = None,
    action: Annotated[str | None, _option("--action", "Only this, as push.")] = None,
    target: Annotated[str | None, _option("--target", "Only to this; 'team/*' is a beginning.")] = None,
    outcome: Annotated[str | None, _option("--outcome", "Only allowed, or only denied.")] = None,
    address: Annotated[str | None, _option("--address", "Only from this address.")] = None,
    token: Annotated[int | None, _option("--token", "Only by the token of this number.")] = None,
    since: Annotated[str | None, _option("--since", "From then on: 1h, 7d, or 2026-01-31T08:00:00Z.")] = None,
    until: Annotated[str | None, _option("--until", "Up to then.")] = None,
    count: Annotated[int, typer.Option("-n", help="The newest so many.", min=1)] = 100,
    is_followed: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
) -> None:
    """Show what was done, the newest last."""
    wanted = {
        "actor": actor,
        "action": action,
        "target": target,
        "outcome": outcome,
        "address": address,
        "token": token,
        "since": read_moment(since),
        "until": read_moment(until),
    }
    newest = list(islice(_backwards(session.client, wanted), count))[::-1]
    if is_followed:
        with suppress(KeyboardInterrupt):
            _follow(session, wanted, newest)
    else:
        session.show.table(newest, _COLUMNS, "Nothing of the kind was done.")


def _backwards(client: Client, wanted: Fact) -> Iterator[Fact]:
    """The newest first."""
    before: object = None
    while True:
        page = client.get("audit", **wanted, before=before, n=_PAGE_MAX)["items"]
        yield from page
        if len(page) < _PAGE_MAX:
            return
        before = page[-1]["id"]


def _follow(session: Session, wanted: Fact, newest: list[Fact]) -> None:
    """A line for each, then those that come."""
    last = newest[-1]["id"] if newest else 0
    for each in newest:
        _print_line(each, as_json=session.show.as_json)
    while True:
        page = session.client.get("audit", **wanted, after=last, n=_PAGE_MAX)["items"]
        for each in page:
            _print_line(each, as_json=session.show.as_json)
            last = each["id"]
        if not page:
            time.sleep(_LOOK_EVERY_S)


def _print_line(entry: Fact, *, as_json: bool) -> None:
    line = json.dumps(entry)
    if not as_json:
        line = "  ".join(shown(entry[key]) for key in _COLUMNS if entry[key] not in {None, ""})
    typer.echo(line)
