"""A pattern names what a person reads in it, and is cheap to match whatever it is."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import PatternInvalid
from moorage.identity.access.patterns import check_pattern, covers, is_match

PATTERNS = st.from_regex(r"[ab_*]{1,4}(/[ab_*]{1,4}){0,3}", fullmatch=True)
NAMES = st.from_regex(r"[ab_]{1,4}(/[ab_]{1,4}){0,3}", fullmatch=True)


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("team/app", "team/app", True),
        ("team/app", "team/app/x", False),
        ("team/app", "team/ap", False),
        ("team/app", "team/app2", False),
        ("team/*", "team/app", True),
        ("team/*", "team/app/deep/er", True),
        ("team/*", "team", False),
        ("team/*", "teams/app", False),
        ("team/*", "other/team/app", False),
        ("team/app-*", "team/app-1", True),
        ("team/app-*", "team/app-", True),
        ("team/app-*", "team/app-1/x", False),
        ("team/*/app", "team/x/app", True),
        ("team/*/app", "team/x/y/app", False),
        ("*/app", "team/app", True),
        ("*/app", "a/b/app", False),
        ("*", "team", True),
        ("*", "team/app/x", True),
        ("te*m/*", "team/app/x", True),
        ("a_b/*", "axb/app", False),
        ("a_b/*", "a_b/app", True),
        ("a.b/*", "axb/app", False),
        ("team/app*b*c", "team/app-bxbc", True),
        ("team/app*b*c", "team/app-c", False),
    ],
)
def test_b94_a_pattern_names_exactly_what_it_says(pattern: str, name: str, *, expected: bool) -> None:
    assert is_match(check_pattern(pattern), name) is expected


@pytest.mark.parametrize(
    "pattern",
    ["", "/", "a//b", "a/", "/a", "A", "a b", "a%", "a?", "[a]", "a\n", "**/\u200b", "a" * 256],
    ids=ascii,
)
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(PatternInvalid):
        check_pattern(pattern)


@given(PATTERNS, NAMES)
def test_a_star_is_any_letters_but_a_slash_and_at_the_end_any_depth(pattern: str, name: str) -> None:
    body, last = (pattern[:-1], ".+") if pattern == "*" or pattern.endswith("/*") else (pattern, "")
    meant = "[^/]*".join(map(re.escape, body.split("*"))) + last

    assert is_match(pattern, name) is (re.fullmatch(meant, name) is not None)


@given(PATTERNS, PATTERNS, NAMES)
def test_a_pattern_that_covers_another_matches_all_that_it_does(one: str, other: str, name: str) -> None:
    if covers(one, other) and is_match(other, name):
        assert is_match(one, name)


@pytest.mark.parametrize("pattern", ["a/" + "*a" * 60 + "*b", "*a" * 100, "*" * 255, "*/" * 120 + "*"])
def test_a_pattern_of_many_stars_costs_no_time(pattern: str) -> None:
    started = time.thread_time()
    is_match(check_pattern(pattern), "a/" + "a" * 250)

    assert time.thread_time() - started < 0.1
