"""`moorage delete` and `moorage trash`: what goes, what it frees, and how it comes back."""

import difflib
from typing import Annotated

import typer

from moorage.cli.manage.client import Fact, Refused, Unreachable
from moorage.cli.manage.digests import find_digest
from moorage.cli.manage.session import Session, managing
from moorage.cli.manage.showing import shown, shown_bytes
from moorage.errors import NameUnknown

app = typer.Typer(help="What was deleted, until its time is over.", no_args_is_help=True)


def _read_id(text: str) -> int:
    if not text.isascii() or not text.isdecimal():
        raise typer.BadParameter(f"want the ID of a deletion, see `moorage trash list`; this is {text!r}")
    return int(text)


IdArgument = Annotated[
    int,
    typer.Argument(
        metavar="ID",
        help="Of a deletion, as `moorage trash list` shows it.",
        parser=_read_id,
        show_default=False,
    ),
]
_COLUMNS = {
    "deletion": "ID",
    "repository": "REPOSITORY",
    "tags": "TAGS",
    "digest": "DIGEST",
    "manifests": "MANIFESTS",
    "size": "FREES",
    "reason": "WHY",
    "deleted_by": "BY",
    "deleted_at": "DELETED",
    "restorable_until": "RESTORABLE UNTIL",
}


@managing
def delete(
    session: Session,
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE...", help="team/app:v1 or team/app@sha256:...", show_default=False),
    ],
) -> None:
    """Delete tags, or manifests by digest with all their tags.

    A tag is only unlinked; `moorage tags restore` brings it back. A manifest goes to the trash, with the
    children and signatures that only it keeps; `moorage trash restore` brings them back.
    """
    replies = [delete_image(session, image) for image in images]
    if session.show.as_json:
        session.show.json(replies)


def delete_image(session: Session, image: str) -> Fact:
    """Delete a tag or a manifest, and tell a person what that frees and how it is undone.

    Raises Refused, Unreachable.
    """
    repository, at, digest = image.partition("@")
    if at:
        digest = find_digest(session.client, repository, digest)
        image = f"{repository}@{digest}"
        reply = session.client.delete("manifests", *repository.split("/"), digest=digest)
        if not session.show.as_json:
            tags = f", with its tags {', '.join(reply['tags'])}" if reply["tags"] else ""
            others = len(reply["digests"]) - 1
            along = f", with {others} more that only it needs" if others else ""
            typer.echo(f"{image} is in the trash{tags}{along}.")
            typer.echo(f"Frees {frees(reply)}. Until then: moorage trash restore {reply['deletion']}")
        return reply
    repository, colon, tag = image.rpartition(":")
    if not colon or "/" in tag:
        raise Unreachable(
            f"{image} names neither a tag nor a digest; write REPOSITORY:TAG or REPOSITORY@DIGEST"
        )
    reply = session.client.delete("tags", *repository.split("/"), tag=tag)
    if not session.show.as_json:
        typer.echo(f"{image} is deleted; its image is {reply['digest']}.")
        typer.echo(
            f"Frees {frees(reply)}. To bring it back: moorage tags restore {image} --to {reply['digest']}"
        )
    return reply


def frees(reply: Fact) -> str:
    """What a deletion frees, and when."""
    found = reply["frees"]
    later = found["later_bytes"]
    if not later:
        return f"{shown_bytes(found['now_bytes'])}: others need all of it"
    return f"{shown_bytes(found['now_bytes'])} now, {shown_bytes(later)} after {shown(found['at'])}"


@app.command("list")
@managing
def list_all(
    session: Session,
    repository: Annotated[
        str | None, typer.Argument(metavar="REPOSITORY", help="Only of this one.", show_default=False)
    ] = None,
) -> None:
    """List what was deleted and can be restored: manifests, and whole repositories."""
    found = list(session.client.items("trash", repository=repository))
    repositories = [] if repository else list(session.client.items("deleted-repositories"))
    if repository and not found:
        _check_known(session, repository)
    if session.show.as_json:
        session.show.json({"deletions": found, "repositories": repositories})
        return
    rows = [{**each, "size": shown_bytes(each["frees"]["later_bytes"])} for each in found]
    if rows or not repositories:
        session.show.table(rows, _COLUMNS, "The trash is empty.")
    if repositories:
        columns = {
            "deletion": "ID",
            "name": "DELETED REPOSITORY",
            "size": "FREES",
            "deleted_by": "BY",
            "deleted_at": "DELETED",
            "restorable_until": "RESTORABLE UNTIL",
        }
        typer.echo("")
        rows = [{**each, "size": shown_bytes(each["frees"]["later_bytes"])} for each in repositories]
        session.show.table(rows, columns, "")
        typer.echo("To bring one back: moorage trash restore-repository ID")


def _check_known(session: Session, repository: str) -> None:
    """Raises Refused, Unreachable where no repository has or had this name."""
    try:
        session.client.get("repositories", *repository.split("/"))
    except Refused as refusal:
        deleted = session.client.items("deleted-repositories")
        if refusal.code != NameUnknown.code or any(each["name"] == repository for each in deleted):
            return
        if isinstance(refusal.detail, dict) and "reason" in refusal.detail:
            raise
        names = [str(each["name"]) for each in session.client.items("repositories")]
        close = difflib.get_close_matches(repository, names, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise Unreachable(f"there is no repository {repository}{hint}") from refusal


@app.command()
@managing
def restore(session: Session, deletion: IdArgument) -> None:
    """Serve again what a deletion took, with its tags."""
    reply = session.client.post("trash", str(deletion), "restore", body={})
    where = reply["repository"]
    tags = f" as {', '.join(f'{where}:{tag}' for tag in reply['tags'])}" if reply["tags"] else ""
    sentence = (
        f"{where}@{reply['digests'][0]} is back{tags}." if reply["digests"] else f"{where} had it already."
    )
    if reply["taken"]:
        sentence += f"\nThese tags point elsewhere by now and were left so: {', '.join(reply['taken'])}."
    session.show.done(sentence, reply)


@app.command()
@managing
def purge(session: Session, deletion: IdArgument) -> None:
    """End a deletion's time: it cannot be restored, and its bytes go when no lease keeps them."""
    reply = session.client.delete("trash", str(deletion))
    image = f"{reply['repository']}@{reply['digest']}"
    session.show.done(f"{image} cannot be restored now.\n{_freed(reply)}", reply)


@app.command("restore-repository")
@managing
def restore_repository(
    session: Session,
    number: IdArgument,
    *,
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Under another name.", show_default=False)
    ] = None,
) -> None:
    """Bring a deleted repository back with all it had."""
    body: Fact = {} if name is None else {"name": name}
    reply = session.client.post("deleted-repositories", str(number), "restore", body=body)
    session.show.done(f"The repository {reply['name']} is back.", reply)


@app.command("purge-repository")
@managing
def purge_repository(session: Session, number: IdArgument) -> None:
    """End a deleted repository's time in the trash."""
    reply = session.client.delete("deleted-repositories", str(number))
    session.show.done(f"The repository {reply['name']} cannot be restored now.\n{_freed(reply)}", reply)


def _freed(reply: Fact) -> str:
    """When a purge gives space back, as a person reads it."""
    size = reply["frees"]["later_bytes"]
    if not size:
        return "Frees 0 B: others need all of it."
    if reply["frees"]["at"] <= reply["restorable_until"]:
        return f"Frees {shown_bytes(size)} with the next run: moorage gc run"
    return f"Frees {shown_bytes(size)} after {shown(reply['frees']['at'])} (delete.delay)."
