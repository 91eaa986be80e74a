"""What the commands that read settings share: their options, and how a refusal is shown."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from moorage.config import Settings
from moorage.config_file import SettingsRefused, default_path, load

_NOTE = "moorage.config"

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="TOML file; else $MOORAGE_CONFIG, else /etc/moorage/moorage.toml, else the one that the"
        " registry on the folder was last served with.",
        show_default=False,
    ),
]
ListenOption = Annotated[
    str | None,
    typer.Option("--listen", help="HOST:PORT to serve on. Default: 127.0.0.1:5000.", show_default=False),
]
DataOption = Annotated[
    Path | None, typer.Option("--data", help="Folder of all data. Default: ./data.", show_default=False)
]
WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", help="Worker processes. Default: one per processor.", show_default=False),
]


def load_or_exit(
    config: Path | None,
    listen: str | None = None,
    data: Path | None = None,
    workers: int | None = None,
    *,
    insecure_http: bool | None = None,
    insecure_passwords: bool | None = None,
    is_serving: bool = False,
) -> Settings:
    """The settings; or every problem on standard error and exit 1.

    A command that is told of no file takes the one that the registry was last served with.
    """
    given: dict[tuple[str, str], Any] = {
        ("server", "listen"): listen,
        ("storage", "data"): data,
        ("server", "workers"): workers,
        ("server", "insecure_http"): insecure_http,
        ("server", "insecure_passwords"): insecure_passwords,
    }
    overrides = {place: value for place, value in given.items() if value is not None}
    try:
        path = config or default_path() or (None if is_serving else _recall(data))
        return load(path, os.environ, overrides)
    except SettingsRefused as refusal:
        for problem in refusal.problems:
            typer.echo(f"moorage: {problem}", err=True)
        raise typer.Exit(1) from refusal


def remember(settings: Settings, config: Path | None) -> None:
    """Note with which file the registry is served, for the commands that work on its folder beside it."""
    note = settings.storage.data / _NOTE
    path = config or default_path()
    with suppress(OSError):
        if path is None:
            note.unlink(missing_ok=True)
        else:
            note.write_text(f"{path.resolve()}\n", "utf-8")


def _recall(data: Path | None) -> Path | None:
    """The file that was noted, where it is still there."""
    try:
        path = Path(((data or Path("data")) / _NOTE).read_text("utf-8").strip())
    except (OSError, UnicodeDecodeError):
        return None
    return path if path.is_file() else None
