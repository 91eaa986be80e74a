"""Settings from a TOML file and the environment: all problems found at once, in the operator's words."""

import difflib
import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, get_args

from moorage.config import Described, Settings, describe
from moorage.setting import Bytes

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)", re.ASCII)
_SIZE = re.compile(r"([0-9]+)(B|KiB|MiB|GiB|TiB)?", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_UNITS = {None: 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_SWITCH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class SettingsRefused(Exception):
    """The settings cannot be used; one line for each problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load(
    path: Path | None, environment: Mapping[str, str], overrides: Mapping[tuple[str, str], Any] | None = None
) -> Settings:
    """Defaults, then the file, then the environment, then the command line's overrides by (section, key).

    Raises SettingsRefused with every problem: where it stands, what is wrong, the nearest right name.
    """
    loader = _Loader()
    if path is not None:
        loader.read_file(path)
    loader.read_environment(environment)
    for place, value in (overrides or {}).items():
        loader.values[place] = value
        loader.origins[place] = f"--{place[1]}"
    settings = loader.settings()
    if loader.problems:
        raise SettingsRefused(loader.problems)
    return settings


class _Loader:
    def __init__(self) -> None:
        self.known: dict[tuple[str, str], Described] = {(each.section, each.key): each for each in describe()}
        self.values: dict[tuple[str, str], Any] = {}
        self.origins: dict[tuple[str, str], str] = {}
        self.problems: list[str] = []

    def read_file(self, path: Path) -> None:
        try:
            text = path.read_text("utf-8")
            document = tomllib.loads(text)
        except OSError as error:
            self.problems.append(f"{path}: {error.strerror}")
            return
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            self.problems.append(f"{path}: not TOML: {error}")
            return
        sections = sorted({section for section, _ in self.known})
        for section, table in document.items():
            if section not in sections or not isinstance(table, dict):
                line = _line_of(text, section, None)
                self.problems.append(f"{path}:{line}: no section [{section}]{nearest(section, sections)}")
                continue
            for key, value in table.items():
                of = f"{section}.{key}" if _is_list_of_tables(value) else section
                line = _line_of(text, key, section) if of == section else _line_of_table(text, of, 0, None)
                self._take(section, key, value, f"{path}:{line}", _places_in(path, text, of))

    def read_environment(self, environment: Mapping[str, str]) -> None:
        variables = {each.variable: each for each in self.known.values()}
        for name in sorted(environment):
            if not name.startswith("MOORAGE_") or name in _OTHER_VARIABLES:
                continue
            if name not in variables:
                self.problems.append(f"{name}: no such setting{nearest(name, list(variables))}")
                continue
            each = variables[name]
            self._take(each.section, each.key, environment[name], name)

    def _take(self, section: str, key: str, raw: object, origin: str, place: "_Place | None" = None) -> None:
        each = self.known.get((section, key))
        if each is None:
            keys = [known for of, known in self.known if of == section]
            self.problems.append(f"{origin}: no setting {section}.{key}{nearest(key, keys)}")
            return
        try:
            self.origins[section, key] = origin
            table = table_of(each.type)
            self.values[section, key] = (
                _convert(raw, each.type)
                if table is None
                else self._tables(table, raw, f"{section}.{key}", place or (lambda _at, _key: origin))
            )
        except ValueError as error:
            self.problems.append(f"{origin}: {section}.{key}: {error}")

    def _tables(self, kind: type, raw: object, setting: str, place: "_Place") -> tuple[Any, ...]:
        """Those of a list of tables that can be used. Raises ValueError where there is no such list."""
        made = [
            self._table(kind, row, setting, partial(place, at))
            for at, row in enumerate(_read_tables(raw, getattr(kind, "SHORT", None)))
        ]
        return tuple(each for each in made if each is not None)

    def _table(
        self, kind: type, row: Mapping[str, Any], setting: str, place: Callable[[str | None], str]
    ) -> Any:
        """One table; None when it cannot be used. `place` says where a key of it stands, or itself."""
        known = {each.name: each for each in fields(kind)}
        before = len(self.problems)
        values: dict[str, Any] = {}
        for key, raw in row.items():
            if key not in known:
                self.problems.append(f"{place(key)}: no setting {setting}.{key}{nearest(key, list(known))}")
                continue
            try:
                values[key] = self._value_in(known[key].type, raw, f"{setting}.{key}", partial(place, key))
            except ValueError as error:
                self.problems.append(f"{place(key)}: {setting}.{key}: {error}")
        self.problems += [
            f"{place(None)}: {setting}.{key}: is missing"
            for key, each in known.items()
            if key not in row and each.default is MISSING
        ]
        if len(self.problems) > before:
            return None
        made = kind(**values)
        self.problems += [f"{place(key)}: {setting}.{key}: {sentence}" for key, sentence in made.problems()]
        return made if len(self.problems) == before else None

    def _value_in(self, kind: Any, raw: object, setting: str, place: Callable[[], str]) -> Any:
        """A table's value, which may be tables itself. Raises ValueError with a sentence."""
        inner = table_of(kind)
        return _convert(raw, kind) if inner is None else self._tables(inner, raw, setting, lambda *_: place())

    def settings(self) -> Settings:
        defaults, sections = Settings(), {}
        for section in fields(Settings):
            own = {key: value for (of, key), value in self.values.items() if of == section.name}
            value = replace(getattr(defaults, section.name), **own)
            sections[section.name] = value
            for key, sentence in value.problems():
                origin = self.origins.get((section.name, key), "default")
                self.problems.append(f"{origin}: {section.name}.{key}: {sentence}")
        return Settings(**sections)


_OTHER_VARIABLES = frozenset(
    {"MOORAGE_CONFIG", "MOORAGE_REGISTRY", "MOORAGE_REQUIRE_CLIENTS", "MOORAGE_SERVE", "MOORAGE_TOKEN"}
)


def nearest(name: str, names: list[str]) -> str:
    """The end of a sentence about an unknown name: the one that was meant, or all there are."""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(names)}"


_Place = Callable[[int, str | None], str]
"""Where the key of a table stands, by the table's number; without a key, where the table does."""


def _places_in(path: Path, text: str, of: str) -> _Place:
    return lambda at, key: f"{path}:{_line_of_table(text, of, at, key)}"


def _is_list_of_tables(value: object) -> bool:
    return isinstance(value, list) and any(isinstance(each, dict) for each in value)


def _line_of_table(text: str, name: str, at: int, key: str | None) -> int:
    """The line of a key in table number `at` of its name, else of that table, else of the name."""
    number, found = -1, None
    for line_number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*(\[+)\s*([^\]]+?)\s*\]", line)
        if header and header[1] == "[[" and header[2].replace('"', "") == name:
            number += 1
            if number == at:
                found = line_number
                if key is None:
                    break
        elif found and number == at and key is not None:
            # a table in it may stand under a header of its own
            in_header = header and header[2].replace('"', "") == f"{name}.{key}"
            if in_header or re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[.=]", line):
                return line_number
    section, _, last = name.rpartition(".")
    return found or _line_of(text, last, section)


def _line_of(text: str, key: str, section: str | None) -> int:
    """The line where a key stands, or the section itself: tomllib does not tell."""
    name = rf"[\"']?{re.escape(key)}[\"']?"
    lines = list(enumerate(text.splitlines(), 1))
    if section is None:
        headers = [number for number, line in lines if re.match(rf"\s*\[+\s*{name}\s*[\].]", line)]
        if headers:
            return headers[0]
    else:
        is_inside = False
        for number, line in lines:
            header = re.match(r"\s*\[+\s*[\"']?([^\]\"']+?)[\"']?\s*\]", line)
            if header:
                is_inside = header[1] == section
            elif is_inside and re.match(rf"\s*{name}\s*[.=]", line):
                return number
    # written in some rarer way: a dotted key, an inline table
    word = re.compile(rf"(?<![\w-]){re.escape(key)}(?![\w-])")
    return next((number for number, line in lines if word.search(line)), 1)


def _convert(raw: object, kind: Any) -> object:
    """A value of a setting's type. Raises ValueError with a sentence."""
    if kind == Bytes | None or kind is Bytes:
        return read_size(raw)
    if kind is timedelta:
        return read_duration(raw)
    if kind is bool:
        return _switch(raw)
    if kind is int:
        if isinstance(raw, bool) or not re.fullmatch(r"-?[0-9]{1,12}", str(raw), re.ASCII):
            raise ValueError(f"want a whole number; this is {raw!r}")
        return int(str(raw))
    if kind == tuple[str, ...]:
        return _texts(raw)
    if kind == Mapping[str, str]:
        return _mapping(raw)
    if not isinstance(raw, str):
        raise ValueError(f"want a text in quotes; this is {raw!r}")  # noqa: TRY004 - told to an operator
    return Path(raw) if kind in {Path, Path | None} else raw


def _texts(raw: object) -> tuple[str, ...]:
    """A list in TOML; in the environment, its texts with commas between."""
    texts = [each.strip() for each in raw.split(",")] if isinstance(raw, str) else raw
    if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
        raise ValueError(f'want a list of texts, as ["a", "b"]; this is {raw!r}')
    return tuple(each for each in texts if each)


def _mapping(raw: object) -> dict[str, str]:
    if not isinstance(raw, dict) or not all(isinstance(each, str) for each in raw.values()):
        raise ValueError(f'want texts by name, as {{ ref = "refs/heads/main" }}; this is {raw!r}')
    return raw


def table_of(kind: Any) -> type | None:
    """The dataclass of a setting that is a list of tables; None for any other."""
    inner = get_args(kind)[:1]
    return inner[0] if inner and isinstance(inner[0], type) and is_dataclass(inner[0]) else None


def _read_tables(raw: object, short: str | None) -> list[dict[str, Any]]:
    """A list of tables in TOML; in the environment, as JSON. `short`: the key that a mere text stands for."""
    rows = raw
    if isinstance(raw, str):
        try:
            rows = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"want a list of tables as JSON: {error}") from error
    if isinstance(rows, list) and short is not None:
        rows = [{short: each} if isinstance(each, str) else each for each in rows]
    if not isinstance(rows, list) or not all(isinstance(each, dict) for each in rows):
        raise ValueError(f"want a list of tables; this is {rows!r}")
    return rows


def read_size(raw: object) -> Bytes:
    """A number of bytes as `512MiB` or a plain number. Raises ValueError with a sentence."""
    match = None if isinstance(raw, bool) else _SIZE.fullmatch(str(raw))
    if match is None:
        raise ValueError(f"want a size as 512MiB; this is {raw!r}")
    return Bytes(int(match[1]) * _UNITS[match[2]])


def read_duration(raw: object) -> timedelta:
    """A time as `1h` or `7d`. Raises ValueError with a sentence."""
    match = _DURATION.fullmatch(str(raw))
    if match is None:
        raise ValueError(f"want a duration as 30s, 5m, 24h or 7d; this is {raw!r}")
    try:
        return timedelta(seconds=float(match[1]) * _SECONDS[match[2]])
    except OverflowError as error:
        raise ValueError(f"longer than anything lasts: {raw!r}") from error


def _switch(raw: object) -> bool:
    value = raw if isinstance(raw, bool) else _SWITCH.get(str(raw).lower())
    if value is None:
        raise ValueError(f"want true or false; this is {raw!r}")
    return value


def render(value: object) -> str:
    """A setting's value as it is written in TOML."""
    match value:
        case None:
            return "(unset)"
        case bool():
            return "true" if value else "false"
        case Bytes():
            return f'"{_render_bytes(value)}"'
        case int():
            return str(value)
        case timedelta():
            return f'"{_render_duration(value)}"'
        case tuple() | list():
            return "[" + ", ".join(render(each) for each in value) + "]"
        case Mapping():
            # what is unset is left out: nothing in TOML says so
            said = {key: each for key, each in value.items() if each is not None}
            inner = ", ".join(f"{_render_key(key)} = {render(each)}" for key, each in said.items())
            return f"{{ {inner} }}" if inner else "{}"
        case _:
            # a JSON string is a TOML basic string, but for DEL
            return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007F")


def _render_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key, re.ASCII) else json.dumps(key)


def _render_bytes(value: int) -> str:
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if value and value % _UNITS[unit] == 0:
            return f"{value // _UNITS[unit]}{unit}"
    return str(value)


def _render_duration(value: timedelta) -> str:
    seconds = value.total_seconds()
    for unit in ("d", "h", "m", "s"):
        if seconds >= _SECONDS[unit] and seconds % _SECONDS[unit] == 0:
            return f"{int(seconds // _SECONDS[unit])}{unit}"
    return f"{int(seconds * 1000)}ms"


def default_path() -> Path | None:
    """The file named by MOORAGE_CONFIG, else /etc/moorage/moorage.toml where it exists."""
    named = os.environ.get("MOORAGE_CONFIG")
    if named:
        return Path(named)
    usual = Path("/etc/moorage/moorage.toml")
    return usual if usual.exists() else None
