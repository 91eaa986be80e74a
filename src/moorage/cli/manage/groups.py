"""`moorage group`: groups of accounts."""

from typing import Annotated

import typer

from moorage.cli.manage.session import Session, managing

app = typer.Typer(help="Groups of people and robots.", no_args_is_help=True)
GroupArgument = Annotated[str, typer.Argument(metavar="GROUP", show_default=False)]
AccountsArgument = Annotated[list[str], typer.Argument(metavar="NAME...", show_default=False)]


@app.command()
@managing
def add(
    session: Session,
    group: GroupArgument,
    members: Annotated[list[str] | None, typer.Argument(metavar="[NAME...]", show_default=False)] = None,
    *,
    description: Annotated[str, typer.Option(help="For people to read.", show_default=False)] = "",
) -> None:
    """Make a group, with these in it."""
    made = session.client.post("groups", body={"name": group, "description": description})
    for each in members or ():
        session.client.put("groups", group, "members", each)
    session.show.done(f"The group {group} is there.", made)


@app.command("list")
@managing
def list_all(session: Session) -> None:
    """List all groups."""
    columns = {"name": "NAME", "description": "DESCRIPTION", "created_at": "CREATED"}
    session.show.table(session.client.items("groups"), columns, "There are no groups yet.")


@app.command()
@managing
def show(session: Session, group: GroupArgument) -> None:
    """Show a group and who is in it."""
    session.show.facts(session.client.get("groups", group))


@app.command()
@managing
def add_member(session: Session, group: GroupArgument, names: AccountsArgument) -> None:
    """Put accounts into a group."""
    for each in names:
        session.client.put("groups", group, "members", each)
    session.show.done(f"{', '.join(names)}: in {group} now.", session.client.get("groups", group))


@app.command()
@managing
def remove_member(session: Session, group: GroupArgument, names: AccountsArgument) -> None:
    """Take accounts out of a group."""
    for each in names:
        session.client.delete("groups", group, "members", each)
    session.show.done(f"{', '.join(names)}: no longer in {group}.", session.client.get("groups", group))


@app.command()
@managing
def remove(session: Session, group: GroupArgument) -> None:
    """Remove a group and its grants. What it owned is the administrators' then."""
    session.client.delete("groups", group)
    session.show.done(f"The group {group} is removed.", {"name": group})
