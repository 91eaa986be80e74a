"""`moorage repository`: what is in the registry, as far as one may pull it."""

from typing import Annotated

import typer

from moorage.cli.manage.session import Session, managing

app = typer.Typer(help="Repositories. The first push makes one, too.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="As team/app.", show_default=False)]


@app.command()
@managing
def add(session: Session, name: NameArgument) -> None:
    """Make an empty repository."""
    made = session.client.post("repositories", body={"name": name})
    session.show.done(f"The repository {name} is there.", made)


@app.command("list")
@managing
def list_all(session: Session) -> None:
    """List all repositories that you may pull from."""
    found = list(session.client.items("repositories"))
    columns = {key: key.replace("_", " ").upper() for key in (found[0] if found else {})}
    session.show.table(found, columns, "There are no repositories that you may pull from.")


@app.command()
@managing
def show(session: Session, name: NameArgument) -> None:
    """Show a repository."""
    session.show.facts(session.client.get("repositories", *name.split("/")))


@app.command()
@managing
def remove(session: Session, name: NameArgument) -> None:
    """Remove a repository with all its tags and manifests."""
    session.client.delete("repositories", *name.split("/"))
    session.show.done(f"The repository {name} is removed.", {"name": name})
