"""`moorage apply` and `moorage access export`: accounts and rights as a file."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from moorage.cli.manage.client import Client, Refused
from moorage.cli.manage.session import Session, managing, refuse


@managing
def apply(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="As access.toml.", show_default=False)],
    *,
    is_dry: Annotated[bool, typer.Option("--dry-run", help="Show the difference; change nothing.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Remove what the file does not name.")] = False,
) -> None:
    """Make accounts, groups, namespaces, grants and rules what the file says, after showing the difference.

    What the file does not name is left alone. With --prune it is removed, but for whoever runs this and the
    last administrator.
    """
    from moorage.cli.state.difference import Present, find_changes, find_kept, find_problems
    from moorage.cli.state.document import DocumentRefused, read_document
    from moorage.cli.state.present import read_present

    try:
        wanted = read_document(file)
    except DocumentRefused as refusal:
        _end(refusal.problems)
    present = Present(*read_present(session.client), session.client.get("whoami")["name"])
    if not present.state.accounts:
        refuse("this registry has no administrator yet: moorage admin claim, then apply")
    kept = find_kept(present, wanted, prune=prune)
    problems = find_problems(present, wanted, kept)
    if problems:
        _end([f"{file}: {each}" for each in problems])
    changes = find_changes(present, wanted, kept, prune=prune)
    if not session.show.as_json:
        for change in changes:
            typer.echo(str(change))
    done = 0
    for change in [] if is_dry else changes:
        try:
            _take(session.client, change.method, change.path, change.body)
        except Refused as refusal:
            refuse(f"after {done} of {len(changes)} changes, refused: {change}: {refusal}")
        done += 1
    if session.show.as_json:
        shown = [{key: asdict(change)[key] for key in ("sign", "what", "detail")} for change in changes]
        session.show.json({"changes": shown, "done": done})
    elif not changes:
        typer.echo("Nothing to do.")
    else:
        typer.echo(f"{len(changes)} to do; nothing was changed." if is_dry else f"{done} done.")


@managing
def export(session: Session) -> None:
    """Print accounts, groups, namespaces, grants and rules as the file that `moorage apply` takes."""
    from moorage.cli.state.present import describe, read_present, write

    described = describe(read_present(session.client)[0])
    if session.show.as_json:
        session.show.json(described)
    else:
        typer.echo(write(described), nl=False)


def _take(client: Client, method: str, path: tuple[str, ...], body: dict[str, object] | None) -> None:
    match method:
        case "POST":
            client.post(*path, body=body or {})
        case "PATCH":
            client.patch(*path, body=body or {})
        case "PUT":
            client.put(*path, body=body)
        case _:
            client.delete(*path)


def _end(problems: list[str]) -> NoReturn:
    for each in problems:
        typer.echo(f"moorage: {each}", err=True)
    raise typer.Exit(1)
