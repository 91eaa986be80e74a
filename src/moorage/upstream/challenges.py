"""What a registry asks for before it answers: the WWW-Authenticate header, read.

Source: RFC 9110, 11.6.1; RFC 6750, 3; distribution's "Token Authentication Specification".
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

HEADER_MAX_CHARS: Final = 16_384
_CHALLENGES_MAX: Final = 16

# challenge   = scheme [ 1*SP ( token68 / #auth-param ) ]
# auth-param  = token BWS "=" BWS ( token / quoted-string )
# token68     = one or more of letters, digits and -._~+/ then any number of "="
# Real registries leave a value with a "/" or ":" unquoted; up to the next comma or space it is one.
_WORD = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_param = re.compile(
    rf"({_WORD})[ \t]*=[ \t]*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s,\"=][^\s,\"]*))(?=[ \t]*(?:,|$))", re.ASCII
)
_scheme = re.compile(rf"({_WORD})(?=[ \t]|,|$)", re.ASCII)
_token68 = re.compile(r"[ \t]+[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))", re.ASCII)
_gap = re.compile(r"[ \t,]*", re.ASCII)
_space = re.compile(r"[ \t]*", re.ASCII)
_escape = re.compile(r"\\(.)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way of being let in: scheme and names in lower case, of two by one name the first."""

    scheme: str
    parameters: Mapping[str, str]

    def get(self, name: str) -> str:
        """A parameter, empty where it is not there."""
        return self.parameters.get(name, "")


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """All that can be read of them; what follows something that cannot is left out."""
    found: list[Challenge] = []
    for header in headers:
        if len(header) <= HEADER_MAX_CHARS:
            found.extend(_parse(header.strip()))
    return found[:_CHALLENGES_MAX]


def choose_challenge(headers: Iterable[str]) -> Challenge | None:
    """The one to answer: Bearer with a realm, else Basic, else none that we know."""
    challenges = parse_challenges(headers)
    for each in challenges:
        if each.scheme == "bearer" and each.get("realm"):
            return each
    return next((each for each in challenges if each.scheme == "basic"), None)


def _parse(text: str) -> Iterator[Challenge]:
    at = _skip(_gap, text, 0)
    while at < len(text):
        scheme = _scheme.match(text, at)
        if scheme is None:
            return
        parameters: dict[str, str] = {}
        at = scheme.end()
        if _param.match(text, _skip(_space, text, at)) is None and (blob := _token68.match(text, at)):
            at = blob.end()
        at = _skip(_gap, text, at)
        while (param := _param.match(text, at)) is not None:
            quoted = param[2]
            value = _escape.sub(r"\1", quoted) if quoted is not None else param[3]
            parameters.setdefault(param[1].lower(), value)
            at = _skip(_gap, text, param.end())
        yield Challenge(scheme[1].lower(), parameters)


def _skip(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match is not None else at
