"""The options of `moorage upstream` that describe an upstream, and what the API is told of them."""

import functools
import inspect
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from moorage.cli.manage.asking import PasswordStdinOption, ask_password
from moorage.cli.manage.client import Fact
from moorage.cli.manage.session import Session, refuse
from moorage.config_file import read_duration, read_size

NONE = "none"


class Trusted(StrEnum):
    """What an alternative may say that a tag names."""

    KNOWN = "known"
    NEW = "new"
    ANY = "any"


_WHERE = "Where it is"
WHAT = "What is mirrored"
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
        help=f"Sign in to it by this name; the password is asked for. '{NONE}': no credentials.",
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
        help=f"Address of another registry with the same content. May be repeated; '{NONE}': no other.",
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
        rich_help_panel=WHAT,
        show_default=False,
    ),
]
IncludeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--include",
        help="Mirror these repositories only, as 'library/*'. May be repeated.",
        rich_help_panel=WHAT,
        show_default=False,
    ),
]
ExcludeOption = Annotated[
    list[str] | None,
    typer.Option("--exclude", help="But for these.", rich_help_panel=WHAT, show_default=False),
]
PlatformOption = Annotated[
    list[str] | None,
    typer.Option(
        "--platform",
        help="Prefetch for this platform, as linux/arm64. May be repeated.",
        rich_help_panel=WHAT,
        show_default=False,
    ),
]
PinOption = Annotated[
    list[str] | None,
    typer.Option(
        "--pin",
        help="Prefetch these images and never evict them, as 'library/debian:*-slim'. May be repeated.",
        rich_help_panel=WHAT,
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
        help=f"Keep at most so much of it, as 200GiB; '{NONE}': all.",
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
    return build_body(
        url=url,
        hosts=host,
        username=username,
        password=ask_secret(username, from_stdin=password_stdin),
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


def describing(command: Callable[..., None]) -> Callable[..., None]:
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


def ask_secret(username: str | None, *, from_stdin: bool) -> str | None:
    """The password of who signs in to an upstream; None where nothing is said of it.

    Raises Unreachable where there is no one to ask.
    """
    if username == NONE or (username is None and not from_stdin):
        return None
    return ask_password(username or "the upstream", from_stdin=from_stdin)


def build_body(**given: Any) -> Fact:
    """What the API is sent: what was given, in its words."""
    body: Fact = {key: value for key, value in given.items() if value is not None}
    for key, value in body.items():
        if isinstance(value, list):
            body[key] = [] if value == [NONE] else value
    if "alternatives" in body:
        body["alternatives"] = [{"url": each} for each in body["alternatives"]]
    if body.get("username") == NONE:
        body["username"] = ""
    if "authority" in body:
        body["authority"] = _read_text(body["authority"])
    if "budget_bytes" in body:
        body["budget_bytes"] = None if body["budget_bytes"] == NONE else _read_size(body["budget_bytes"])
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
