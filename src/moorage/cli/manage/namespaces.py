"""`moorage namespace`: the first parts of repository names, their owners, and who may look."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from moorage.cli.manage.session import Session, managing
from moorage.cli.manage.words import NO_OWNER, read_owner

app = typer.Typer(
    help="Namespaces: the first part of repository names. Whoever owns one may do all in it.",
    no_args_is_help=True,
)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]
OwnerOption = Annotated[
    str | None,
    typer.Option("--owner", help=f"NAME, group:NAME, or {NO_OWNER}.", show_default=False),
]


class Visibility(StrEnum):
    """Who may pull from a namespace without a grant: no one, or anyone."""

    PRIVATE = "private"
    PUBLIC = "public"


VisibilityOption = Annotated[
    Visibility | None,
    typer.Option(
        "--visibility", help="public: anyone may pull, also without signing in.", show_default=False
    ),
]


@app.command()
@managing
def add(
    session: Session, name: NameArgument, *, owner: OwnerOption = None, visibility: VisibilityOption = None
) -> None:
    """Make a namespace; without --owner the administrators', without --visibility private."""
    body = {"name": name, "owner": read_owner(owner or NO_OWNER), "visibility": visibility or "private"}
    made = session.client.post("namespaces", body=body)
    session.show.done(f"The namespace {name} is there, {_said(made)}.", made)


@app.command("list")
@managing
def list_all(session: Session) -> None:
    """List all namespaces."""
    columns = {"name": "NAME", "owner": "OWNER", "visibility": "VISIBILITY", "created_at": "CREATED"}
    found = list(session.client.items("namespaces"))
    rows = found if session.show.as_json else [each | {"owner": each["owner"] or NO_OWNER} for each in found]
    session.show.table(rows, columns, "There are no namespaces yet.")


@app.command()
@managing
def show(session: Session, name: NameArgument) -> None:
    """Show a namespace."""
    session.show.facts(session.client.get("namespaces", name))


@app.command("set")
@managing
def change(
    session: Session, name: NameArgument, *, owner: OwnerOption = None, visibility: VisibilityOption = None
) -> None:
    """Change a namespace's owner or visibility."""
    body: dict[str, Any] = {}
    if owner is not None:
        body["owner"] = read_owner(owner)
    if visibility is not None:
        body["visibility"] = visibility
    if not body:
        raise typer.BadParameter("say what to change: --owner or --visibility")
    changed = session.client.patch("namespaces", name, body=body)
    session.show.done(f"The namespace {name} is {_said(changed)} now.", changed)


@app.command()
@managing
def remove(session: Session, name: NameArgument) -> None:
    """Forget a namespace's owner and visibility; its repositories stay, the administrators'."""
    session.client.delete("namespaces", name)
    session.show.done(f"The namespace {name} is removed.", {"name": name})


def _said(namespace: dict[str, Any]) -> str:
    return f"{namespace['visibility']}, owned by {namespace['owner'] or 'the administrators'}"
