"""Facts on the terminal: tables for a person, JSON for a script."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", re.ASCII)
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP = 1024
_WIDE = 10_000
"""Columns of a pipe: nothing in it is folded."""


class Show:
    """How a command prints what it found."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def table(self, rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str], none: str) -> None:
        """A list: `columns` are a row's keys with their headings; `none` is said for an empty one."""
        listed = list(rows)
        if self.as_json:
            self.json(listed)
        elif not listed:
            typer.echo(none)
        else:
            _print([[shown(row.get(key)) for key in columns] for row in listed], list(columns.values()))

    def facts(self, fact: Mapping[str, Any]) -> None:
        """One thing, a line for each of its facts."""
        if self.as_json:
            self.json(fact)
        else:
            _print([[key.replace("_", " "), shown(value)] for key, value in fact.items()])

    def done(self, sentence: str, fact: Mapping[str, Any]) -> None:
        """What was changed: a sentence for a person, the thing as it is now for a script."""
        if self.as_json:
            self.json(fact)
        else:
            typer.echo(sentence)

    @staticmethod
    def json(value: object) -> None:
        """A value as JSON."""
        typer.echo(json.dumps(value, indent=2))


def shown_bytes(number: int) -> str:
    """A size as a person reads it."""
    size, index = float(number), 0
    while size >= _STEP and index < len(_UNITS) - 1:
        size, index = size / _STEP, index + 1
    return f"{number} B" if index == 0 else f"{size:.1f} {_UNITS[index]}"


def counted(number: int, noun: str) -> str:
    """A number of things, as a person says it."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun.removesuffix('y')}ies" if noun.endswith("y") else f"{number:,} {noun}s"


def _print(rows: Sequence[Sequence[str]], headings: Sequence[str] = ()) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDE)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=bool(headings))
    for index in range(len(rows[0]) if rows else 0):
        heading = Text(headings[index] if headings else "", "bold")
        table.add_column(heading, style="" if headings or index else "dim", overflow="fold")
    for row in rows:
        table.add_row(*(Text(each) for each in row))
    with console.capture() as captured:
        console.print(table)
    # a table pads its last column, which is of no use to anyone
    typer.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def shown(value: object) -> str:
    """A value as a person reads it; nothing in it reaches the terminal as a command."""
    match value:
        case None | "" | []:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(shown(each) for each in value)
        case dict() if value.keys() == {"pattern", "actions"}:
            return f"{','.join(value['actions'])}:{value['pattern']}"
        case {"id": int(number), "name": str(name)}:
            return f"{number} ({shown(name)})"
        case dict():
            return ", ".join(f"{key}: {shown(each)}" for key, each in value.items())
    text = str(value)
    if _TIME.fullmatch(text):
        return f"{text[:10]} {text[11:19]}Z"
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
