"""The one decision: may this account do this to that repository, and which rule says so.

Pure: rows come in as values, a decision with its reason goes out. In this order: administrators may do
all; the owner of the namespace may do all in it; then the grants; then who may look: everyone in a public
namespace, auditors everywhere. Nothing else is allowed.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

import msgspec

from moorage.errors import ActionsInvalid
from moorage.identity.access.patterns import is_match, namespace_of
from moorage.identity.accounts.names import EVERYONE
from moorage.identity.accounts.rows import Role

Action = Literal["pull", "push", "delete", "admin"]
ACTIONS: Final[tuple[Action, ...]] = get_args(Action)
_BRINGS: Final[dict[Action, frozenset[Action]]] = {
    "pull": frozenset({"pull"}),
    "push": frozenset({"pull", "push"}),
    "delete": frozenset({"pull", "delete"}),
    "admin": frozenset(ACTIONS),
}


def check_actions(actions: Iterable[str]) -> tuple[Action, ...]:
    """Actions in their order, each once, with what they bring: push and delete bring pull, admin brings all.

    Raises ActionsInvalid (400).
    """
    brought: set[Action] = set()
    for each in actions:
        if each not in _BRINGS:
            raise ActionsInvalid(action=each[:40], want=", ".join(ACTIONS))
        brought |= _BRINGS[each]
    if not brought:
        raise ActionsInvalid(want=", ".join(ACTIONS))
    return tuple(action for action in ACTIONS if action in brought)


class Scope(msgspec.Struct, frozen=True):
    """Actions on the repositories of a pattern."""

    pattern: str
    actions: tuple[Action, ...]

    def allows(self, repository: str, action: Action) -> bool:
        """Whether it has this action on this repository."""
        return action in self.actions and is_match(self.pattern, repository)


@dataclass(frozen=True, slots=True)
class Granted:
    """A grant that may concern the one who asks: `to` is `account alice`, `group ops` or `everyone`."""

    id: int
    to: str
    scope: Scope


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace as far as the decision needs it. Both owners None: the administrators'."""

    name: str
    is_public: bool = False
    owner_account: str | None = None
    owner_group: str | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """Who asks. `name` None: someone who has not signed in."""

    name: str | None = None
    role: Role = "member"
    groups: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer and the rule that gave it, in words for whoever may know the rules."""

    is_allowed: bool
    rule: str


def decide(
    who: Subject,
    repository: str,
    action: Action,
    namespace: Namespace | None,
    grants: Iterable[Granted],
) -> Decision:
    """Whether `who` may do `action` to `repository`.

    `namespace` is the repository's, None where no one has made it; `grants` at least all that are for
    `who`, his groups and everyone.
    """
    space = namespace_of(repository)
    if who.role == "admin":
        return _yes(f"{who.name} is an administrator")
    if who.name is not None and namespace is not None:
        if namespace.owner_account == who.name:
            return _yes(f"{who.name} owns the namespace {space}")
        if namespace.owner_group in who.groups:
            return _yes(f"the group {namespace.owner_group}, which owns {space}, has {who.name} in it")
    for grant in grants:
        if _is_for(grant, who) and grant.scope.allows(repository, action):
            actions = ",".join(grant.scope.actions)
            return _yes(f"grant {grant.id}: {grant.to} has {actions} on {grant.scope.pattern}")
    if action == "pull" and namespace is not None and namespace.is_public:
        return _yes(f"the namespace {space} is public")
    if action == "pull" and who.role == "auditor":
        return _yes(f"{who.name} is an auditor")
    return _no(_refusal(who, repository, action, namespace))


def _yes(rule: str) -> Decision:
    return Decision(is_allowed=True, rule=rule)


def _no(rule: str) -> Decision:
    return Decision(is_allowed=False, rule=rule)


def _is_for(grant: Granted, who: Subject) -> bool:
    if who.name is None:
        return False
    kind, _, name = grant.to.partition(" ")
    match kind:
        case "account":
            return name == who.name
        case "group":
            return name in who.groups
        case _:
            return kind == EVERYONE


def _refusal(who: Subject, repository: str, action: Action, namespace: Namespace | None) -> str:
    space = namespace_of(repository)
    name = who.name or "someone who has not signed in"
    owner = namespace and (namespace.owner_account or namespace.owner_group)
    owned = f"is owned by {owner}" if owner else "is owned by no one but the administrators"
    visibility = "public" if namespace is not None and namespace.is_public else "private"
    return (
        f"no grant gives {name} {action} on {repository}; the namespace {space} is {visibility} and {owned}"
    )
