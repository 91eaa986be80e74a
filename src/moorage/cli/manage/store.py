"""`moorage store`, `moorage scrub`, `moorage verify`: whether what was pushed is still there."""

from typing import Annotated, NoReturn

import typer

from moorage.cli.manage.client import Fact
from moorage.cli.manage.digests import find_digest
from moorage.cli.manage.following import finish
from moorage.cli.manage.session import Session, managing
from moorage.cli.manage.showing import counted, shown
from moorage.lifecycle.checking.report import KINDS

app = typer.Typer(help="Whether rows and files belong together.", no_args_is_help=True)
scrub_app = typer.Typer(help="Reading everything again, against its digest.", no_args_is_help=True)

_SHOWN = 10
_MARKS = {"damage": "✗", "orphan": "!", "note": "·"}


@app.command()
@managing
def check(
    session: Session,
    *,
    withdraw_all: Annotated[
        bool,
        typer.Option(
            "--withdraw-all",
            help="Withdraw all blobs whose file is missing, be they most: a disk is lost, not unmounted.",
        ),
    ] = False,
) -> None:
    """Compare rows and files both ways. Exit 1 when something that was pushed is lost.

    Nothing is deleted: a file of no row is put aside a day after a check first found it.
    """
    job = session.client.post("store", "check", body={"withdraw_all": withdraw_all})
    report = finish(session, job)
    if session.show.as_json:
        session.show.json(report)
    else:
        _tell_report(report)
    if any(KINDS[kind][0] == "damage" for kind in report["counts"]):
        raise typer.Exit(1)


def _tell_report(report: Fact, damaged: int = 0) -> None:
    typer.echo(
        f"{counted(report['blobs'], 'blob')} of {amount(report['bytes'])}"
        f" in {counted(report['files'], 'file')}, {counted(report['manifests'], 'manifest')}"
    )
    for kind, count in report["counts"].items():
        weight, meaning = KINDS.get(kind, ("note", kind))
        typer.echo(f"{_MARKS[weight]} {kind.replace('_', ' ')} ({count:,}): {meaning}")
        for finding in [each for each in report["findings"] if each["kind"] == kind]:
            images = f"  needed by {shown(finding['images'])}" if finding["images"] else ""
            typer.echo(f"    {shown(finding['target'])}{images}")
    if damaged and not report["counts"]:
        typer.echo(f"✗ damaged since that check: {counted(damaged, 'blob')}; see moorage store damaged")
    elif not report["counts"]:
        typer.echo("✓ rows and files belong together")
    if report["mistrusted"]:
        typer.echo(f"✗ the store is mistrusted: {report['mistrusted']}.")
        typer.echo("  No garbage is collected until you have looked: moorage store accept")


@app.command()
@managing
def status(session: Session) -> None:
    """Show whether the store is mistrusted, and what the last check found."""
    found = session.client.get("store")
    if session.show.as_json:
        session.show.json(found)
        return
    report = found.pop("report")
    session.show.facts(found)
    if report is not None:
        _tell_report({**report, "mistrusted": None}, damaged=found["damaged_blobs"])


@app.command()
@managing
def accept(session: Session) -> None:
    """Trust the store again after a check, whatever it found lost: garbage is collected again."""
    session.show.done("The store is trusted.", session.client.post("store", "accept", body={}))


@app.command()
@managing
def damaged(session: Session) -> None:
    """List blobs that are gone or were wrong, and the images to push again."""
    found = list(session.client.items("store", "damaged"))
    session.show.table(found, {"digest": "BLOB", "images": "PUSH AGAIN"}, "No blob is damaged.")


@scrub_app.command("run")
@managing
def run_scrub(
    session: Session,
    *,
    is_now: Annotated[
        bool, typer.Option("--now", help="Everything from the beginning, as fast as the disk can.")
    ] = False,
) -> None:
    """Go on with the round under way or begin the next, and follow it.

    Exit 1 when something is damaged, be it since before.
    """
    result = finish(session, session.client.post("scrub", body={"now": is_now}))
    before = result.get("damaged_before", 0)
    if session.show.as_json:
        session.show.json(result)
    else:
        typer.echo(
            f"{counted(result['blobs'], 'blob')} of {amount(result['bytes'])} and"
            f" {counted(result['manifests'], 'manifest')}"
            f" read, {result['damaged']} damaged"
        )
        for each in result["found"]:
            typer.echo(f"✗ {each['target']}: {each['finding']}")
        if before:
            typer.echo(f"✗ {before:,} damaged before, not pushed again yet: moorage store damaged")
        if result["damaged"]:
            typer.echo("  Which images to push again: moorage store damaged")
    if result["damaged"] or before:
        raise typer.Exit(1)


@scrub_app.command("status")
@managing
def scrub_status(session: Session) -> None:
    """Show how far the reading of everything is, and when it was last done."""
    found = session.client.get("scrub")
    if not session.show.as_json:
        of_blobs, of_bytes = f" of {found.pop('total_blobs'):,}", f" of {amount(found.pop('total_bytes'))}"
        is_under_way = found["is_under_way"]
        found["blobs"] = f"{found['blobs']:,}{of_blobs if is_under_way else ''}"
        found["bytes"] = f"{amount(found['bytes'])}{of_bytes if is_under_way else ''}"
    session.show.facts(found)


@managing
def verify(
    session: Session,
    image: Annotated[
        str,
        typer.Argument(metavar="REPO[:TAG|@DIGEST]", help="Without a tag: all of them.", show_default=False),
    ],
) -> None:
    """Read one image again, end to end: its index, manifests, configs and layers. Exit 1 for any fault."""
    repository, reference = _divide(image)
    if reference is not None and "@" in image:
        reference = find_digest(session.client, repository, reference)
    job = session.client.post("verify", body={"repository": repository, "reference": reference})
    found = finish(session, job)
    if session.show.as_json:
        session.show.json(found)
    else:
        _tell_verified(image, found)
    if found["faults"]:
        raise typer.Exit(1)


def _tell_verified(image: str, found: Fact) -> None:
    for fault in found["faults"]:
        typer.echo(f"✗ {fault['kind']} {fault['digest']}: {fault['finding']}")
    for digest in found["absent"]:
        typer.echo(f"· layer {digest} is foreign: not held here")
    if found["not_here"]:
        for digest in found["not_here"][:_SHOWN]:
            typer.echo(f"· not here: {digest}")
        count = len(found["not_here"])
        typer.echo(f"· {count:,} {'is' if count == 1 else 'are'} not here: fetched when someone asks for it")
    for referrer in found["referrers"]:
        typer.echo(f"· referrer {referrer['digest']} {shown(referrer['type'])}")
    mark = "✗" if found["faults"] else "✓"
    typer.echo(
        f"{mark} {image}: {counted(found['manifests'], 'manifest')} and"
        f" {counted(found['blobs'], 'blob')} read,"
        f" {amount(found['bytes'])}, {counted(len(found['faults']), 'fault')}"
    )


def _divide(image: str) -> tuple[str, str | None]:
    repository, at, digest = image.partition("@")
    if at:
        return repository.partition(":")[0], digest or _misnamed(image)
    repository, colon, tag = image.partition(":")
    return repository, (tag or _misnamed(image)) if colon else None


def _misnamed(image: str) -> NoReturn:
    raise typer.BadParameter(f"{image!r}: want REPO, REPO:TAG or REPO@DIGEST, without the registry's address")


def amount(size: float) -> str:
    """Bytes for a person."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:  # noqa: PLR2004 - the step between units
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
