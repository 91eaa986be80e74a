"""`moorage version`."""

import json
import platform
from importlib import metadata
from typing import Annotated

import typer


def version(*, as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False) -> None:
    """Show the version of Moorage and of what it stands on."""
    import apsw

    parts = {
        "moorage": metadata.version("moorage"),
        "python": platform.python_version(),
        "sqlite": apsw.sqlitelibversion(),
        "httptools": metadata.version("httptools"),
    }
    typer.echo(
        json.dumps(parts) if as_json else "\n".join(f"{name:9} {value}" for name, value in parts.items())
    )
