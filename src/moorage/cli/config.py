"""`moorage config`: check, show and explain the settings."""

import json
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from moorage.cli.settings import ConfigOption, load_or_exit
from moorage.config import describe
from moorage.config_file import render
from moorage.setting import Bytes

app = typer.Typer(help="Check, show and explain the settings.", no_args_is_help=True)
JsonOption = Annotated[bool, typer.Option("--json", help="Print a JSON object.")]


@app.command()
def check(config: ConfigOption = None) -> None:
    """Say whether the settings can be used; exit 1 and every problem if not."""
    from moorage.mirrors.configuring import UpstreamsUnusable, configured_upstreams

    settings = load_or_exit(config)
    try:
        # their secrets stand in files of their own
        configured_upstreams(settings.mirrors)
    except UpstreamsUnusable as error:
        typer.echo(f"moorage: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo("The settings are good.")


@app.command()
def show(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Show every setting as it is now, from defaults, file and environment."""
    settings = asdict(load_or_exit(config))
    if as_json:
        typer.echo(json.dumps(settings, indent=2, default=_plain))
        return
    for section, values in settings.items():
        typer.echo(f"[{section}]")
        for key, value in values.items():
            comment = "# " if value is None else ""
            typer.echo(f"{comment}{key} = {render(value)}")
        typer.echo()


@app.command()
def schema(*, as_json: JsonOption = False) -> None:
    """Explain every setting: its default, its environment variable, what it means."""
    if as_json:
        entries = [
            {
                "section": each.section,
                "key": each.key,
                "default": _plain(each.default)
                if isinstance(each.default, timedelta | Path)
                else each.default,
                "variable": each.variable,
                "meaning": each.meaning,
            }
            for each in describe()
        ]
        typer.echo(json.dumps(entries, indent=2))
        return
    section = None
    for each in describe():
        if each.section != section:
            typer.echo(f"[{each.section}]")
            section = each.section
        typer.echo(f"  {each.key} = {render(each.default)}    ({each.variable})\n      {each.meaning}")


def _plain(value: Any) -> object:
    if isinstance(value, timedelta):
        return value.total_seconds()
    return int(value) if isinstance(value, Bytes) else str(value)
