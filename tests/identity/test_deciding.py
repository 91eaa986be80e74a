"""The decision: nothing is allowed but by one of the rules, and each rule by itself is enough."""

from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from moorage.errors import ActionsInvalid
from moorage.identity.access.deciding import (
    ACTIONS,
    Action,
    Granted,
    Namespace,
    Scope,
    Subject,
    check_actions,
    decide,
)
from moorage.identity.access.patterns import is_match

NAMES = st.sampled_from(["alice", "bob", "ops", "dev"])
SUBJECTS = st.builds(
    Subject,
    st.none() | NAMES,
    st.sampled_from(["member", "auditor"]),
    st.frozensets(NAMES, max_size=2),
)
GRANTS = st.lists(
    st.builds(
        Granted,
        st.integers(1, 9),
        st.sampled_from(["account alice", "account bob", "group ops", "group alice", "everyone"]),
        st.builds(
            Scope,
            st.sampled_from(["team/app", "team/*", "*", "team/b*", "tea*/app", "other/*"]),
            st.lists(st.sampled_from(ACTIONS), min_size=1).map(check_actions),
        ),
    ),
    max_size=4,
)
SPACES = st.none() | st.builds(
    Namespace, st.just("team"), st.booleans(), st.none() | NAMES, st.none() | NAMES
)


@given(SUBJECTS, st.sampled_from(["team/app", "team/b/c"]), st.sampled_from(ACTIONS), SPACES, GRANTS)
@example(Subject(), "team/app", "pull", Namespace("team"), [])
def test_nothing_is_allowed_without_a_rule(
    who: Subject, repository: str, action: Action, space: Namespace | None, grants: list[Granted]
) -> None:
    rules = set()
    if who.name is not None:
        if space is not None and (space.owner_account == who.name or space.owner_group in who.groups):
            rules.add("owner")
        receivers = {f"account {who.name}", "everyone", *(f"group {each}" for each in who.groups)}
        if any(
            each.to in receivers and action in each.scope.actions and is_match(each.scope.pattern, repository)
            for each in grants
        ):
            rules.add("grant")
    if action == "pull":
        rules |= {"public"} if space is not None and space.is_public else set()
        rules |= {"auditor"} if who.role == "auditor" else set()

    assert decide(who, repository, action, space, grants).is_allowed is bool(rules)


TEAM = Namespace("team", owner_account="olga", owner_group=None)


@pytest.mark.parametrize(
    ("who", "action", "space", "grants", "rule"),
    [
        (Subject("root", "admin"), "delete", None, [], "root is an administrator"),
        (Subject("olga"), "admin", TEAM, [], "olga owns the namespace team"),
        (
            Subject("bob", groups=frozenset({"ops"})),
            "push",
            Namespace("team", owner_group="ops"),
            [],
            "the group ops, which owns team, has bob in it",
        ),
        (
            Subject("bob"),
            "push",
            TEAM,
            [Granted(7, "everyone", Scope("team/*", ("pull", "push")))],
            "grant 7: everyone has pull,push on team/*",
        ),
        (Subject(), "pull", Namespace("team", is_public=True), [], "the namespace team is public"),
        (Subject("eve", "auditor"), "pull", TEAM, [], "eve is an auditor"),
        (
            Subject(),
            "pull",
            TEAM,
            [],
            (
                "no grant gives someone who has not signed in pull on team/app; the namespace team is private"
                " and is owned by olga"
            ),
        ),
        (
            Subject("bob"),
            "push",
            None,
            [],
            (
                "no grant gives bob push on team/app; the namespace team is private and is owned by"
                " no one but the administrators"
            ),
        ),
    ],
)
def test_the_decision_names_its_rule(
    who: Subject, action: Action, space: Namespace | None, grants: Iterable[Granted], rule: str
) -> None:
    assert decide(who, "team/app", action, space, grants).rule == rule


def test_actions_bring_what_they_need() -> None:
    assert check_actions(["push"]) == ("pull", "push")
    assert check_actions(["delete"]) == ("pull", "delete")
    assert check_actions(["admin"]) == ACTIONS
    for bad in ([], ["write"], ["pull", "PUSH"], [""]):
        with pytest.raises(ActionsInvalid):
            check_actions(bad)
