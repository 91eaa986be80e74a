"""What rules mean: for chosen tags, and for any tags, rules and clocks."""

from dataclasses import replace
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.lifecycle.retention.deciding import Judge, TagState
from moorage.lifecycle.retention.rows import NewestBy, RetentionRule
from moorage.oci.versions import version_key

HOUR = 3_600_000
DAY = 24 * HOUR
NOW = 1_800_000_000_000


def rule(
    number: int = 1,
    pattern: str = "*",
    newest: int | None = None,
    by: NewestBy = "time",
    pushed: int | None = None,
    pulled: int | None = None,
    begins: int = 0,
) -> RetentionRule:
    return RetentionRule(number, "team/*", pattern, newest, by, pushed, pulled, begins, 0, "alice")


def tag(name: str, age: int = 0, pulled: int | None = None, **more: object) -> TagState:
    """A tag that was pushed and pulled so long ago."""
    state = TagState(
        name,
        1,
        NOW - age,
        None if pulled is None else NOW - pulled,
        version_key(name),
    )
    return replace(state, **more)  # type: ignore[arg-type]


def removed(tags: list[TagState], rules: list[RetentionRule], now: int = NOW, since: int = 0) -> list[str]:
    judge = Judge(tags, rules, now, since)
    return [each.name for each in tags if not judge.decide(each).is_kept]


def why(
    tags: list[TagState], rules: list[RetentionRule], name: str, since: int = 0
) -> tuple[str, int | None]:
    judge = Judge(tags, rules, NOW, since)
    decision = next(judge.decide(each) for each in tags if each.name == name)
    return decision.why, decision.rule


def test_tag_that_no_rule_names_stays() -> None:
    tags = [tag("latest", 900 * DAY), tag("pr-1", 900 * DAY)]

    assert removed(tags, []) == []
    assert removed(tags, [rule(pattern="pr-*", pushed=DAY)]) == ["pr-1"]
    assert why(tags, [rule(pattern="pr-*", pushed=DAY)], "latest") == ("no rule names it", None)


def test_newest_are_kept_by_time_of_push() -> None:
    tags = [tag("a", 3), tag("b", 1), tag("c", 4), tag("d", 2)]

    assert removed(tags, [rule(newest=2)]) == ["a", "c"]
    assert removed(tags, [rule(newest=4)]) == []
    assert removed(tags, [rule(newest=9)]) == []


def test_as_new_as_the_last_of_the_newest_is_kept_too() -> None:
    tags = [tag("a", 5), tag("b", 5), tag("c", 1), tag("d", 9)]

    assert removed(tags, [rule(newest=2)]) == ["d"]


def test_newest_are_kept_by_version_whenever_they_were_pushed() -> None:
    names = ["1.9.0", "1.10.0", "1.10.0-rc.1", "v1.2", "latest", "main"]
    tags = [tag(name, age) for age, name in enumerate(reversed(names))]

    assert sorted(removed(tags, [rule(newest=2, by="version")])) == ["1.9.0", "v1.2"]
    assert why(tags, [rule(newest=2, by="version")], "latest") == ("no rule names it", None)


def test_any_rule_that_keeps_a_tag_wins_whatever_the_order() -> None:
    tags = [tag("1.0", 50 * DAY), tag("2.0", 40 * DAY), tag("nightly", 40 * DAY)]
    rules = [rule(1, newest=1), rule(2, "*.*", newest=5, by="version")]

    assert removed(tags, rules) == removed(tags, rules[::-1]) == []
    tags.append(tag("pr-1", 60 * DAY))
    assert removed(tags, rules) == removed(tags, rules[::-1]) == ["pr-1"]
    assert why(tags, rules, "1.0") == ("one of the newest 5 by version", 2)
    assert why(tags, rules, "pr-1") == ("not one of the newest 1 by time", 1)


def test_what_was_pulled_or_pushed_within_a_time_is_kept() -> None:
    rules = [rule(pulled=30 * DAY)]
    tags = [
        tag("pulled", 90 * DAY, pulled=DAY),
        tag("forgotten", 90 * DAY, pulled=31 * DAY),
        tag("never", 90 * DAY),
        tag("new", DAY),
    ]

    assert removed(tags, rules) == ["forgotten", "never"]
    assert removed(tags, [rule(pushed=30 * DAY)]) == ["pulled", "forgotten", "never"]


def test_pulls_before_they_were_counted_are_not_taken_for_none() -> None:
    tags = [tag("old", 90 * DAY), tag("young", 40 * DAY)]

    assert removed(tags, [rule(pulled=30 * DAY)], since=NOW - 50 * DAY) == ["old", "young"]
    assert removed(tags, [rule(pulled=60 * DAY)], since=NOW - 50 * DAY) == []
    assert removed(tags, [rule(pulled=30 * DAY)], since=NOW - 20 * DAY) == []


@pytest.mark.parametrize("fixed", ["pinned", "immutable by rule 4"])
def test_pinned_and_immutable_tags_stay(fixed: str) -> None:
    tags = [tag("a", 90 * DAY, fixed=fixed), tag("b", 80 * DAY)]

    assert removed(tags, [rule(pushed=DAY)]) == ["b"]
    assert why(tags, [rule(pushed=DAY)], "a") == (fixed, None)


def test_what_belongs_to_something_takes_no_place_and_stays_with_it() -> None:
    tags = [
        tag("1", 2 * DAY),
        tag("2", 3 * DAY),
        tag("sha256-0.sig", DAY, belongs="served", subject=9),
        tag("sha256-1.sig", DAY, belongs="trashed"),
        tag("sha256-2.sig", DAY // 2, belongs="gone"),
        tag("sha256-3.sig", 9 * DAY, belongs="gone"),
    ]

    assert removed(tags, [rule(newest=2)]) == ["sha256-3.sig"]


def test_rule_that_waits_keeps_and_does_not_take() -> None:
    tags = [tag("a", 9 * DAY), tag("b", 8 * DAY), tag("c", DAY)]
    waiting = rule(2, newest=2, begins=NOW + HOUR)

    assert removed(tags, [waiting]) == []
    assert "takes nothing before" in why(tags, [waiting], "a")[0]
    assert removed(tags, [rule(1, pushed=2 * DAY)]) == ["a", "b"]
    assert removed(tags, [rule(1, pushed=2 * DAY), waiting]) == ["a"]


def test_what_was_pushed_in_the_future_stays_and_takes_no_place_f40() -> None:
    tags = [tag("future", -900 * DAY), tag("a", DAY), tag("b", 2 * DAY)]

    assert removed(tags, [rule(newest=1)]) == ["b"]
    assert removed(tags, [rule(pushed=HOUR)]) == ["a", "b"]


# any tags, rules and clocks

NAMES = st.sampled_from(["1.0", "1.0.1", "v1.1", "2.0-rc.1", "2.0", "latest", "main", "pr-1", "pr-2", "x"])
MOMENTS = st.integers(NOW - 20 * DAY, NOW + 20 * DAY) | st.integers(0, 4_000_000_000_000)
TAGS = st.lists(
    st.builds(
        lambda name, moved, pulled, belongs, fixed: TagState(
            name, 1, moved, pulled, version_key(name), fixed, belongs
        ),
        NAMES,
        MOMENTS,
        st.none() | MOMENTS,
        st.sampled_from(["itself", "itself", "itself", "gone", "served", "trashed"]),
        st.none() | st.none() | st.just("pinned"),
    ),
    unique_by=lambda each: each.name,
    max_size=10,
)
AGES = st.none() | st.integers(HOUR, 20 * DAY)
RULES = st.lists(
    st.builds(
        rule,
        st.integers(1, 9),
        st.sampled_from(["*", "1.*", "pr-?", "v*", "latest"]),
        st.none() | st.integers(1, 4),
        st.sampled_from(["time", "version"]),
        AGES,
        AGES,
        MOMENTS,
    ),
    unique_by=lambda each: each.id,
    max_size=4,
)


def names(each: RetentionRule, state: TagState) -> bool:
    """Whether a rule speaks of a tag, said another way."""
    if each.keep_newest is not None and each.newest_by == "version" and not state.version_key:
        return False
    return fnmatchcase(state.name, each.pattern)


@given(TAGS, RULES, MOMENTS, MOMENTS)
def test_tag_is_removed_only_by_a_rule_in_effect_and_against_none(
    tags: list[TagState], rules: list[RetentionRule], now: int, since: int
) -> None:
    for name in removed(tags, rules, now, since):
        state = next(each for each in tags if each.name == name)
        speaking = [each for each in rules if names(each, state)]

        assert any(each.in_effect_from <= now for each in speaking)
        assert state.fixed is None
        assert state.moved_at <= now
        assert state.belongs in {"itself", "gone"}
        for each in speaking:
            # alone, and in effect, it would not keep it either
            assert name in removed(tags, [each._replace(in_effect_from=0)], now, since)


@given(TAGS, RULES, MOMENTS, MOMENTS, st.integers(0, 3), AGES, AGES)
def test_age_only_ever_protects_d13(
    tags: list[TagState],
    rules: list[RetentionRule],
    now: int,
    since: int,
    which: int,
    pushed: int | None,
    pulled: int | None,
) -> None:
    """Whatever the clock says: a rule with ages removes nothing that it would not remove without them."""
    before = removed(tags, rules, now, since)
    with_ages = [
        each._replace(
            keep_pushed_ms=max(each.keep_pushed_ms or 0, pushed or 0) or None,
            keep_pulled_ms=max(each.keep_pulled_ms or 0, pulled or 0) or None,
        )
        if index == which
        else each
        for index, each in enumerate(rules)
    ]

    assert set(removed(tags, with_ages, now, since)) <= set(before)


@given(TAGS, RULES, MOMENTS, MOMENTS, st.data())
def test_tag_that_is_pulled_later_is_removed_no_sooner_d13(
    tags: list[TagState], rules: list[RetentionRule], now: int, since: int, data: st.DataObject
) -> None:
    later = [each.pulled(data.draw(MOMENTS)) for each in tags]

    assert set(removed(later, rules, now, since)) <= set(removed(tags, rules, now, since))


@given(TAGS, RULES, MOMENTS, MOMENTS)
def test_what_was_pushed_within_an_age_by_any_clock_is_kept_d13(
    tags: list[TagState], rules: list[RetentionRule], now: int, since: int
) -> None:
    gone = removed(tags, rules, now, since)

    for state in tags:
        for each in rules:
            is_young = now - state.moved_at < max(each.keep_pushed_ms or 0, each.keep_pulled_ms or 0)
            assert not (is_young and names(each, state) and state.name in gone)


@given(TAGS, RULES, RULES, MOMENTS, MOMENTS)
def test_another_rule_frees_nothing_that_a_rule_keeps(
    tags: list[TagState], rules: list[RetentionRule], more: list[RetentionRule], now: int, since: int
) -> None:
    kept = {
        each.name
        for each in tags
        if (decision := Judge(tags, rules, now, since).decide(each)).is_kept and decision.rule is not None
        if "takes nothing" not in decision.why
    }

    assert not kept & set(removed(tags, rules + more, now, since))
