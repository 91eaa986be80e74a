"""`moorage serve`: the registry itself."""

import ipaddress
import sys

import typer

from moorage.cli.settings import ConfigOption, DataOption, ListenOption, WorkersOption, load_or_exit
from moorage.config import Settings


def serve(
    listen: ListenOption = None,
    data: DataOption = None,
    workers: WorkersOption = None,
    config: ConfigOption = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    settings = load_or_exit(config, listen, data, workers)
    _check_loopback(settings)
    # the server's parts take a fifth of a second to import; a bad setting should not wait for them
    from moorage.app import StartRefused
    from moorage.app import serve as run

    try:
        code = run(settings, lambda at: _greet(settings, at))
    except StartRefused as refusal:
        typer.echo(f"moorage: {refusal}", err=True)
        raise typer.Exit(1) from refusal
    raise typer.Exit(code)


def _check_loopback(settings: Settings) -> None:
    """Without accounts and TLS, only this machine may come in."""
    host = settings.server.host
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        typer.echo(
            f"moorage: refusing to listen on {host}: there are no accounts and no TLS yet, so anyone who\n"
            "reaches this address could read, replace and delete every image. Listen on 127.0.0.1 and put a\n"
            "proxy with TLS and passwords in front of it.",
            err=True,
        )
        raise typer.Exit(1)


def _greet(settings: Settings, at: str) -> None:
    """For a person: where it is, and the three lines to type next."""
    if settings.log.format == "json":
        return
    typer.echo(f"Moorage serves http://{at} with its data in {settings.storage.data.resolve()}\n")
    typer.echo("Push an image, then look at it:")
    typer.echo(f"  docker tag hello-world {at}/team/hello:v1")
    typer.echo(f"  docker push {at}/team/hello:v1")
    typer.echo(f"  curl http://{at}/v2/team/hello/tags/list\n")
    # before the workers are forked, or each would hold a copy of what is not yet written
    sys.stdout.flush()
