"""What a client asks a bearer token for.

    scope    ::= type [ "(" class ")" ] ":" name ":" action *( "," action )
    name     ::= may hold a colon, of a host's port: parted at the first and the last one

Source: Docker's token authentication, "Token Scope Documentation"; the class is deprecated there.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from moorage.errors import ScopesInvalid
from moorage.identity.access.deciding import Action
from moorage.oci.names import is_repository_name

SCOPES_MAX: Final = 100
CATALOG: Final = "registry:catalog"
_ACTIONS: Final[Mapping[str, tuple[Action, ...]]] = {
    "pull": ("pull",),
    "push": ("push",),
    "delete": ("delete",),
    "*": ("pull", "push", "delete"),
}


class Asked(NamedTuple):
    """Actions asked for on a repository; on the catalog, with `name` None."""

    name: str | None
    actions: frozenset[Action]


def parse_scopes(texts: Iterable[str]) -> list[Asked]:
    """What is asked for, each repository once; what is no scope, or of another kind, is left out.

    Raises ScopesInvalid (400) for more than a hundred.
    """
    asked: dict[str | None, set[Action]] = {}
    words = [word for text in texts for word in text.split()]
    if len(words) > SCOPES_MAX:
        raise ScopesInvalid(max=SCOPES_MAX)
    for word in words:
        kind, _, rest = word.partition(":")
        name, _, actions = rest.rpartition(":")
        kind = kind.partition("(")[0]
        if kind == "registry" and name == "catalog" and actions == "*":
            asked.setdefault(None, set())
        elif kind == "repository" and is_repository_name(name):
            known = (_ACTIONS.get(action, ()) for action in actions.split(","))
            asked.setdefault(name, set()).update(action for group in known for action in group)
    return [Asked(name, frozenset(actions)) for name, actions in asked.items()]
