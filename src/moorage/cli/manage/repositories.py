"""`moorage repository`: what is in the registry, as far as one may pull it."""

from enum import StrEnum
from typing import Annotated

import typer

from moorage.cli.manage.session import Session, managing
from moorage.cli.manage.showing import shown, shown_bytes
from moorage.cli.manage.trash import frees

app = typer.Typer(help="Repositories. The first push makes one, too.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="As team/app.", show_default=False)]
_COLUMNS = {"name": "NAME", "size": "SIZE", "tags": "TAGS", "pushed_at": "LAST PUSH"}


class ListedBy(StrEnum):
    """What repositories are listed by."""

    name = "name"
    size = "size"


@app.command()
@managing
def add(session: Session, name: NameArgument) -> None:
    """Make an empty repository."""
    made = session.client.post("repositories", body={"name": name})
    session.show.done(f"The repository {name} is there.", made)


@app.command("list")
@managing
def list_all(
    session: Session,
    *,
    by: Annotated[ListedBy, typer.Option("--by", help="By name, or the largest first.")] = ListedBy.name,
) -> None:
    """List all repositories that you may pull from, with the size of their blobs, shared or not."""
    found = list(session.client.items("repositories"))
    if by is ListedBy.size:
        found.sort(key=lambda each: (-each["size_bytes"], each["name"]))
    if not session.show.as_json:
        found = [each | {"size": shown_bytes(each["size_bytes"])} for each in found]
    session.show.table(found, _COLUMNS, "There are no repositories that you may pull from.")


@app.command()
@managing
def show(session: Session, name: NameArgument) -> None:
    """Show a repository."""
    session.show.facts(session.client.get("repositories", *name.split("/")))


@app.command()
@managing
def rename(
    session: Session,
    name: NameArgument,
    renamed: Annotated[str, typer.Argument(metavar="NEW", help="As team/app.", show_default=False)],
) -> None:
    """Give a repository another name. For a while images can be pulled by the old one too."""
    made = session.client.patch("repositories", *name.split("/"), body={"name": renamed})
    until = next((shown(each["until"]) for each in made["old_names"] if each["name"] == name), None)
    told = f"; until {until} it can be pulled from by the old name too" if until else ""
    session.show.done(f"The repository {name} is {renamed} now{told}.", made)


@app.command()
@managing
def remove(session: Session, name: NameArgument) -> None:
    """Put a repository with all its tags and manifests into the trash; its name is free then."""
    reply = session.client.delete("repositories", *name.split("/"))
    until = shown(reply["restorable_until"])
    session.show.done(
        f"The repository {name} is in the trash until {until}.\n"
        f"Frees {frees(reply)}. To bring it back: moorage trash restore-repository {reply['deletion']}",
        reply,
    )
