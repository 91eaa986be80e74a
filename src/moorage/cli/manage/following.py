"""A job on the terminal, until it has ended: a bar for a person, a line now and then for a file."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from moorage.cli.manage.client import Fact, Unreachable
from moorage.cli.manage.session import Session
from moorage.cli.manage.showing import shown, shown_bytes

_LOOK_EVERY_S = 0.5
_LINE_EVERY_S = 5.0

Seen = Callable[[Fact], None]


def follow(session: Session, job: Fact) -> Fact:
    """Show on standard error how far a job is until it has ended; the job as it then is.

    On a data folder that no worker serves, the job runs in this process.
    Raises Refused, Unreachable.
    """
    with _showing(is_silent=session.show.as_json) as seen:
        try:
            job = _wait(session, job, seen)
        except KeyboardInterrupt:
            number = job["id"]
            raise Unreachable(
                f"stopped looking at job {number}, which is not cancelled: `moorage jobs show {number}"
                f" --follow` looks again, `moorage jobs cancel {number}` ends it"
            ) from None
        seen(job)
    return job


def finish(session: Session, job: Fact) -> Fact:
    """As `follow`; the result of a job that was done.

    Raises Unreachable where it was not, Refused.
    """
    ended = follow(session, job)
    if ended["state"] != "done":
        reason = f": {ended['error']}" if ended["error"] else ""
        raise Unreachable(f"job {ended['id']} ({ended['kind']}) {_became(ended)}{reason}")
    result: Fact = ended["result"] or {}
    return result


def _became(job: Fact) -> str:
    return "was cancelled" if job["state"] == "cancelled" else str(job["state"])


def _wait(session: Session, job: Fact, seen: Seen) -> Fact:
    if session.run_job is not None:
        return session.run_job(job, seen)
    while job["finished_at"] is None:
        seen(job)
        time.sleep(_LOOK_EVERY_S)
        job = session.client.get("jobs", str(job["id"]))
    return job


@contextmanager
def _showing(*, is_silent: bool) -> Iterator[Seen]:
    if is_silent:
        yield lambda _: None
    elif sys.stderr.isatty():
        with _bar() as seen:
            yield seen
    else:
        yield _Lines().see


class _Lines:
    """A line when something else is to be told, and every few seconds while it only goes on."""

    def __init__(self) -> None:
        self._told = ""
        self._is_due_at = 0.0

    def see(self, job: Fact) -> None:
        """Tell of it."""
        line = f"job {job['id']} ({job['kind']}): {how_far(job)}"
        is_due = job["finished_at"] is not None or time.monotonic() >= self._is_due_at
        if line != self._told and is_due:
            typer.echo(line, err=True)
            self._told = line
            self._is_due_at = time.monotonic() + _LINE_EVERY_S


@contextmanager
def _bar() -> Iterator[Seen]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[far]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=None, far="")

        def see(job: Fact) -> None:
            at = job["progress"] or {"done": 0, "total": None}
            total = (at["total"] or 1) if job["state"] == "done" else at["total"]
            done = total if job["state"] == "done" else at["done"]
            progress.update(
                task, description=shown(job["kind"]), completed=done, total=total, far=how_far(job)
            )

        yield see


def how_far(job: Fact) -> str:
    """In words: what it waits for, how much is done, how it ended."""
    if job["state"] == "queued":
        if job["error"]:
            return shown(f"failed ({job['error']}), is tried again at {shown(job['not_before'])}")
        return "waits for a worker"
    done = how_much(job)
    return ", ".join(
        each for each in (job["state"] if done is None or job["finished_at"] else "", done) if each
    )


def how_much(job: Fact) -> str | None:
    """How much of a job is done, as far as its worker has said."""
    progress = job["progress"]
    if progress is None:
        return None
    amount = _amount(progress["done"], progress["total"], progress["unit"])
    return shown(", ".join(each for each in (amount, progress["note"]) if each))


def _amount(done: int, total: int | None, unit: str) -> str:
    is_bytes = unit == "bytes"
    amount = shown_bytes(done) if is_bytes else f"{done:,}"
    if total is not None:
        amount += f" of {shown_bytes(total)}" if is_bytes else f" of {total:,}"
    share = f" ({done * 100 // total} %)" if total else ""
    if is_bytes:
        return f"{amount}{share}"
    return f"{amount} {_one_of(unit) if (done if total is None else total) == 1 else unit}{share}"


def _one_of(unit: str) -> str:
    """The word for one, as tag for tags."""
    return f"{unit.removesuffix('ies')}y" if unit.endswith("ies") else unit.removesuffix("s")
