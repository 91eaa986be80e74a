"""`moorage tags`: what a repository's tags point to, and did."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from moorage.cli.manage.client import Client, Fact, Unreachable
from moorage.cli.manage.digests import find_digest
from moorage.cli.manage.session import Session, managing
from moorage.cli.manage.showing import shown_bytes
from moorage.cli.manage.trash import delete_image
from moorage.cli.manage.words import read_moment, read_tag

app = typer.Typer(help="Tags: what they point to, what they pointed to.", no_args_is_help=True)

RepositoryArgument = Annotated[str, typer.Argument(metavar="REPO", help="As team/app.", show_default=False)]
TagArgument = Annotated[str, typer.Argument(metavar="REPO:TAG", help="As team/app:1.0.", show_default=False)]
TagsArgument = Annotated[
    list[str], typer.Argument(metavar="REPO:TAG...", help="As team/app:1.0.", show_default=False)
]
CountOption = Annotated[int, typer.Option("-n", help="At most so many.", min=1)]

_COLUMNS = {
    "name": "TAG",
    "size": "SIZE",
    "platforms": "PLATFORMS",
    "pushed_at": "PUSHED",
    "pushed_by": "BY",
    "pulled_at": "LAST PULL",
    "pulls": "PULLS",
    "kept": "KEPT",
    "digest": "DIGEST",
    "same": "SAME DIGEST",
}
_EVENT_COLUMNS = {
    "at": "AT",
    "tag": "TAG",
    "did": "WAS",
    "from_digest": "FROM",
    "to_digest": "TO",
    "by": "BY",
}
_PAGE = 1000
_SHORT_CHARS = len("sha256:") + 12
_SAME_SHOWN = 3


class SortBy(StrEnum):
    """What tags are listed by."""

    version = "version"
    time = "time"
    pulled = "pulled"
    name = "name"


@app.command("list")
@managing
def list_all(
    session: Session,
    repository: RepositoryArgument,
    *,
    sort: Annotated[
        SortBy,
        typer.Option("--sort", help="By version, by the last push (time), by the last pull, or by name."),
    ] = SortBy.version,
    is_reversed: Annotated[
        bool, typer.Option("--reverse", help="The oldest first; by pulled, those never pulled first.")
    ] = False,
    match: Annotated[
        str | None,
        typer.Option("--match", help="Only these: '1.2.*', or re:EXPRESSION.", show_default=False),
    ] = None,
    count: CountOption = 100,
) -> None:
    """List a repository's tags, the newest version first, with what each points to."""
    order = None
    if is_reversed:
        order = "desc" if sort is SortBy.name else "asc"
    found, has_more = _take(
        session.client, count, ("tags", *repository.split("/")), sort=sort.value, order=order, match=match
    )
    if not session.show.as_json:
        found = [_row(each) for each in found]
    session.show.table(found, _COLUMNS, f"There are no such tags in {repository}.")
    _say_more(count, has_more=has_more)


def _take(client: Client, count: int, path: tuple[str, ...], **query: object) -> tuple[list[Fact], bool]:
    """The first `count` of a list, and whether there are more."""
    found: list[Fact] = []
    after: object = None
    while True:
        page = client.get(*path, **query, n=min(_PAGE, count - len(found)), after=after)
        found += page["items"]
        after = page["next"]
        if after is None or len(found) >= count:
            return found, after is not None


def _say_more(count: int, *, has_more: bool) -> None:
    if has_more:
        typer.echo(f"There are more than {count}: choose with -n.", err=True)


def _row(tag: Fact) -> Fact:
    """A tag as a person reads it."""
    same = tag["same_digest"][:_SAME_SHOWN]
    if tag["has_more_same_digest"] or len(tag["same_digest"]) > _SAME_SHOWN:
        same = [*same, "..."]
    kept = ["pinned"] if tag["is_pinned"] else []
    if tag["immutable_rule"] is not None:
        kept.append(f"fixed by rule {tag['immutable_rule']}")
    return tag | {
        "size": None if tag["size_bytes"] is None else shown_bytes(tag["size_bytes"]),
        "digest": _short(tag["digest"]),
        "same": same,
        "kept": kept,
    }


def _short(digest: str | None) -> str | None:
    return None if digest is None else digest[:_SHORT_CHARS]


@app.command()
@managing
def history(
    session: Session,
    name: Annotated[
        str, typer.Argument(metavar="REPO[:TAG]", help="As team/app or team/app:1.0.", show_default=False)
    ],
    *,
    count: CountOption = 100,
) -> None:
    """Show who moved a tag, or a repository's tags, when and from where to where; the newest first."""
    repository, tag = read_tag(name) if ":" in name else (name, None)
    found, has_more = _take(session.client, count, ("history", *repository.split("/")), tag=tag)
    if tag is not None and not found:
        raise Unreachable(f"there is no tag {name}, and never was")
    if not session.show.as_json:
        found = [_event(each) for each in found]
    session.show.table(found, _EVENT_COLUMNS, f"No tag of {name} ever moved.")
    _say_more(count, has_more=has_more)


def _event(event: Fact) -> Fact:
    did = "made" if event["from_digest"] is None else "deleted" if event["to_digest"] is None else "moved"
    short: dict[str, Any] = {key: _short(event[key]) for key in ("from_digest", "to_digest")}
    return event | short | {"did": did}


@app.command()
@managing
def restore(
    session: Session,
    name: TagArgument,
    *,
    at: Annotated[
        str | None,
        typer.Option(
            "--at", help="To where it pointed then: '2h ago', 7d, 2026-01-31T08:00:00Z.", show_default=False
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", help="To this digest, or what `history` shows of it.", show_default=False),
    ] = None,
) -> None:
    """Put a tag back to where it pointed, also out of the trash."""
    if (at is None) == (to is None):
        raise typer.BadParameter("give either --at or --to")
    repository, tag = read_tag(name)
    if to is not None:
        to = find_digest(session.client, repository, to)
    body = {"tag": tag, "at": read_moment(at, is_end=True), "to": to}
    done = session.client.post("history", *repository.split("/"), body=body)
    also = f" With it came back {', '.join(done['also'])}." if done["also"] else ""
    session.show.done(f"{name} points to {done['digest']}.{also}", done)


@app.command()
@managing
def delete(session: Session, names: TagsArgument) -> None:
    """Delete tags. What they point to stays; `history` shows where that was."""
    for name in names:
        read_tag(name)
    replies = [delete_image(session, name) for name in names]
    if session.show.as_json:
        session.show.json(replies)


@app.command()
@managing
def pin(session: Session, names: TagsArgument) -> None:
    """Pin tags: no rule of retention takes them."""
    for repository, tag in map(read_tag, names):
        session.client.put("pins", *repository.split("/"), tag=tag)
    session.show.done(f"Pinned: {', '.join(names)}.", {"names": names})


@app.command()
@managing
def unpin(session: Session, names: TagsArgument) -> None:
    """Unpin tags: rules of retention may take them again."""
    for repository, tag in map(read_tag, names):
        session.client.delete("pins", *repository.split("/"), tag=tag)
    session.show.done(f"Unpinned: {', '.join(names)}.", {"names": names})
