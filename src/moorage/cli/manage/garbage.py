"""`moorage gc`: what the store holds, what of it goes when, and a run at once."""

from typing import Annotated, Final

import typer

from moorage.cli.manage.client import Fact
from moorage.cli.manage.following import finish
from moorage.cli.manage.session import Session, managing
from moorage.cli.manage.showing import counted, shown, shown_bytes

app = typer.Typer(help="Garbage: what nothing needs any more.", no_args_is_help=True)
_PARTS: Final = {
    "needed_bytes": "needed by images",
    "trash_bytes": "in the trash",
    "waiting_bytes": "needed by nothing, kept for a while",
    "garbage_bytes": "goes with the next run",
    "uploads_bytes": "uploads under way",
    "quarantine_bytes": "quarantine",
    "database_bytes": "database",
    "other_bytes": "keys, folders",
}


@app.command()
@managing
def status(session: Session) -> None:
    """Show what the store holds, in parts that add up to what the disk says."""
    found = session.client.get("garbage")
    if session.show.as_json:
        session.show.json(found)
        return
    rows = [{"what": what, "size": shown_bytes(found[key])} for key, what in _PARTS.items()]
    rows.append({"what": "on disk, in whole blocks", "size": shown_bytes(found["disk_bytes"])})
    rows.append({"what": "free on this disk", "size": shown_bytes(found["free_bytes"])})
    session.show.table(rows, {"what": "WHAT", "size": "SIZE"}, "")
    typer.echo("")
    typer.echo(
        f"Sharing saves {shown_bytes(found['shared_bytes'])}:"
        f" {counted(found['blobs'], 'blob')}, each kept once."
    )
    if found["next_at"]:
        typer.echo(f"The next bytes go after {shown(found['next_at'])}: moorage gc plan")
    if found["obstacle"]:
        typer.echo(f"Nothing is collected now: {found['obstacle']}.")
    run = found["last_run"]
    if run is not None:
        typer.echo(f"Last run: {_said(run)}")


def _said(run: Fact) -> str:
    when = shown(run["finished_at"] or run["started_at"] or run["created_at"])
    if run["result"] is None:
        return f"job {run['id']} {run['state']}, {when}"
    return f"{_what(run['result'])}, {when}"


def _what(result: Fact) -> str:
    sentence = f"{counted(result['removed_blobs'], 'blob')} of {shown_bytes(result['removed_bytes'])} removed"
    purged = result["purged_manifests"], result["purged_repositories"]
    if any(purged):
        sentence += (
            f", {counted(purged[0], 'manifest')} and {counted(purged[1], 'repository')} left the trash"
        )
    if result["obstacle"]:
        sentence += f"; stopped: {result['obstacle']}"
    return sentence


@app.command()
@managing
def run(session: Session) -> None:
    """Collect now what is garbage by now. Everything goes on meanwhile."""
    result = finish(session, session.client.post("garbage", "runs", body={}))
    session.show.done(f"{_what(result)}.", result)


@app.command()
@managing
def plan(
    session: Session,
    *,
    count: Annotated[int, typer.Option("-n", help="At most so many of each kind.", min=1, max=10_000)] = 100,
) -> None:
    """Show what goes when, if nobody restores or pushes it before."""
    found = session.client.get("garbage", "plan", n=count)
    if session.show.as_json:
        session.show.json(found)
        return
    if found["garbage_bytes"]:
        typer.echo(f"{shown_bytes(found['garbage_bytes'])} with the next run.")
    kinds = {"deletion": "trash", "repository": "deleted repository", "lease": "unneeded blob"}
    rows = [
        {**each, "kind": kinds[each["kind"]], "size": shown_bytes(each["frees_bytes"])}
        for each in found["items"]
    ]
    columns = {"at": "AFTER", "kind": "WHAT", "repository": "REPOSITORY", "digest": "DIGEST", "size": "FREES"}
    session.show.table(rows, columns, "Nothing is to go.")
