"""`moorage grant`: who may do what with which repositories."""

from typing import Annotated

import typer

from moorage.cli.manage.session import Session, managing
from moorage.cli.manage.words import read_actions, read_receiver

app = typer.Typer(help="Grants: who may do what with which repositories.", no_args_is_help=True)


@app.command()
@managing
def add(
    session: Session,
    to: Annotated[
        str, typer.Argument(metavar="WHO", help="NAME, group:NAME or everyone.", show_default=False)
    ],
    actions: Annotated[
        str,
        typer.Argument(
            metavar="ACTIONS",
            help="pull, push, delete, admin; several with commas. push and delete bring pull.",
            show_default=False,
        ),
    ],
    pattern: Annotated[
        str,
        typer.Argument(
            metavar="PATTERN", help="team/app, or 'team/*' in quotes for all of team.", show_default=False
        ),
    ],
) -> None:
    """Give actions on the repositories of a pattern; they replace those given for the same before."""
    body = {"to": read_receiver(to), "pattern": pattern, "actions": read_actions(actions)}
    grant = session.client.post("grants", body=body)
    given = ",".join(grant["actions"])
    session.show.done(f"Grant {grant['id']}: {grant['to']} has {given} on {grant['pattern']}.", grant)


@app.command("list")
@managing
def list_all(
    session: Session,
    *,
    to: Annotated[
        str | None,
        typer.Option("--to", help="Only those to NAME, group:NAME or everyone.", show_default=False),
    ] = None,
) -> None:
    """List the grants."""
    wanted = None if to is None else read_receiver(to)
    columns = {
        "id": "ID",
        "to": "TO",
        "actions": "ACTIONS",
        "pattern": "PATTERN",
        "created_by": "BY",
        "created_at": "CREATED",
    }
    found = [each for each in session.client.items("grants") if wanted in {None, each["to"]}]
    session.show.table(found, columns, "There are no grants.")


@app.command()
@managing
def show(session: Session, grant: Annotated[int, typer.Argument(metavar="ID", show_default=False)]) -> None:
    """Show a grant."""
    session.show.facts(session.client.get("grants", str(grant)))


@app.command()
@managing
def remove(
    session: Session, grants: Annotated[list[int], typer.Argument(metavar="ID...", show_default=False)]
) -> None:
    """Take grants back."""
    for each in grants:
        session.client.delete("grants", str(each))
    session.show.done(f"Taken back: {', '.join(map(str, grants))}.", {"ids": grants})
