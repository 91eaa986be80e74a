"""`moorage login` and `moorage logout`: credentials where docker keeps them."""

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moorage.cli.manage.asking import PasswordStdinOption, ask_password
from moorage.cli.manage.client import Unreachable as NoTerminal
from moorage.cli.manage.session import refuse
from moorage.cli.transfer.trusting import AuthorityOption, advise

if TYPE_CHECKING:
    from moorage.upstream.docker_config import Credentials

HostArgument = Annotated[
    str,
    typer.Argument(
        metavar="HOST", help="The registry, as registry.local:5000 or docker.io.", show_default=False
    ),
]
_TIMEOUT_S = 30.0
_IN_THE_OPEN = "not encrypted"
"""How a place of credentials is told of that anyone reads who can read files."""


def login(
    host: HostArgument,
    *,
    username: Annotated[
        str | None, typer.Option("--username", "-u", help="Else it is asked for.", show_default=False)
    ] = None,
    from_stdin: PasswordStdinOption = False,
    ca: AuthorityOption = None,
    is_plain: Annotated[
        bool,
        typer.Option(
            "--plain-http", help="The registry speaks plain HTTP: anyone on the way reads the password."
        ),
    ] = False,
) -> None:
    """Sign in to a registry, for `moorage copy`, `push` and `pull`, and for docker.

    The registry is asked first. What it takes is kept where docker keeps it: in the credential helper that
    docker's config.json names, else in config.json itself.
    """
    from moorage.mirrors.asking import UpstreamFailure
    from moorage.transfer.between.ports import CopyRefused
    from moorage.upstream.docker_config import Credentials, DockerConfig, DockerConfigError

    domain = _read_host(host)
    if from_stdin and username is None:
        refuse("--password-stdin needs --username")
    if username is None:
        if not sys.stdin.isatty():
            refuse("there is no terminal to ask for a name; use --username and --password-stdin")
        username = str(typer.prompt(f"User name at {domain}", err=True))
    try:
        credentials = Credentials(username, ask_password(username, from_stdin=from_stdin))
    except NoTerminal:
        refuse("there is no terminal to ask for a password; use --password-stdin")
    if not credentials.password:
        refuse("the password is empty")
    try:
        asyncio.run(_check(domain, credentials, ca, is_plain=is_plain))
        where = DockerConfig(os.environ).store(domain, credentials)
    except (UpstreamFailure, CopyRefused, DockerConfigError) as refusal:
        refuse(f"{refusal}. Nothing was kept.{advise(str(refusal))}")
    typer.echo(f"Signed in to {domain} as {username}. Kept {where}.")
    if where.endswith(_IN_THE_OPEN):
        typer.echo(
            "Warning: whoever can read that file has the password. A credential helper keeps it better:"
            " https://docs.docker.com/go/credential-store/",
            err=True,
        )


def logout(host: HostArgument) -> None:
    """Forget the credentials for a registry, where docker keeps them."""
    from moorage.upstream.docker_config import DockerConfig, DockerConfigError

    domain = _read_host(host)
    try:
        had_any = DockerConfig(os.environ).erase(domain)
    except DockerConfigError as refusal:
        refuse(str(refusal))
    typer.echo(f"Signed out of {domain}." if had_any else f"There were no credentials for {domain}.")


def _read_host(text: str) -> str:
    """A registry's host, with its port, also from its address."""
    from moorage.oci.references import InvalidImageReference, parse_image_reference

    host = text.partition("://")[2] or text
    host = host.removesuffix("/")
    try:
        reference = parse_image_reference(f"{host}/image")
    except InvalidImageReference as refusal:
        refuse(f"{text[:200]!r} is no registry's host: {refusal}")
    if not reference.domain or reference.path not in {"image", "library/image"} or host != host.strip():
        refuse(f"{text[:200]!r} is no registry's host: want HOST or HOST:PORT, as registry.local:5000")
    return reference.domain


async def _check(domain: str, credentials: "Credentials", authority: Path | None, *, is_plain: bool) -> None:
    from moorage.cli.transfer.opening import opening

    async with opening(authority) as opened:
        at = await opened.line.reaching.find_for(domain, credentials, is_plain=is_plain)
        await opened.line.pusher.ping(at, _TIMEOUT_S)
