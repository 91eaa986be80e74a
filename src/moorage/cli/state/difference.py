"""What has to be done so that what is becomes what should be. Pure.

In an order in which each step may be taken: who is made an administrator comes first, who is one no more
last; a thing is there before it is named, and named no more before it goes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from moorage.cli.state.document import State
from moorage.cli.state.present import is_implied, retained_key, rule_key, say_retained

_DEFAULTS = {"kind": "person", "role": "member", "description": "", "is_disabled": False}


@dataclass(frozen=True, slots=True)
class Change:
    """One step, and the request that takes it."""

    sign: Literal["+", "~", "-"]
    what: str
    detail: str
    method: Literal["POST", "PATCH", "PUT", "DELETE"]
    path: tuple[str, ...]
    body: dict[str, Any] | None = None

    def __str__(self) -> str:
        return f"{self.sign} {self.what}" + (f": {self.detail}" if self.detail else "")


@dataclass(frozen=True, slots=True)
class Present:
    """What is, the numbers of its grants and rules, and who asks for the difference."""

    state: State
    numbers: dict[tuple[str, str], int]
    caller: str


def find_problems(present: Present, wanted: State, kept: set[str]) -> list[str]:
    """What the file names and no one has made, or what cannot be changed. `kept`: accounts that stay."""
    accounts = wanted.accounts.keys() | kept
    groups = wanted.groups.keys() | present.state.groups.keys()
    named = [(f"group {name}", f"account {each}") for name, each in _members(wanted)]
    named += [
        (f"namespace {name}", fact["owner"])
        for name, fact in wanted.namespaces.items()
        if fact.get("owner") is not None
    ]
    named += [(f"the grant on {pattern}", to) for to, pattern in wanted.grants]
    found = []
    for place, receiver in named:
        kind, _, name = receiver.partition(" ")
        if kind != "everyone" and name not in (accounts if kind == "account" else groups):
            found.append(f"{place} names {receiver}, of which there is none")
    for name, fact in wanted.accounts.items():
        is_now = present.state.accounts.get(name, fact).get("kind")
        if fact.get("kind", is_now) != is_now:
            found.append(f"account {name} is a {is_now}, and cannot be made a {fact['kind']}")
    return found


def _members(wanted: State) -> Iterator[tuple[str, str]]:
    for name, fact in wanted.groups.items():
        for each in fact.get("members", ()):
            yield name, each


def find_kept(present: Present, wanted: State, *, prune: bool) -> set[str]:
    """The accounts that are and stay: with `prune` those the file names, the caller, and a last admin."""
    there = present.state.accounts
    if not prune:
        return set(there)
    kept = {name for name in there if name in wanted.accounts or name == present.caller}
    after = {
        name: there.get(name, {}) | wanted.accounts.get(name, {}) for name in kept | wanted.accounts.keys()
    }
    if not any(_administers(fact) for fact in after.values()):
        kept |= set(sorted(name for name, fact in there.items() if _administers(fact))[:1])
    return kept


def _administers(fact: dict[str, Any]) -> bool:
    return fact.get("role") == "admin" and not fact.get("is_disabled")


def find_changes(present: Present, wanted: State, kept: set[str], *, prune: bool) -> list[Change]:
    """All steps, in order; none when what is, is what should be."""
    lifting, lowering = _account_changes(present.state, wanted)
    changes = [*lifting, *_group_changes(present.state, wanted)]
    changes += _namespace_changes(_with_implied(present.state, wanted), wanted)
    changes += _grant_changes(present.state, wanted)
    changes += _rule_changes(present.state, wanted)
    if prune:
        changes += _removals(present, wanted, kept)
    return changes + lowering


def _account_changes(state: State, wanted: State) -> tuple[list[Change], list[Change]]:
    lifting: list[Change] = []
    lowering: list[Change] = []
    for name, fact in wanted.accounts.items():
        there = state.accounts.get(name)
        if there is None:
            full = _DEFAULTS | fact
            body = {"name": name} | {key: full[key] for key in ("kind", "role", "description")}
            said = f"{full['kind']}, {full['role']}"
            lifting.append(Change("+", f"account {name}", said, "POST", ("accounts",), body))
            there = full | {"is_disabled": False}
        different = _different(there, fact)
        if different:
            change = Change(
                "~", f"account {name}", _said(there, different), "PATCH", ("accounts", name), different
            )
            is_lowered = _administers(there) and not _administers(there | fact)
            (lowering if is_lowered else lifting).append(change)
    # a new administrator may be the one who is left
    lifting.sort(key=lambda change: (change.body or {}).get("role") != "admin")
    return lifting, lowering


def _group_changes(state: State, wanted: State) -> Iterator[Change]:
    for name, fact in wanted.groups.items():
        there = state.groups.get(name)
        if there is None:
            yield Change("+", f"group {name}", "", "POST", ("groups",), {"name": name})
        before = set(there["members"]) if there else set()
        after = set(fact.get("members", before))
        for each in sorted(after - before):
            path = ("groups", name, "members", each)
            yield Change("+", f"member of {name}", each, "PUT", path)
        for each in sorted(before - after):
            path = ("groups", name, "members", each)
            yield Change("-", f"member of {name}", each, "DELETE", path)


def _with_implied(state: State, wanted: State) -> State:
    """With the namespaces that come with the persons who are to be made."""
    made = {
        name: {"owner": f"account {name}", "visibility": "private"}
        for name, fact in wanted.accounts.items()
        if name not in state.accounts and fact.get("kind", "person") == "person"
    }
    return replace(state, namespaces=made | state.namespaces)


def _namespace_changes(state: State, wanted: State) -> Iterator[Change]:
    for name, fact in wanted.namespaces.items():
        there = state.namespaces.get(name)
        what = f"namespace {name}"
        if there is None:
            body = {"name": name, "owner": None, "visibility": "private"} | fact
            said = f"{body['visibility']}, owned by {body['owner'] or 'the administrators'}"
            yield Change("+", what, said, "POST", ("namespaces",), body)
        elif different := _different(there, fact):
            said = _said(there, different)
            yield Change("~", what, said, "PATCH", ("namespaces", name), different)


def _grant_changes(state: State, wanted: State) -> Iterator[Change]:
    for (to, pattern), actions in wanted.grants.items():
        there = state.grants.get((to, pattern))
        if there is not None and set(there) == set(actions):
            continue
        said = ",".join(actions) if there is None else f"{','.join(there)} -> {','.join(actions)}"
        body = {"to": to, "pattern": pattern, "actions": actions}
        sign: Literal["+", "~"] = "+" if there is None else "~"
        yield Change(sign, f"grant to {to} on {pattern}", said, "POST", ("grants",), body)


def _rule_changes(state: State, wanted: State) -> Iterator[Change]:
    for scope, pattern in sorted(wanted.immutable - state.immutable):
        body = {"scope": scope, "pattern": pattern}
        yield Change("+", f"fixed tags in {scope}", pattern, "POST", ("immutability",), body)
    for rule in sorted(wanted.retention - state.retention, key=retained_key):
        body = {key: value for key, value in rule._asdict().items() if value is not None}
        path = ("retention", "rules")
        yield Change("+", f"retention in {rule.scope}", say_retained(rule), "POST", path, body)


def _rule_removals(present: Present, wanted: State) -> Iterator[Change]:
    state = present.state
    for scope, pattern in sorted(state.immutable - wanted.immutable):
        path = ("immutability", str(present.numbers[rule_key(scope, pattern)]))
        yield Change("-", f"fixed tags in {scope}", pattern, "DELETE", path)
    for rule in sorted(state.retention - wanted.retention, key=retained_key):
        number = present.numbers[retained_key(rule)]
        where = ("retention", "rules", str(number))
        yield Change("-", f"retention in {rule.scope}", say_retained(rule), "DELETE", where)


def _removals(present: Present, wanted: State, kept: set[str]) -> Iterator[Change]:
    state = present.state
    yield from _rule_removals(present, wanted)
    for (to, pattern), actions in state.grants.items():
        if (to, pattern) not in wanted.grants:
            path = ("grants", str(present.numbers[to, pattern]))
            yield Change("-", f"grant to {to} on {pattern}", ",".join(actions), "DELETE", path)
    for name in state.namespaces:
        if name not in wanted.namespaces and not (name in kept and is_implied(state, name)):
            yield Change("-", f"namespace {name}", "", "DELETE", ("namespaces", name))
    for name in state.groups:
        if name not in wanted.groups:
            yield Change("-", f"group {name}", "", "DELETE", ("groups", name))
    for name in state.accounts:
        if name not in kept:
            yield Change("-", f"account {name}", "", "DELETE", ("accounts", name))


def _different(there: dict[str, Any], fact: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fact.items() if there.get(key) != value}


def _said(there: dict[str, Any], different: dict[str, Any]) -> str:
    return ", ".join(f"{key} {_word(there.get(key))} -> {_word(value)}" for key, value in different.items())


def _word(value: object) -> str:
    match value:
        case None:
            return "administrators"
        case bool():
            return "true" if value else "false"
    text = str(value)
    return text if text and text.isprintable() else repr(text)
