"""JSON that can be read in one way only.

Parsers disagree on duplicate keys, NaN, byte-order marks and numbers out of range; whatever two
readers of one manifest understand differently can carry something past one of them. All of it is
refused. Source: RFC 8259; RFC 7493 (I-JSON).
"""

import json
from typing import Any, NoReturn

DEPTH_MAX = 64
STRUCTURE_MAX = 300_000
"""Braces, brackets and commas; an index of 10,000 manifests has about 150,000."""

_STRUCTURE = (b"{", b"[", b",")
_NUMBER_MAX_CHARS = 40


class NotStrict(ValueError):
    """The text is not JSON, or not in one way only; the sentence says where it goes wrong."""


def parse(payload: bytes) -> Any:
    """The value of a JSON text in UTF-8.

    Raises NotStrict for bad UTF-8, a byte-order mark, trailing bytes, duplicate keys, NaN and
    Infinity, lone surrogates, numbers that no one can hold, nesting deeper than DEPTH_MAX,
    and more structure than STRUCTURE_MAX.
    """
    # before anything is built of it: objects take forty times the room of the two bytes that make them
    braces, brackets, commas = map(payload.count, _STRUCTURE)
    if braces + brackets + commas > STRUCTURE_MAX:
        raise NotStrict(f"more than {STRUCTURE_MAX} objects, lists and members")
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotStrict("not valid UTF-8") from error
    try:
        value = _DECODER.decode(text)
    except NotStrict:
        raise
    except (ValueError, RecursionError) as error:
        raise NotStrict("not valid JSON" if isinstance(error, ValueError) else "nested too deep") from error
    has_escapes = "\\u" in text
    # what opens no more than so many is no deeper: most manifests are not looked through again
    if has_escapes or braces + brackets > DEPTH_MAX:
        _check(value, 1, check_strings=has_escapes)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise NotStrict("a key appears twice in one object")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise NotStrict(f"{name} is not a JSON number")


def _bounded_int(digits: str) -> int:
    if len(digits) > _NUMBER_MAX_CHARS:
        raise NotStrict("a number has too many digits")
    return int(digits)


def _finite_float(digits: str) -> float:
    value = float(digits)
    if len(digits) > _NUMBER_MAX_CHARS or value in {float("inf"), float("-inf")}:
        raise NotStrict("a number is out of range")
    return value


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique,
    parse_constant=_refuse_constant,
    parse_int=_bounded_int,
    parse_float=_finite_float,
)


def _check(value: Any, depth: int, *, check_strings: bool) -> None:
    """Refuse depth, and strings that no UTF-8 can hold (an escaped lone surrogate)."""
    if isinstance(value, str):
        if check_strings and not value.isascii():
            _check_encodable(value)
        return
    if not isinstance(value, dict | list):
        return
    if depth > DEPTH_MAX:
        raise NotStrict(f"nested deeper than {DEPTH_MAX} levels")
    if isinstance(value, dict) and check_strings:
        for key in value:
            _check_encodable(key)
    for child in value.values() if isinstance(value, dict) else value:
        _check(child, depth + 1, check_strings=check_strings)


def _check_encodable(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise NotStrict("a string has a lone surrogate") from error
