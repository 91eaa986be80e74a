"""What is told of a connection: for a person, and as JSON."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import typer

from moorage.cli.connect.files import Step
from moorage.cli.connect.setup import Mirrored, Registry, Setup

_DOES: Final = {
    "create": "new",
    "change": "changed",
    "keep": "as it is",
    "remove": "to be removed",
    "restore": "to be put back",
    "leave": "left alone: someone has changed it since",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """A client, and all that is done for it. `word`: what else is to be known of the upstreams."""

    client: str
    registry: Registry
    upstreams: Sequence[Mirrored]
    setup: Setup
    steps: Sequence[Step]
    word: str

    @property
    def changes(self) -> bool:
        """Whether anything is not as it is to be."""
        return any(each.action not in {"keep", "leave"} for each in self.steps)

    def notes(self) -> list[str]:
        """What is to be known besides."""
        return [*([self.word] if self.word else []), *self.setup.notes]


def show(plan: Plan) -> None:
    """The plan for a person."""
    names = ", ".join(host for each in plan.upstreams for host in each.hosts)
    if names:
        typer.echo(f"{plan.client} is to pull these through {plan.registry.url}: {names}")
    else:
        typer.echo(f"{plan.client} is to pull from {plan.registry.url}")
    if plan.registry.is_plain:
        typer.echo("By plain HTTP: whoever is in between can read and change what is pulled.")
    typer.echo()
    show_steps(plan.steps)
    for note in plan.notes():
        typer.echo(f"- {note}")
    typer.echo()


def show_steps(steps: Iterable[Step]) -> None:
    """Each file, with what becomes of it."""
    for step in steps:
        typer.echo(f"{step.path}  ({_DOES[step.action]})")
        if step.action in {"create", "change", "restore"}:
            for line in step.lines():
                shown = line.expandtabs(4)
                typer.echo(f"    {shown if shown.isprintable() else ascii(shown)}")
            typer.echo()


def end(plan: Plan, *, is_written: bool, as_json: bool) -> None:
    """What was done and what is still to do."""
    if as_json:
        _json(_document(plan, is_written=is_written))
    elif not plan.changes:
        typer.echo("All of it is there already; nothing to do.")
    elif is_written:
        typer.echo("Written. For it to count:" if plan.setup.reload else "Written. It counts from now on.")
        _list(plan.setup.reload)
        typer.echo(f"To put back what was there: moorage connect {plan.client} --undo")
    else:
        _list(plan.setup.reload, "Then, for it to count:")
        typer.echo("Nothing has been written. To write it, the same with --write, as root.")


def end_undo(client: str, steps: Sequence[Step], reload: Sequence[str], *, as_json: bool) -> None:
    """What was put back."""
    if as_json:
        _json({"client": client, "undone": True, "files": [_file(each) for each in steps], "reload": reload})
        return
    typer.echo("Undone. For it to count:" if reload else "Undone.")
    _list(reload)


def nothing_to_undo(client: str, *, as_json: bool) -> None:
    """That nothing of ours is here."""
    if as_json:
        _json({"client": client, "undone": False, "files": []})
    else:
        typer.echo(f"Nothing has been written here for {client}; nothing to undo.")


def aside(word: str) -> None:
    """A word beside output that goes to another program."""
    if word:
        typer.echo(f"moorage: {word}", err=True)


def _document(plan: Plan, *, is_written: bool) -> dict[str, Any]:
    return {
        "client": plan.client,
        "registry": plan.registry.url,
        "root": plan.registry.root or None,
        "upstreams": [{"name": each.name, "hosts": list(each.hosts)} for each in plan.upstreams],
        "files": [_file(each) for each in plan.steps],
        "reload": list(plan.setup.reload),
        "notes": plan.notes(),
        "written": is_written,
    }


def _file(step: Step) -> dict[str, Any]:
    return {"path": str(step.path), "action": step.action, "content": step.then}


def _list(lines: Sequence[str], heading: str = "") -> None:
    if lines and heading:
        typer.echo(heading)
    for line in lines:
        typer.echo(f"    {line}")


def _json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2))
