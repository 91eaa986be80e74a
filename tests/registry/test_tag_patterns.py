"""Patterns of tags: globs and expressions."""

import time

import pytest

from moorage.errors import FieldInvalid
from moorage.registry.tags.patterns import PATTERN_MAX_LENGTH, compile_tag_pattern


@pytest.mark.parametrize(
    ("pattern", "named", "others"),
    [
        ("latest", ["latest"], ["Latest", "latest-1", "xlatest"]),
        ("v1.*", ["v1.0", "v1.", "v1.2-rc.1"], ["v1", "v10", "v1x0"]),
        ("*", ["latest", "1", "sha256-ab.sig"], []),
        ("pr-??", ["pr-12", "pr-ab"], ["pr-1", "pr-123"]),
        ("*-rc*", ["1.0-rc1", "-rc"], ["1.0"]),
        (r"re:v\d+\.\d+", ["v1.2"], ["v1", "v1.2.3", "xv1.2"]),
        ("re:main|dev.*", ["main", "dev", "dev-1"], ["mainly", "xdev"]),
        ("re:(?i)LATEST", ["latest", "Latest"], ["late"]),
    ],
)
def test_pattern_names_whole_tags(pattern: str, named: list[str], others: list[str]) -> None:
    is_named = compile_tag_pattern(pattern)

    assert [tag for tag in [*named, *others] if is_named(tag)] == named


@pytest.mark.parametrize(
    "pattern", ["", "a b", "a/b", "[ab]", "re:(", "re:(?=a)", r"re:(a)\1", "a\x1b", "a" * 256, "re:\ud800"]
)
def test_pattern_that_names_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(FieldInvalid) as refusal:
        compile_tag_pattern(pattern)

    assert refusal.value.detail["field"] == "pattern"


def test_expression_cannot_keep_a_worker_busy() -> None:
    is_named = compile_tag_pattern("re:" + "(a*)*" * ((PATTERN_MAX_LENGTH - 4) // 5) + "b")
    before = time.process_time()

    assert not is_named("a" * 128)

    assert time.process_time() - before < 1
