"""Which trust of the settings a token fits, and what that trust gives. Pure."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from moorage.config import Trust
from moorage.identity.access.deciding import Scope, check_actions
from moorage.identity.access.patterns import check_pattern
from moorage.identity.federation.checking import Claims, TokenRefused, audiences

_COMPILED = 1024


def find_trust(trusts: Sequence[Trust], claims: Claims) -> Trust:
    """The first trust that a verified token fits.

    Raises TokenRefused: the check that the last of them failed at.
    """
    own = [each for each in trusts if each.issuer == claims.get("iss")]
    if not own:
        raise TokenRefused("issuer: the registry trusts no such issuer")
    own = [each for each in own if each.audience in audiences(claims)]
    if not own:
        raise TokenRefused("audience: the token is for another service")
    for each in own:
        if all(is_claim(pattern, claims.get(name)) for name, pattern in each.claims.items()):
            return each
    names = ", ".join(sorted({name for each in own for name in each.claims}))
    raise TokenRefused(f"claims: no trust fits what the token says of {names}")


def is_claim(pattern: str, value: Any) -> bool:
    """Whether a claim's value is as wanted; of a list, whether one of its texts is.

    A star at the end stands for anything, elsewhere for anything but `/` and `:`, by which issuers part
    what different people choose.
    """
    match value:
        case bool():
            return pattern == ("true" if value else "false")
        case int():
            return pattern == str(value)
        case str():
            return _compile(pattern).fullmatch(value) is not None
        case list():
            return any(isinstance(each, str) and is_claim(pattern, each) for each in value)
        case _:
            return False


@lru_cache(_COMPILED)
def _compile(pattern: str) -> re.Pattern[str]:
    body, last = (pattern[:-1], ".*") if pattern.endswith("*") else (pattern, "")
    return re.compile("[^/:]*".join(map(re.escape, body.split("*"))) + last, re.DOTALL)


def scopes_of(trust: Trust) -> list[Scope]:
    """What a trust's token may do."""
    parted = (grant.partition(" ") for grant in trust.grants)
    return [
        Scope(check_pattern(pattern), check_actions(actions.split(","))) for actions, _, pattern in parted
    ]
