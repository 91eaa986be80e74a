"""`moorage jobs`: work that goes on beside the requests."""

from itertools import islice
from typing import Annotated, Final

import typer

from moorage.cli.manage.following import follow, how_much
from moorage.cli.manage.session import Session, managing

app = typer.Typer(help="Jobs: what is done beside the requests.", no_args_is_help=True)
KINDS: Final = (
    "backup",
    "check",
    "evict",
    "garbage",
    "prefetch",
    "rehearse",
    "retention",
    "scrub",
    "untagged",
    "verify",
)
"""All that the registry has someone for."""

IdArgument = Annotated[int, typer.Argument(metavar="ID", show_default=False)]
_COLUMNS = {
    "id": "ID",
    "kind": "KIND",
    "state": "STATE",
    "far": "HOW FAR",
    "created_by": "FOR",
    "created_at": "ASKED",
    "finished_at": "ENDED",
    "error": "WHY NOT",
}


@app.command("list")
@managing
def list_all(
    session: Session,
    *,
    kind: Annotated[
        str | None, typer.Option("--kind", help=f"Only these: {', '.join(KINDS)}.", show_default=False)
    ] = None,
    state: Annotated[
        str | None,
        typer.Option("--state", help="Only queued, running, done, failed or cancelled.", show_default=False),
    ] = None,
    count: Annotated[int, typer.Option("-n", help="The newest so many.", min=1)] = 20,
) -> None:
    """List jobs, the newest first: those that wait, run, or have ended."""
    if kind is not None and kind not in KINDS:
        raise typer.BadParameter(f"there are no jobs of kind {kind!r}; there are {', '.join(KINDS)}")
    found = list(islice(session.client.items("jobs", kind=kind, state=state), count))
    if not session.show.as_json:
        found = [{**job, "far": how_much(job)} for job in found]
    session.show.table(found, _COLUMNS, "There are no jobs.")


@app.command()
@managing
def show(
    session: Session,
    job: IdArgument,
    *,
    is_followed: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it has ended.")] = False,
) -> None:
    """Show a job: what it is to do, how far it is, what came of it. Followed, exit 1 unless it was done."""
    found = session.client.get("jobs", str(job))
    if is_followed:
        found = follow(session, found)
    session.show.facts(found if session.show.as_json else {**found, "progress": how_much(found)})
    if is_followed and found["state"] != "done":
        raise typer.Exit(1)


@app.command()
@managing
def cancel(session: Session, job: IdArgument) -> None:
    """Have a job stop; what it has done stays done."""
    found = session.client.post("jobs", str(job), "cancel", body={})
    became = "is cancelled" if found["state"] == "cancelled" else "was told to stop"
    session.show.done(f"Job {job} {became}.", found)


@app.command()
@managing
def retry(session: Session, job: IdArgument) -> None:
    """Have a job that failed or was cancelled tried again."""
    session.show.done(f"Job {job} is queued.", session.client.post("jobs", str(job), "retry", body={}))
