"""The settings as a page of the documentation: `python -m moorage.cli.reference > docs/configuration.md`."""

import sys
from dataclasses import MISSING, fields
from datetime import timedelta
from itertools import groupby
from typing import Any

from moorage.config import Described, Settings, describe
from moorage.config_file import render, table_of
from moorage.setting import Bytes

_HEAD = """\
# Configuration

<!-- Made by `python -m moorage.cli.reference > docs/configuration.md`. Change the code, not this file. -->

Moorage runs without any setting. A value is taken from the last of these that has one:

1. the default;
2. the TOML file named by `--config`, else by `MOORAGE_CONFIG`, else `/etc/moorage/moorage.toml` if it exists;
3. the environment variable;
4. the command line: `--listen` and `--data` of `moorage serve` and `moorage doctor`, `--workers` of `serve`.

Settings are read once, at the start. An unknown section, key or `MOORAGE_` variable, or a value that cannot
be used, ends the start with exit code 1 and one line for each problem: where it stands, what is wrong, the
nearest right name. `moorage config check` looks for the same problems without starting anything,
`moorage config show` prints what is in force, `moorage config schema` prints these tables on a terminal.

| Type | Written as |
|---|---|
| duration | text: a number and `ms`, `s`, `m`, `h` or `d`, as `"30s"` or `"1.5h"` |
| size | text: a whole number and `KiB`, `MiB`, `GiB` or `TiB`, as `"512MiB"`; or a plain number of bytes |
| switch | `true` or `false`; in the environment also `1`, `0`, `yes`, `no` |
| list | a list of texts, as `["a", "b"]`; in the environment `a,b` |
| tables | a list of tables, each under `[[oidc.trusts]]`; in the environment a list of objects as JSON |
| path | text; a relative one starts at the folder that Moorage is started in |

"""

EXAMPLE = """\
[server]
listen = "127.0.0.1:5000"
workers = 4

[storage]
data = "/var/lib/moorage"
reserve = "10GiB"

[uploads]
expiry = "24h"
max_bytes = "20GiB"

[log]
format = "json"
"""
"""A file as an operator might write it."""


def render_reference() -> str:
    """All of docs/configuration.md: every setting, its type, default, environment variable and meaning."""
    sections = groupby(describe(), key=lambda each: each.section)
    tables = "".join(_section(name, list(settings)) for name, settings in sections)
    return f"{_HEAD}{tables}## An example\n\n```toml\n{EXAMPLE}```\n"


def _section(name: str, settings: list[Described]) -> str:
    meaning = (type(getattr(Settings(), name)).__doc__ or "").strip()
    rows = "".join(
        f"| `{each.key}` | {_type(each.type)} | {_default(each.default)} | `{each.variable}` "
        f"| {each.meaning.replace('|', '&#124;')} |\n"
        for each in settings
    )
    header = "| Key | Type | Default | Environment variable | Meaning |\n|---|---|---|---|---|\n"
    tables = "".join(_table(f"{name}.{each.key}", table_of(each.type)) for each in settings)
    return f"## [{name}]\n\n{meaning}\n\n{header}{rows}\n{tables}"


def _table(name: str, kind: type | None) -> str:
    """The keys of the tables that a setting lists."""
    if kind is None:
        return ""
    keys = "".join(
        f"- `{each.name}`: {each.metadata['meaning']}"
        + ("\n" if each.default is MISSING else f" Default {_default(each.default)}.\n")
        for each in fields(kind)
    )
    inner = "".join(_table(f"{name}.{each.name}", table_of(each.type)) for each in fields(kind))
    return f"Each table of `[[{name}]]`: {(kind.__doc__ or '').strip()}\n\n{keys}\n{inner}"


def _type(kind: Any) -> str:
    if kind == Bytes | None or kind is Bytes:
        return "size"
    if table_of(kind) is not None:
        return "tables"
    names: dict[Any, str] = {
        timedelta: "duration",
        bool: "switch",
        int: "number",
        str: "text",
        str | None: "text",
        tuple[str, ...]: "list",
    }
    return names.get(kind, "path")


def _default(value: object) -> str:
    return "not set" if value is None else f"`{render(value)}`"


if __name__ == "__main__":
    sys.stdout.write(render_reference())
