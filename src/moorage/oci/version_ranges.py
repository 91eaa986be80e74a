"""Ranges of versions over tags, as a person writes them.

    >=15 <17        all from 15 on, and before 17
    ^1.2            1.2 and later that are to be compatible: before 2; ^0.3 is before 0.4
    ~1.2.3          1.2.3 and later, before 1.3; ~1.2 too is before 1.3, and ~1 before 2
    =16, <=16, >16  16 with all that begins with it: 16.4 is within =16 and <=16, and not within >16
    ^3.12 -slim     variants: those of 3.12-slim, 3.13.1-slim; without this word no variant is meant

A pre-release is within a range only where a bound names one: `>=1.0-rc.1`.
How tags are versions, and which is the later: see versions.py.
Source: semver 2.0.0, "Precedence"; npm's node-semver for `^`, `~` and bounds with fewer numbers.
"""

import re
from collections.abc import Callable
from typing import Final

from moorage.oci.versions import version_key

# range   ::= bound (" " bound)* (" -" variant)?
# bound   ::= (">=" | "<=" | ">" | "<" | "=" | "^" | "~") "v"? number ("." number)* pre?
# variant ::= what follows "-" in a tag
_BOUND = re.compile(
    r"(?P<sign>>=|<=|>|<|=|\^|~)v?(?P<numbers>[0-9]{1,18}(?:\.[0-9]{1,18}){0,7})(?P<pre>[a-z0-9.-]*)",
    re.ASCII,
)
_VARIANT = re.compile(r"-(?P<variant>[a-z0-9._-]{1,127})", re.ASCII)
_SIGNS: Final = tuple("<>=^~")
_PRE: Final = "!"
_AFTER_ALL: Final = "~"
"""Sorts after whatever a key has after its numbers."""


class RangeInvalid(ValueError):
    """No range of versions; the sentence says why."""


def is_range(text: str) -> bool:
    """Whether a text is meant as a range: no tag and no pattern begins so."""
    return text.startswith(_SIGNS)


def compile_range(text: str) -> Callable[[str], bool]:
    """What tells whether a tag is within a range.

    Raises RangeInvalid.
    """
    *words, last = text.split(" ")
    variant = _VARIANT.fullmatch(last)
    if variant is None:
        words.append(last)
    bounds, has_pre = [], False
    for word in words:
        since, until, names_pre = _bound(word)
        bounds.append((since, until))
        has_pre = has_pre or names_pre
    if not bounds:
        raise RangeInvalid(f"want a range of versions, as >=1.2 <2; this is {text!r}")
    wanted = "" if variant is None else version_key(f"v1-{variant['variant']}").partition(",")[2]

    def fits(tag: str) -> bool:
        key = version_key(tag)
        version, _, of_variant = key.partition(",")
        if not key or of_variant != wanted or (_PRE in version and not has_pre):
            return False
        return all(since <= version < until for since, until in bounds)

    return fits


def _bound(word: str) -> tuple[str, str, bool]:
    """From which key until before which, and whether it names a pre-release."""
    match = _BOUND.fullmatch(word)
    if match is None:
        raise RangeInvalid(f"want bounds as >=1.2, <2, ^1.2 or ~1.2.3; this is {word!r}")
    numbers = [int(each) for each in match["numbers"].split(".")]
    key, _, of_variant = version_key(f"v{match['numbers']}{match['pre']}").partition(",")
    has_pre = _PRE in key
    if of_variant or (match["pre"] and not has_pre):
        raise RangeInvalid(f"want a version, perhaps a pre-release as 1.0-rc.1; this is {word!r}")
    after = key + _AFTER_ALL if has_pre else _key(_next(numbers))
    match match["sign"]:
        case ">=":
            return key, _AFTER_ALL, has_pre
        case ">":
            return after, _AFTER_ALL, has_pre
        case "<":
            return "", key if has_pre else _key(numbers), has_pre
        case "<=":
            return "", after, has_pre
        case "=":
            return key, after, has_pre
        case "~":
            return key, _key(_next(numbers[: max(1, min(2, len(numbers)))])), has_pre
    # ^: the first number that is not zero stays
    stays = next((place for place, number in enumerate(numbers) if number), len(numbers) - 1)
    return key, _key(_next(numbers[: stays + 1])), has_pre


def _next(numbers: list[int]) -> list[int]:
    return [*numbers[:-1], numbers[-1] + 1]


def _key(numbers: list[int]) -> str:
    """What the keys of this version, its pre-releases and all after it begin with, or come after."""
    return version_key("v" + ".".join(map(str, numbers))).partition("+")[0]
