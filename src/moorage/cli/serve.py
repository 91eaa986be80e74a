"""`moorage serve`: the registry itself."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moorage.certificates.choice import uses_tls
from moorage.cli.settings import ConfigOption, DataOption, ListenOption, WorkersOption, load_or_exit, remember
from moorage.config import Settings

if TYPE_CHECKING:
    from moorage.serving import Started

INSECURE = (
    "Everyone between a client and this registry can read images, tokens and passwords as they pass. They can"
    " also put other images in their place, and no client would notice."
)


def serve(
    listen: ListenOption = None,
    data: DataOption = None,
    workers: WorkersOption = None,
    config: ConfigOption = None,
    *,
    insecure_http: Annotated[
        bool, typer.Option("--insecure-http", help=f"Plain HTTP beyond loopback. {INSECURE}")
    ] = False,
    insecure_passwords: Annotated[
        bool,
        typer.Option(
            "--insecure-passwords", help="Take passwords over plain HTTP too; else only tokens are."
        ),
    ] = False,
) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    settings = load_or_exit(
        config,
        listen,
        data,
        workers,
        insecure_http=insecure_http or None,
        insecure_passwords=insecure_passwords or None,
        is_serving=True,
    )
    # the server's parts take a fifth of a second to import; a bad setting should not wait for them
    from moorage.app import StartRefused
    from moorage.serving import serve as run

    try:
        code = run(settings, lambda started: _begin(settings, config, started))
    except StartRefused as refusal:
        typer.echo(f"moorage: {refusal}", err=True)
        raise typer.Exit(1) from refusal
    raise typer.Exit(code)


def _begin(settings: Settings, config: Path | None, started: "Started") -> None:
    """What is done once, when the registry can be reached."""
    remember(settings, config)
    _greet(settings, started)


def _greet(settings: Settings, started: "Started") -> None:
    """For a person: where it is, how it comes to be trusted, and what to type next."""
    if not uses_tls(settings) and not settings.server.is_loopback:
        typer.echo(f"moorage: serving plain HTTP on {started.at}. {INSECURE}", err=True)
    if settings.log.format == "json":
        return
    scheme, _, at = _reached_at(settings, started).partition("://")
    typer.echo(f"Moorage serves {scheme}://{at} with its data in {settings.storage.data.resolve()}\n")
    if started.fingerprint is not None:
        from moorage.web.trust import Trust

        trust = Trust(at, started.fingerprint)
        typer.echo("Clients come to trust it once, by comparing the fingerprint (SHA-256) of its root:")
        typer.echo(f"  {started.fingerprint}")
        typer.echo(f"How, for docker, containerd, podman and others: https://{at}/trust. For docker:")
        typer.echo(f"  {trust.line('docker')}\n")
    if started.claim is not None:
        _greet_first(settings, f"{scheme}://{at}/claim?code={started.claim}", is_plain=scheme == "http")
    typer.echo("Push an image, then look at it:")
    if settings.server.is_local:
        typer.echo(f"  docker tag hello-world {at}/team/hello:v1")
        typer.echo(f"  docker push {at}/team/hello:v1")
        typer.echo(f"  curl {scheme}://{at}/v2/team/hello/tags/list\n")
    else:
        typer.echo(f"  docker login -u YOU {at}")
        typer.echo(f"  docker tag hello-world {at}/YOU/hello:v1")
        typer.echo(f"  docker push {at}/YOU/hello:v1\n")
    # before the workers are forked, or each would hold a copy of what is not yet written
    sys.stdout.flush()


def _greet_first(settings: Settings, link: str, *, is_plain: bool) -> None:
    """How the first administrator comes in. A page that takes no password is no way."""
    command = f"moorage admin claim --data {shlex.quote(str(settings.storage.data.resolve()))}"
    if is_plain and not settings.server.insecure_passwords:
        typer.echo(f"No one can sign in yet. To become its administrator, type: {command}\n")
        return
    typer.echo("No one can sign in yet. Open this within an hour, once, to become its administrator:")
    typer.echo(f"  {link}")
    typer.echo(f"or type: {command}\n")


def _reached_at(settings: Settings, started: "Started") -> str:
    """Scheme and address as others type them: what stands for all of a machine's is no name for it."""
    if settings.server.public:
        return settings.server.public[0].rstrip("/")
    host, _, port = started.at.rpartition(":")
    at = f"{_own_name(settings)}:{port}" if host in {"0.0.0.0", "[::]"} else started.at  # noqa: S104
    return f"{'https' if started.is_tls else 'http'}://{at}"


def _own_name(settings: Settings) -> str:
    """What the settings call this machine; else its full name, an address of it, or its name."""
    import socket

    from moorage.certificates.names import find_names

    host = socket.gethostname().lower()
    addresses = [each for each in find_names().addresses if each.version == 4 and not each.is_loopback]  # noqa: PLR2004
    if settings.tls.names:
        return settings.tls.names[0]
    return host if "." in host or not addresses else str(addresses[0])
