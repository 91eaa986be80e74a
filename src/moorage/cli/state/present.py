"""What is now, asked from the API; and written as the file that would make it so."""

import re
from collections.abc import Iterator
from typing import Any

from moorage.cli.manage.client import Client
from moorage.cli.manage.words import NO_OWNER
from moorage.cli.state.document import Retained, State
from moorage.config_file import render
from moorage.lifecycle.retention.saying import show_age

_ACCOUNT = ("kind", "role", "description", "is_disabled")
_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def read_present(client: Client) -> tuple[State, dict[tuple[str, str], int]]:
    """The state as it is, and the numbers of its grants and rules.

    Raises Refused, Unreachable.
    """
    state, numbers = State(), {}
    for account in client.items("accounts"):
        state.accounts[account["name"]] = {key: account[key] for key in _ACCOUNT}
    for group in client.items("groups"):
        members = client.get("groups", group["name"])["members"]
        state.groups[group["name"]] = {"members": sorted(members)}
    for namespace in client.items("namespaces"):
        fact = {"owner": namespace["owner"], "visibility": namespace["visibility"]}
        state.namespaces[namespace["name"]] = fact
    for grant in client.items("grants"):
        state.grants[grant["to"], grant["pattern"]] = grant["actions"]
        numbers[grant["to"], grant["pattern"]] = grant["id"]
    for rule in client.items("immutability"):
        state.immutable.add((rule["scope"], rule["pattern"]))
        numbers[rule_key(rule["scope"], rule["pattern"])] = rule["id"]
    for rule in client.items("retention", "rules"):
        retained = Retained(**{key: rule[key] for key in Retained._fields})
        state.retention.add(retained)
        numbers[retained_key(retained)] = rule["id"]
    return state, numbers


def retained_key(rule: Retained) -> tuple[str, str]:
    """The key of the number of a rule of retention."""
    return f"retention {rule.scope}", say_retained(rule)


def say_retained(rule: Retained) -> str:
    """A rule of retention in words."""
    kept = [] if rule.keep_newest is None else [f"the newest {rule.keep_newest} by {rule.newest_by}"]
    for word, seconds in (("pushed", rule.keep_pushed_s), ("pulled", rule.keep_pulled_s)):
        if seconds is not None:
            kept.append(f"{word} within {show_age(seconds * 1000)}")
    return f"of {rule.pattern} keep {', or '.join(kept)}"


def _write_retained(rule: Retained) -> dict[str, Any]:
    fact: dict[str, Any] = {"scope": rule.scope, "tags": rule.pattern}
    if rule.keep_newest is not None:
        fact |= {"newest": rule.keep_newest, "by": rule.newest_by}
    for word, seconds in (("pushed", rule.keep_pushed_s), ("pulled", rule.keep_pulled_s)):
        if seconds is not None:
            fact[word] = show_age(seconds * 1000)
    return fact


def rule_key(scope: str, pattern: str) -> tuple[str, str]:
    """The key of a rule's number: no grant has it."""
    return f"immutable {scope}", pattern


def is_implied(state: State, name: str) -> bool:
    """Whether a namespace is one that comes with the person of its name, and as it came."""
    account = state.accounts.get(name)
    implied = {"owner": f"account {name}", "visibility": "private"}
    return account is not None and account["kind"] == "person" and state.namespaces[name] == implied


def describe(state: State) -> dict[str, Any]:
    """The state as the file has it: without what comes by itself, each thing with what is worth saying."""
    return {
        "accounts": {
            name: {key: value for key, value in fact.items() if value or key in {"kind", "role"}}
            for name, fact in state.accounts.items()
        },
        "groups": state.groups,
        "namespaces": {
            name: {"owner": _short(fact["owner"]), "visibility": fact["visibility"]}
            for name, fact in state.namespaces.items()
            if not is_implied(state, name)
        },
        "grants": [
            {"to": _short(to), "actions": list(actions), "pattern": pattern}
            for (to, pattern), actions in state.grants.items()
        ],
        "immutable": [{"scope": scope, "tags": pattern} for scope, pattern in sorted(state.immutable)],
        "retention": [_write_retained(rule) for rule in sorted(state.retention, key=retained_key)],
    }


def write(described: dict[str, Any]) -> str:
    """What `describe` gave, as TOML."""
    return "\n".join(_lines(described))


def _lines(described: dict[str, Any]) -> Iterator[str]:
    for section, things in described.items():
        for name, fact in things.items() if isinstance(things, dict) else ((None, each) for each in things):
            yield f"[[{section}]]" if name is None else f"[{section}.{_key(name)}]"
            for key, value in fact.items():
                yield f"{key} = {render(tuple(value) if isinstance(value, list) else value)}"
            yield ""


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else render(name)


def _short(receiver: str | None) -> str:
    """As it is written on the command line."""
    if receiver is None:
        return NO_OWNER
    return receiver.removeprefix("account ").replace(" ", ":")
