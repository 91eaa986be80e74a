"""`moorage upstream rehearse`, `moorage upstream prefetch`: be ready for when the line is down."""

from typing import Annotated

import typer

from moorage.cli.manage.client import Fact
from moorage.cli.manage.following import finish
from moorage.cli.manage.session import Session, managing
from moorage.cli.manage.showing import counted, shown, shown_bytes

NameArgument = Annotated[
    str | None, typer.Argument(metavar="[NAME]", help="The upstream. Without it: all.", show_default=False)
]
_PARTS_SHOWN = 5


@managing
def prefetch(session: Session, name: NameArgument = None) -> None:
    """Fetch what is pinned now, and follow it. Exit 1 when something could not be had."""
    job = session.client.post("upstreams", "prefetches", body={"upstream": name})
    found = finish(session, job)
    if session.show.as_json:
        session.show.json(found)
    else:
        _tell_prefetched(found)
    if found["failed"] or found["put_off"]:
        raise typer.Exit(1)


def _tell_prefetched(found: Fact) -> None:
    if not found["upstreams"]:
        typer.echo("Nothing is pinned: moorage upstream set NAME --pin 'library/debian:*-slim'")
        return
    _tell_failures(found)
    for each in found["put_off"]:
        typer.echo(f"! put off: {shown(each)}")
    mark = "✗" if found["failed"] else "✓"
    typer.echo(
        f"{mark} {counted(found['images'], 'image')} {'is' if found['images'] == 1 else 'are'} here:"
        f" {counted(found['manifests'], 'manifest')} and {counted(found['blobs'], 'blob')}"
        f" of {shown_bytes(found['bytes'])} were fetched, {found['failed']:,} failed"
    )


@managing
def rehearse(
    session: Session,
    name: NameArgument = None,
    *,
    days: Annotated[
        int, typer.Option("--days", help="What was pulled in so many days.", min=1, max=365)
    ] = 30,
    fetch: Annotated[bool, typer.Option("--fetch", help="Fetch what is missing.")] = False,
) -> None:
    """Find what was pulled of late and could not be if the line went now. Exit 1 when there is such."""
    body = {"upstream": name, "days": days, "fetch": fetch}
    found = finish(session, session.client.post("upstreams", "rehearsals", body=body))
    if session.show.as_json:
        session.show.json(found)
    else:
        _tell_rehearsed(found)
    if found["gap_count"]:
        raise typer.Exit(1)


def _tell_rehearsed(found: Fact) -> None:
    for gap in found["gaps"]:
        typer.echo(f"✗ {shown(gap['image'])}: {_lacks(gap)}")
        for part in gap["missing"][:_PARTS_SHOWN]:
            typer.echo(f"    {_part(part)}")
        if gap["missing_parts"] > _PARTS_SHOWN:
            typer.echo(f"    and {gap['missing_parts'] - _PARTS_SHOWN:,} more")
    if found["gap_count"] > len(found["gaps"]):
        typer.echo(f"✗ and {found['gap_count'] - len(found['gaps']):,} images more")
    _tell_failures(found)
    if found["fetched_blobs"]:
        typer.echo(
            f"· {counted(found['fetched_blobs'], 'blob')} of {shown_bytes(found['fetched_bytes'])} fetched"
        )
    if not found["images"]:
        typer.echo(f"Nothing was pulled of upstreams in {found['days']} days.")
        return
    mark = "✗" if found["gap_count"] else "✓"
    typer.echo(
        f"{mark} {found['whole']:,} of {found['images']:,} images that were pulled in {found['days']} days"
        " can be had without the line"
    )
    if found["gap_count"] and not found["failed"] and not found["fetched_blobs"]:
        typer.echo("  Fetch what is missing: moorage upstream rehearse --fetch")


def _lacks(gap: Fact) -> str:
    if gap["missing"] and not gap["missing_bytes"]:
        return "it is not here any more"
    parts = gap["missing_parts"]
    return (
        f"{parts:,} {'part is' if parts == 1 else 'parts are'} missing, {shown_bytes(gap['missing_bytes'])}"
    )


def _part(part: Fact) -> str:
    words = [
        part["kind"],
        part["platform"],
        part["digest"],
        shown_bytes(part["size"]) if part["size"] else "",
    ]
    return " ".join(shown(word) for word in words if word)


def _tell_failures(found: Fact) -> None:
    for each in found["failures"]:
        typer.echo(f"✗ {shown(each['image'])}: {shown(each['reason'])}")
    if found["failed"] > len(found["failures"]):
        typer.echo(f"✗ and {found['failed'] - len(found['failures']):,} more")
