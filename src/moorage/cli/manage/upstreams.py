"""`moorage upstream`: other registries whose images are had through this one."""

import functools
import inspect
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from moorage.cli.manage.asking import PasswordStdinOption, ask_password
from moorage.cli.manage.client import Fact
from moorage.cli.manage.namespaces import Visibility
from moorage.cli.manage.session import Session, managing, refuse
from moorage.cli.manage.showing import shown_bytes
from moorage.cli.manage.upstream_status import show_status
from moorage.config_file import read_duration, read_size

app = typer.Typer(
    help="Upstreams: other registries, as docker.io, whose images are fetched once and kept.",
    no_args_is_help=True,
)
_NONE = "none"


class Trusted(StrEnum):
    """What an alternative may say that a tag names."""

    KNOWN = "known"
    NEW = "new"
    ANY = "any"


_WHERE = "Where it is"
_WHAT = "What is mirrored"
_HOW = "How it is asked"

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="As docker.io, or lan with --url.", show_default=False)
]
MaybeNameArgument = Annotated[str | None, typer.Argument(metavar="[NAME]", show_default="all")]
UrlOption = Annotated[
    str | None,
    typer.Option("--url", help="Its address. Else https://NAME.", rich_help_panel=_WHERE, show_default=False),
]
HostOption = Annotated[
    list[str] | None,
    typer.Option(
        "--host",
        help="What clients call it besides its name, as registry.lan:5000. May be repeated.",
        rich_help_panel=_WHERE,
        show_default=False,
    ),
]
UsernameOption = Annotated[
    str | None,
    typer.Option(
        "--username",
        help=f"Sign in to it by this name; the password is asked for. '{_NONE}': no credentials.",
        rich_help_panel=_WHERE,
        show_default=False,
    ),
]
AuthorityOption = Annotated[
    Path | None,
    typer.Option(
        "--authority",
        help="PEM file of the authorities that its certificate may come from.",
        rich_help_panel=_WHERE,
        show_default=False,
    ),
]
AlternativeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--alternative",
        help=f"Address of another registry with the same content. May be repeated; '{_NONE}': no other.",
        rich_help_panel=_WHERE,
        show_default=False,
    ),
]
TrustedOption = Annotated[
    Trusted | None,
    typer.Option(
        "--alternatives-may",
        help="Of a tag they may say what NAME itself has said (known), also of a new one (new), or any.",
        rich_help_panel=_WHERE,
        show_default=False,
    ),
]
RootOption = Annotated[
    bool | None,
    typer.Option(
        "--root/--no-root",
        help="Look here for names without an upstream's in front, as docker's registry-mirrors asks.",
        rich_help_panel=_WHAT,
        show_default=False,
    ),
]
IncludeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--include",
        help="Mirror these repositories only, as 'library/*'. May be repeated.",
        rich_help_panel=_WHAT,
        show_default=False,
    ),
]
ExcludeOption = Annotated[
    list[str] | None,
    typer.Option("--exclude", help="But for these.", rich_help_panel=_WHAT, show_default=False),
]
PlatformOption = Annotated[
    list[str] | None,
    typer.Option(
        "--platform",
        help="Prefetch for this platform, as linux/arm64. May be repeated.",
        rich_help_panel=_WHAT,
        show_default=False,
    ),
]
PinOption = Annotated[
    list[str] | None,
    typer.Option(
        "--pin",
        help="Prefetch these images and never evict them, as 'library/debian:*-slim'. May be repeated.",
        rich_help_panel=_WHAT,
        show_default=False,
    ),
]
FreshnessOption = Annotated[
    str | None,
    typer.Option(
        "--freshness",
        help="How long a tag is served without asking whether it has moved, as 15m.",
        rich_help_panel=_HOW,
        show_default=False,
    ),
]
BudgetOption = Annotated[
    str | None,
    typer.Option(
        "--budget",
        help=f"Keep at most so much of it, as 200GiB; '{_NONE}': all.",
        rich_help_panel=_HOW,
        show_default=False,
    ),
]
BandwidthOption = Annotated[
    list[str] | None,
    typer.Option(
        "--bandwidth",
        help="A cap by hours of UTC, as '08:00-18:00 2MiB'. May be repeated.",
        rich_help_panel=_HOW,
        show_default=False,
    ),
]


def _said(
    *,
    url: UrlOption = None,
    host: HostOption = None,
    username: UsernameOption = None,
    password_stdin: PasswordStdinOption = False,
    authority: AuthorityOption = None,
    alternative: AlternativeOption = None,
    alternatives_may: TrustedOption = None,
    root: RootOption = None,
    include: IncludeOption = None,
    exclude: ExcludeOption = None,
    platform: PlatformOption = None,
    pin: PinOption = None,
    freshness: FreshnessOption = None,
    budget: BudgetOption = None,
    bandwidth: BandwidthOption = None,
) -> Fact:
    """What an upstream is to be like, as the API is told.

    Raises Unreachable where there is no one to ask for a password.
    """
    return _body(
        url=url,
        hosts=host,
        username=username,
        password=_ask_secret(username, from_stdin=password_stdin),
        authority=authority,
        alternatives=alternative,
        alternatives_may=alternatives_may,
        is_root=root,
        include=include,
        exclude=exclude,
        platforms=platform,
        pins=pin,
        freshness_s=freshness,
        budget_bytes=budget,
        bandwidth=bandwidth,
    )


def _describing(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that describe an upstream; as `body` it gets what they say."""
    shared = inspect.signature(_said, eval_str=True).parameters
    own = [
        each for each in inspect.signature(command, eval_str=True).parameters.values() if each.name != "body"
    ]

    @functools.wraps(command)
    def run(session: Session, **values: Any) -> None:
        body = _said(**{each: values.pop(each) for each in shared})
        command(session, body=body, **values)

    del run.__wrapped__
    parameters = [own[0], *(each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own[1:])]
    run.__signature__ = inspect.Signature([*parameters, *shared.values()])  # type: ignore[attr-defined]
    return run


@app.command("list")
@managing
def list_all(session: Session) -> None:
    """List the upstreams."""
    columns = {
        "name": "NAME",
        "url": "ADDRESS",
        "username": "USER",
        "is_root": "ROOT",
        "alternatives": "ALTERNATIVES",
        "budget": "BUDGET",
        "source": "FROM",
    }
    found = list(session.client.items("upstreams"))
    rows = found if session.show.as_json else [_listed(each) for each in found]
    session.show.table(rows, columns, "There are no upstreams. The first: moorage upstream add docker.io")


def _listed(upstream: Fact) -> Fact:
    budget = upstream["budget_bytes"]
    return {
        **upstream,
        "alternatives": [each["url"] for each in upstream["alternatives"]],
        "budget": "all" if budget is None else shown_bytes(budget),
        "source": "settings" if upstream["is_configured"] else "upstream add",
    }


@app.command()
@managing
def show(session: Session, name: NameArgument) -> None:
    """Show an upstream."""
    session.show.facts(session.client.get("upstreams", name))


@app.command()
@managing
@_describing
def add(
    session: Session,
    name: NameArgument,
    body: Fact,
    *,
    visibility: Annotated[
        Visibility | None,
        typer.Option(
            "--visibility",
            help="Who may pull without a grant; else public, or private if it has credentials.",
            rich_help_panel=_WHAT,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Add an upstream: docker.io, ghcr.io, quay.io, any registry by its host, or another name and --url.

    Its images are then pulled as HOST/docker.io/library/nginx, or, when clients are set up for it, by their
    usual names: see moorage connect.
    """
    if visibility is not None:
        body["visibility"] = visibility
    made = session.client.post("upstreams", body={**body, "name": name})
    session.show.done(
        f"{name} is mirrored from {made['url']}: pull it as HOST/{_example(name)}.\n"
        f"Whether it answers: moorage upstream test {name}. To pull by the usual names: moorage connect",
        made,
    )


@app.command("set")
@managing
@_describing
def change(session: Session, name: NameArgument, body: Fact) -> None:
    """Change what is given of an upstream; a list is replaced by what is given, 'none' empties it.

    With another address the password has to be given again.
    """
    if not body:
        raise typer.BadParameter("say what to change; see --help")
    changed = session.client.patch("upstreams", name, body=body)
    session.show.done(f"{name} is changed.", changed)


@app.command()
@managing
def remove(
    session: Session,
    name: NameArgument,
    *,
    keep: Annotated[bool, typer.Option("--keep-images", help="Its images become local ones.")] = False,
    delete: Annotated[bool, typer.Option("--delete-images", help="Its images go to the trash.")] = False,
) -> None:
    """Forget an upstream. If there are images of it, say what becomes of them."""
    if keep and delete:
        raise typer.BadParameter("give --keep-images or --delete-images, not both")
    images = "keep" if keep else "delete" if delete else None
    removed = session.client.delete("upstreams", name, images=images)
    said = [f"{name} is no upstream any more."]
    if removed["kept"]:
        said.append(f"{removed['kept']:,} repositories stay as local ones.")
    if removed["deleted"]:
        said.append(f"{removed['deleted']:,} repositories are in the trash: moorage trash list")
    session.show.done("\n".join(said), removed)


@app.command("test")
@managing
def try_lines(
    session: Session,
    name: NameArgument,
    *,
    url: UrlOption = None,
    username: UsernameOption = None,
    password_stdin: PasswordStdinOption = False,
) -> None:
    """Ask an upstream and its alternatives whether they answer; exit 1 if one does not.

    With --url that address is asked, as it would be after a change.
    """
    secret = _ask_secret(username, from_stdin=password_stdin)
    body = _body(url=url, username=username, password=secret)
    tested = session.client.post("upstreams", name, "test", body=body)
    addresses = tested["addresses"]
    if session.show.as_json:
        session.show.json(tested)
    else:
        for each in addresses:
            what = f"answers, in {each['seconds']:.2f} s" if each["error"] is None else each["error"]
            typer.echo(f"{each['url']}: {what}")
    if any(each["error"] is not None for each in addresses):
        raise typer.Exit(1)


@app.command()
@managing
def disconnect(session: Session, name: MaybeNameArgument = None) -> None:
    """Let an upstream, or all, be asked no more. What is here is served on, however old."""
    path = ("upstreams", "disconnection") if name is None else ("upstreams", name, "disconnection")
    switched = session.client.put(*path)
    names = switched["upstreams"]
    already = "There is no upstream." if name is None else f"{name} was disconnected already."
    done = (
        f"Disconnected: {', '.join(names)}. To connect again: moorage upstream connect {name or ''}".rstrip()
    )
    session.show.done(done if names else already, switched)


@app.command()
@managing
def connect(session: Session, name: MaybeNameArgument = None) -> None:
    """Let an upstream, or all, be asked again."""
    path = ("upstreams", "disconnection") if name is None else ("upstreams", name, "disconnection")
    switched = session.client.delete(*path)
    names = switched["upstreams"]
    done = f"Connected: {', '.join(names)}." if names else "It was not disconnected."
    session.show.done(done, switched)


@app.command()
@managing
def status(session: Session, name: MaybeNameArgument = None) -> None:
    """Show whether upstreams answer, what they last said, what is kept of them, and what that saves."""
    if name is None:
        found = list(session.client.items("upstreams", "status"))
    else:
        found = [session.client.get("upstreams", name, "status")]
    show_status(session, found)


def _example(name: str) -> str:
    return f"{name}/library/nginx" if name == "docker.io" else f"{name}/REPOSITORY"


def _ask_secret(username: str | None, *, from_stdin: bool) -> str | None:
    """Raises Unreachable where there is no one to ask."""
    if username == _NONE or (username is None and not from_stdin):
        return None
    return ask_password(username or "the upstream", from_stdin=from_stdin)


def _body(**given: Any) -> Fact:
    """What the API is sent: what was given, in its words."""
    body: Fact = {key: value for key, value in given.items() if value is not None}
    for key, value in body.items():
        if isinstance(value, list):
            body[key] = [] if value == [_NONE] else value
    if "alternatives" in body:
        body["alternatives"] = [{"url": each} for each in body["alternatives"]]
    if body.get("username") == _NONE:
        body["username"] = ""
    if "authority" in body:
        body["authority"] = _read_text(body["authority"])
    if "budget_bytes" in body:
        body["budget_bytes"] = None if body["budget_bytes"] == _NONE else _read_size(body["budget_bytes"])
    if "freshness_s" in body:
        body["freshness_s"] = _read_seconds(body["freshness_s"])
    return body


def _read_size(text: str) -> int:
    try:
        return int(read_size(text))
    except ValueError as error:
        raise typer.BadParameter(f"--budget: {error}") from error


def _read_seconds(text: str) -> int:
    try:
        return int(read_duration(text).total_seconds())
    except ValueError as error:
        raise typer.BadParameter(f"--freshness: {error}") from error


def _read_text(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        refuse(f"cannot read {path}: {error}")
