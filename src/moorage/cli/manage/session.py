"""What every managing command shares: which registry it works on, as whom, and how refusals are told."""

import functools
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Concatenate, NoReturn

import typer

from moorage.cli.manage.asking import ask_password
from moorage.cli.manage.client import Client, Refused, Unreachable
from moorage.cli.manage.local import JobRunner, open_folder
from moorage.cli.manage.remote import authorization, explain, reach, read_address
from moorage.cli.manage.showing import Show
from moorage.cli.settings import ConfigOption, DataOption, load_or_exit

REGISTRY_VARIABLE = "MOORAGE_REGISTRY"
TOKEN_VARIABLE = "MOORAGE_TOKEN"  # noqa: S105 - a variable's name
_REMOTE = "A registry over the network"

RegistryOption = Annotated[
    str | None,
    typer.Option(
        "--registry",
        help=f"Its address, as https://registry.local:5000; else ${REGISTRY_VARIABLE}.",
        rich_help_panel=_REMOTE,
        show_default=False,
    ),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        help=f"File with a token; else ${TOKEN_VARIABLE}.",
        rich_help_panel=_REMOTE,
        show_default=False,
    ),
]
UserOption = Annotated[
    str | None,
    typer.Option(
        "--user",
        help="Sign in by this name; the password is asked for, or read by --password-stdin.",
        rich_help_panel=_REMOTE,
        show_default=False,
    ),
]
AuthorityOption = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        help="PEM file of a root certificate to trust.",
        rich_help_panel=_REMOTE,
        show_default=False,
    ),
]
SignInStdinOption = Annotated[
    bool,
    typer.Option(
        "--password-stdin",
        help="With --user: read the password from standard input, one line.",
        rich_help_panel=_REMOTE,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True, slots=True)
class Session:
    """A registry that can be asked, and a terminal to tell."""

    client: Client
    show: Show
    run_job: JobRunner | None = None
    """How to have jobs done on a data folder; None over the network, where a worker does them."""


def _options(
    *,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    registry: RegistryOption = None,
    token_file: TokenFileOption = None,
    user: UserOption = None,
    password_stdin: SignInStdinOption = False,
    ca: AuthorityOption = None,
) -> Iterator[Session]:
    """The options of every managing command, and the session that they ask for.

    Raises Unreachable, Refused.
    """
    address = registry or (None if data or config else os.environ.get(REGISTRY_VARIABLE))
    if registry and data:
        raise typer.BadParameter("give --data or --registry, not both")
    with ExitStack() as stack:
        credentials, run_job = None, None
        if address:
            password = None if user is None else ask_password(user, from_stdin=password_stdin)
            credentials = authorization(read_token(token_file), user, password)
            send = reach(read_address(address), credentials, ca)
        else:
            folder = stack.enter_context(open_folder(load_or_exit(config, data=data)))
            send, run_job = folder.send, folder.run_job
        try:
            yield Session(Client(send), Show(as_json=as_json), run_job)
        except Refused as refusal:
            if not address:
                raise
            raise Unreachable(explain(refusal, has_credentials=credentials is not None)) from refusal


def read_token(path: Path | None) -> str | None:
    """The token to show, from a file or the environment.

    Raises Unreachable.
    """
    if path is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Unreachable(f"cannot read the token in {path}: {error}") from error


def managing(command: Callable[Concatenate[Session, ...], None]) -> Callable[..., None]:
    """Give a command the options of a session, and its first argument.

    One that reads a password of its own from standard input has it on the line after that of --user.
    """
    shared = inspect.signature(_options, eval_str=True).parameters
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    names = {each.name for each in own}
    added = [each for name, each in shared.items() if name not in names]
    parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*own, *added)]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        with (
            refusals_told(),
            contextmanager(_options)(
                **{each: values[each] if each in names else values.pop(each) for each in shared}
            ) as session,
        ):
            command(session, **values)

    del run.__wrapped__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


@contextmanager
def refusals_told() -> Iterator[None]:
    """A refusal is a sentence on standard error and exit code 1."""
    try:
        yield
    except (Refused, Unreachable) as refusal:
        refuse(str(refusal))


def refuse(sentence: str) -> NoReturn:
    """End with a sentence and exit code 1."""
    typer.echo(f"moorage: {sentence if sentence.isprintable() else ascii(sentence)}", err=True)
    raise typer.Exit(1)
