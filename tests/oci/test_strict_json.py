"""What Python's own parser would let through, and another parser would read otherwise."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.oci.strict_json import DEPTH_MAX, NotStrict, parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{}", {}),
        (' [1, -2, 3.5, 1e3, "a", true, false, null] ', [1, -2, 3.5, 1000.0, "a", True, False, None]),
        ('{"a": {"b": []}}', {"a": {"b": []}}),
        ('"\\ud83d\\ude00 \\u00e9"', "\N{GRINNING FACE} \N{LATIN SMALL LETTER E WITH ACUTE}"),
        ('"\N{GRINNING FACE}"', "\N{GRINNING FACE}"),
        ('{"a": {"x": 1}, "b": {"x": 1}}', {"a": {"x": 1}, "b": {"x": 1}}),
        ("9223372036854775808", 2**63),
    ],
)
def test_json_that_has_one_meaning_is_read(text: str, value: object) -> None:
    assert parse(text.encode()) == value


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b" ",
        b"{} {}",
        b"{}x",
        b"{}\0",
        b"{'a': 1}",
        b"[1,]",
        b'{"a": 1,}',
        b"[01]",
        b"[+1]",
        b"[.5]",
        b"[1.]",
        b'["\n"]',
        b'["\\x41"]',
        b"// a\n{}",
        b"nul",
        b"\xff\xfe{\0}\0",
        "{}".encode("utf-16"),
        "{}".encode("utf-16-le"),
        "{}".encode("utf-32"),
        b"\xef\xbb\xbf{}",
        b'"\xff"',
        b'"\xc0\xae"',
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'{"\\ud800": 1}',
        b'[{"a": ["\\udfff"]}]',
        b"NaN",
        b"[Infinity]",
        b"[-Infinity]",
        b"[1e999]",
        b"[-1e999]",
        b"[" + b"9" * 5000 + b"]",
        b"[1." + b"0" * 5000 + b"]",
        b"[1_000]",
        "[\u0661\u0662]".encode(),
        b'{"a": 1, "a": 1}',
        b'{"a": 1, "\\u0061": 2}',
        b'[{"x": {"a": null, "a": null}}]',
    ],
)
def test_json_that_two_readers_would_read_in_two_ways_is_refused(payload: bytes) -> None:
    with pytest.raises(NotStrict):
        parse(payload)


@pytest.mark.parametrize(
    "payload",
    [
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000,
        b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1),
        b'{"a":' * 900 + b"1" + b"}" * 900,
    ],
)
def test_json_deeper_than_the_limit_is_refused(payload: bytes) -> None:
    """The standard parser raises RecursionError, which is no ValueError."""
    with pytest.raises(NotStrict):
        parse(payload)


def test_json_as_deep_as_the_limit_is_read() -> None:
    assert parse(b"[" * DEPTH_MAX + b"]" * DEPTH_MAX) is not None


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=20,
)


@given(JSON, st.booleans())
def test_what_the_standard_library_writes_is_read_back(value: Any, ascii_only: object) -> None:
    assert parse(json.dumps(value, ensure_ascii=bool(ascii_only)).encode()) == value


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    try:
        value = parse(payload)
    except NotStrict:
        return
    assert not (isinstance(value, float) and not math.isfinite(value))


@given(st.text('[]{}:,"\\ute0123456789.-+naN ', max_size=40))
def test_any_near_miss_is_read_as_the_standard_library_does_or_refused(text: str) -> None:
    try:
        value = parse(text.encode())
    except NotStrict:
        return
    assert value == json.loads(text)
