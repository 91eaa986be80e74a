"""`access.toml`: what should be, with every mistake told at once, by line.

[accounts."bot.ci"]           kind, role, description, is_disabled
[groups.ops]                  members
[namespaces.team]             owner ("alice", "group:ops", "administrators"), visibility
[[grants]]                    to ("alice", "group:ops", "everyone"), actions, pattern
[[immutable]]                 scope ("team/*"), tags ("1.*", "re:...", or a preset's name: "versions")
[[retention]]                 scope, tags, and which of them stay: newest (10), by ("time", "version"),
                              pushed ("30d"), pulled ("90d")
"""

import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

import typer

from moorage.cli.manage.words import read_owner, read_receiver
from moorage.config_file import nearest, read_duration
from moorage.errors import RegistryError
from moorage.identity.access.deciding import check_actions
from moorage.identity.access.patterns import check_pattern
from moorage.identity.access.rows import Visibility
from moorage.identity.accounts.names import check_name
from moorage.identity.accounts.rows import Kind, Role
from moorage.lifecycle.retention.rows import NewestBy
from moorage.lifecycle.retention.rules import Keeps, check_keeps
from moorage.registry.tags.immutability import PRESETS
from moorage.registry.tags.patterns import compile_tag_pattern

Read = Callable[[Any], Any]


class DocumentRefused(Exception):
    """The file cannot be used; one line for each mistake."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Retained(NamedTuple):
    """Which of the tags of a pattern stay, as the API has it; None says nothing."""

    scope: str
    pattern: str
    keep_newest: int | None
    newest_by: NewestBy
    keep_pushed_s: int | None
    keep_pulled_s: int | None


@dataclass(frozen=True, slots=True)
class State:
    """Things by their names, each with those of its facts that are known; owners in the API's words.

    Grants are by receiver and pattern; their value is the actions, with what they bring.
    """

    accounts: dict[str, dict[str, Any]] = field(default_factory=dict)
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)
    namespaces: dict[str, dict[str, Any]] = field(default_factory=dict)
    grants: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    immutable: set[tuple[str, str]] = field(default_factory=set)
    """Rules that fix tags, by scope and pattern."""
    retention: set[Retained] = field(default_factory=set)


def _one_of(words: tuple[str, ...]) -> Read:
    def read(value: Any) -> Any:
        if value not in words:
            raise ValueError(f"want {' or '.join(words)}; this is {value!r}")
        return value

    return read


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"want a text in quotes; this is {value!r}")  # noqa: TRY004 - told to an operator
    return value


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"want true or false; this is {value!r}")  # noqa: TRY004 - told to an operator
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"want a whole number; this is {value!r}")  # noqa: TRY004 - told to an operator
    return value


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError(f'want a list of texts, as ["a", "b"]; this is {value!r}')
    return value


def _members(value: Any) -> list[str]:
    return sorted({check_name(each) for each in _texts(value)})


def _actions(value: Any) -> list[str]:
    return list(check_actions(_texts(value)))


def _check_tags(pattern: str) -> str:
    compile_tag_pattern(pattern)
    return pattern


def _tag_pattern(text: str) -> str:
    return _check_tags(PRESETS.get(text, text))


_KEYS: Final[dict[str, dict[str, Read]]] = {
    "accounts": {
        "kind": _one_of(get_args(Kind)),
        "role": _one_of(get_args(Role)),
        "description": _text,
        "is_disabled": _switch,
    },
    "groups": {"members": _members},
    "namespaces": {
        "owner": lambda value: read_owner(_text(value)),
        "visibility": _one_of(get_args(Visibility)),
    },
    "grants": {
        "to": lambda value: read_receiver(_text(value)),
        "actions": _actions,
        "pattern": lambda value: check_pattern(_text(value)),
    },
    "immutable": {
        "scope": lambda value: check_pattern(_text(value)),
        "tags": lambda value: _tag_pattern(_text(value)),
    },
    "retention": {
        "scope": lambda value: check_pattern(_text(value)),
        "tags": lambda value: _check_tags(_text(value)),
        "newest": _number,
        "by": _one_of(get_args(NewestBy)),
        "pushed": lambda value: read_duration(_text(value)),
        "pulled": lambda value: read_duration(_text(value)),
    },
}
_OPTIONAL: Final = {"retention": {"newest", "by", "pushed", "pulled"}}


def read_document(path: Path) -> State:
    """The file's state.

    Raises DocumentRefused.
    """
    try:
        text = path.read_text("utf-8")
        document = tomllib.loads(text)
    except OSError as error:
        raise DocumentRefused([f"{path}: {error.strerror}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DocumentRefused([f"{path}: not TOML: {error}"]) from error
    reader = _Reader(str(path), Lines(text))
    state = reader.read(document)
    if reader.problems:
        raise DocumentRefused(reader.problems)
    return state


class Lines:
    """Where things stand in a file: tomllib does not tell."""

    def __init__(self, text: str) -> None:
        self._keys: list[tuple[tuple[str, ...], str, int]] = []
        self._tables: list[tuple[tuple[str, ...], int]] = []
        place: tuple[str, ...] = ()
        counts: dict[str, int] = {}
        for number, line in enumerate(text.splitlines(), 1):
            header = _header(line)
            if header is not None:
                place = header
                if line.lstrip().startswith("[["):
                    index = counts[header[0]] = counts.get(header[0], -1) + 1
                    place = (header[0], str(index))
                self._tables.append((place, number))
            elif match := re.match(r"\s*[\"']?([A-Za-z0-9_.-]+)[\"']?\s*=", line):
                self._keys.append((place, match[1], number))

    def of(self, *place: str) -> int:
        """The line of a table, or of a key in it; the nearest to it that is found."""
        for table, key, number in self._keys:
            if (*table, key) == place:
                return number
        for table, number in self._tables:
            if table[: len(place)] == place:
                return number
        return self.of(*place[:-1]) if place else 1


def _header(line: str) -> tuple[str, ...] | None:
    """The keys of a table's header, as TOML reads them."""
    if not line.lstrip().startswith("["):
        return None
    try:
        table: Any = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return None
    keys: list[str] = []
    while isinstance(table, dict) and len(table) == 1:
        ((key, table),) = table.items()
        keys.append(key)
    return tuple(keys)


class _Reader:
    def __init__(self, path: str, lines: Lines) -> None:
        self.problems: list[str] = []
        self._path = path
        self._lines = lines

    def read(self, document: dict[str, Any]) -> State:
        state = State()
        adding: dict[str, tuple[str, Callable[[str, dict[str, Any], Any], None]]] = {
            "grants": ("a grant", self._add_grant),
            "immutable": ("a rule", self._add_rule),
            "retention": ("a rule", self._add_retained),
        }
        for section, content in document.items():
            if section not in _KEYS:
                self._add(f"there is no [{section}]{nearest(section, list(_KEYS))}", section)
            elif section in adding:
                one, add = adding[section]
                for place, fact in self._read_list(section, one, content):
                    add(place, fact, getattr(state, section))
            elif not isinstance(content, dict):
                self._add(f"want [{section}.NAME]", section)
            else:
                things: dict[str, dict[str, Any]] = getattr(state, section)
                for name, table in content.items():
                    self._read_thing(section, name, table, things)
        return state

    def _read_thing(self, section: str, name: str, table: Any, things: dict[str, dict[str, Any]]) -> None:
        try:
            check_name(name)
        except RegistryError as refusal:
            self._add(f"{section}.{name}: {_said(refusal)}", section, name)
            return
        things[name] = self._read_keys(section, table, section, name)

    def _read_list(self, section: str, one: str, content: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        """The things of a section without names that have all their keys, with their places in it."""
        if not isinstance(content, list):
            self._add(f"want [[{section}]], with two brackets", section)
            return
        for index, table in enumerate(content):
            before = len(self.problems)
            fact = self._read_keys(section, table, section, str(index))
            missing = [key for key in _KEYS[section] if key not in {*fact, *_OPTIONAL.get(section, ())}]
            if len(self.problems) > before:
                continue
            if missing:
                self._add(f"{one} needs {', '.join(missing)}", section, str(index))
            else:
                yield str(index), fact

    def _add_grant(self, place: str, fact: dict[str, Any], grants: dict[tuple[str, str], list[str]]) -> None:
        if (fact["to"], fact["pattern"]) in grants:
            self._add(f"{fact['to']} has a grant on {fact['pattern']} already", "grants", place)
        else:
            grants[fact["to"], fact["pattern"]] = fact["actions"]

    def _add_rule(self, place: str, fact: dict[str, Any], rules: set[tuple[str, str]]) -> None:
        if (fact["scope"], fact["tags"]) in rules:
            self._add(f"tags {fact['tags']} are fixed in {fact['scope']} already", "immutable", place)
        else:
            rules.add((fact["scope"], fact["tags"]))

    def _add_retained(self, place: str, fact: dict[str, Any], rules: set[Retained]) -> None:
        pushed, pulled = fact.get("pushed"), fact.get("pulled")
        keeps = Keeps(fact.get("newest"), fact.get("by", "time"), pushed, pulled)
        try:
            check_keeps(keeps)
        except RegistryError as refusal:
            self._add(f"{refusal.detail['field']}: {_said(refusal)}", "retention", place)
            return
        seconds = [None if age is None else int(age.total_seconds()) for age in (pushed, pulled)]
        retained = Retained(fact["scope"], fact["tags"], keeps.newest, keeps.newest_by, *seconds)
        if retained in rules:
            self._add("this rule is there already", "retention", place)
        rules.add(retained)

    def _read_keys(self, section: str, table: Any, *place: str) -> dict[str, Any]:
        known = _KEYS[section]
        if not isinstance(table, dict):
            self._add(f"{'.'.join(place)}: want a table", *place)
            return {}
        fact = {}
        for key, value in table.items():
            if key not in known:
                self._add(f"{section} have no {key}{nearest(key, list(known))}", *place, key)
                continue
            try:
                fact[key] = known[key](value)
            except RegistryError as refusal:
                self._add(f"{key}: {_said(refusal)}", *place, key)
            except (ValueError, typer.BadParameter) as error:
                self._add(f"{key}: {error}", *place, key)
        return fact

    def _add(self, sentence: str, *place: str) -> None:
        self.problems.append(f"{self._path}:{self._lines.of(*place)}: {sentence}")


def _said(refusal: RegistryError) -> str:
    want, reason = refusal.detail.get("want"), refusal.detail.get("reason")
    return f"{refusal.message}; want {want}" if want else f"{reason or refusal.message}"
