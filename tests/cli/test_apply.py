"""Accounts and rights as a file: mistakes told, the difference shown, then made so, once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage.cli.state.difference import Change, Present, find_changes, find_kept, find_problems
from moorage.cli.state.document import DocumentRefused, State, read_document
from tests.cli.commands import PASSWORD, moorage
from tests.servers import ServerProcess

ACCESS = """
[accounts.carol]
role = "auditor"
description = "Looks after the books"

[accounts."bot.ci"]
kind = "robot"

[groups.ops]
members = ["carol", "bot.ci"]

[namespaces.team]
owner = "group:ops"
visibility = "public"

[namespaces.attic]
owner = "administrators"

[[grants]]
to = "bot.ci"
actions = ["push"]
pattern = "team/*"

[[grants]]
to = "everyone"
actions = ["pull"]
pattern = "attic/*"

[[immutable]]
scope = "team/*"
tags = "versions"

[[immutable]]
scope = "attic/*"
tags = "re:v[0-9]+"

[[retention]]
scope = "team/*"
tags = "*"
newest = 10
by = "version"
pulled = "90d"

[[retention]]
scope = "team/*"
tags = "pr-*"
pushed = "36h"
"""

DONE = """\
+ account carol: person, auditor
+ account bot.ci: robot, member
+ group ops
+ member of ops: bot.ci
+ member of ops: carol
+ namespace team: public, owned by group ops
+ namespace attic: private, owned by the administrators
+ grant to account bot.ci on team/*: pull,push
+ grant to everyone on attic/*: pull
+ fixed tags in attic/*: re:v[0-9]+
+ fixed tags in team/*: re:[vV]?[0-9]+(\\.[0-9]+){2,}([^0-9].*)?
+ retention in team/*: of * keep the newest 10 by version, or pulled within 90d
+ retention in team/*: of pr-* keep pushed within 36h
"""


def claim(folder: Path) -> None:
    moorage("admin", "claim", "alice", "--password-stdin", "--data", folder, stdin=PASSWORD).check()


@pytest.fixture
def claimed(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "data", "--workers", "1") as server:
        claim(server.data_dir)
        yield server


@pytest.fixture
def access(tmp_path: Path) -> Path:
    path = tmp_path / "access.toml"
    path.write_text(ACCESS)
    return path


def test_file_is_shown_then_made_so_then_nothing_is_left_to_do(claimed: ServerProcess, access: Path) -> None:
    local = ("--data", claimed.data_dir)
    dry = moorage("apply", access, "--dry-run", *local).check().out
    before = moorage("user", "list", "--json", *local).json()
    first = moorage("apply", access, *local).check().out
    second = moorage("apply", access, *local).check().out

    assert dry == DONE + "13 to do; nothing was changed.\n"
    assert [each["name"] for each in before] == ["alice"]
    assert first == DONE + "13 done.\n"
    assert second == "Nothing to do.\n"
    explained = moorage("access", "explain", "bot.ci", "push", "team/app", "--json", *local).json()
    assert explained["is_allowed"]


def test_exported_file_says_the_same_here_and_elsewhere(
    claimed: ServerProcess, access: Path, tmp_path: Path
) -> None:
    moorage("apply", access, "--data", claimed.data_dir).check()
    exported = moorage("access", "export", "--data", claimed.data_dir).check().out
    access.write_text(exported)
    again = moorage("apply", access, "--prune", "--data", claimed.data_dir).check().out
    with ServerProcess(tmp_path / "elsewhere", "--workers", "1") as other:
        claim(other.data_dir)
        moorage("apply", access, "--data", other.data_dir).check()
        elsewhere = moorage("access", "export", "--data", other.data_dir).check().out

    assert again == "Nothing to do.\n"
    assert elsewhere == exported
    assert '[accounts."bot.ci"]' in exported


def test_pruning_removes_what_is_not_named_but_the_last_administrator(
    claimed: ServerProcess, access: Path
) -> None:
    local = ("--data", claimed.data_dir)
    moorage("apply", access, *local).check()
    access.write_text('[accounts.carol]\nrole = "member"\n')
    kept = moorage("apply", access, "--dry-run", *local).check().out
    said = moorage("apply", access, "--prune", *local).check().out
    names = [each["name"] for each in moorage("user", "list", "--json", *local).json()]

    assert kept == "~ account carol: role auditor -> member\n1 to do; nothing was changed.\n"
    assert names == ["alice", "carol"]
    assert "- account bot.ci\n" in said
    assert "- group ops\n" in said
    assert "alice" not in said
    assert moorage("grant", "list", "--json", *local).json() == []
    assert moorage("immutable", "list", "--json", *local).json() == []
    assert moorage("retention", "list", "--json", *local).json() == []


def test_file_is_applied_over_the_network(claimed: ServerProcess, access: Path) -> None:
    local = ("--data", claimed.data_dir)
    moorage("user", "add", "bot.admin", "--robot", "--role", "admin", *local).check()
    token = moorage("token", "create", "x", "--for", "bot.admin", "--json", *local).json()["secret"]
    remote = {"MOORAGE_REGISTRY": claimed.url, "MOORAGE_TOKEN": token}

    made = moorage("apply", access, "--json", env=remote).json()
    access.write_text('[accounts.alice]\nrole = "admin"\n')
    moorage("apply", access, "--prune", env=remote).check()

    assert made["done"] == len(made["changes"]) == 13
    assert made["changes"][0] == {"sign": "+", "what": "account carol", "detail": "person, auditor"}
    # whoever applies it stays, named or not
    names = [each["name"] for each in moorage("user", "list", "--json", *local).json()]
    assert names == ["alice", "bot.admin"]


def test_registry_without_an_administrator_is_not_filled(tmp_path: Path, access: Path) -> None:
    with ServerProcess(tmp_path / "data", "--workers", "1") as server:
        assert "moorage admin claim" in moorage("apply", access, "--data", server.data_dir).refusal


def test_every_mistake_in_a_file_is_told_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "access.toml"
    path.write_text(
        '[accounts.carol]\nrol = "admin"\nkind = "human"\n\n[acounts.dave]\n\n[accounts.Eve]\n\n'
        '[groups.ops]\nmembers = "carol"\n\n[[grants]]\nto = "carol"\nactions = ["fly"]\npattern = "a/b"\n\n'
        '[[grants]]\nto = "carol"\npattern = "Team"\n\n'
        '[[immutable]]\nscope = "team/*"\ntags = "re:("\n\n[[immutable]]\nscope = "team/*"\n\n'
        + '[[immutable]]\nscope = "a/*"\ntags = "1.*"\n' * 2
        + '[[retention]]\nscope = "a/*"\ntags = "*"\n'
        + '[[retention]]\nscope = "a/*"\ntags = "*"\npushed = "soon"\n'
        + '[[retention]]\nscope = "a/*"\ntags = "*"\nnewest = 1001\n'
        + '[[retention]]\nscope = "a/*"\ntags = "*"\nnewest = 1\n' * 2
    )

    with pytest.raises(DocumentRefused) as refusal:
        read_document(path)

    said = [each.removeprefix(f"{path}:") for each in refusal.value.problems]
    assert [each.partition(":")[0] for each in said] == [
        "2",
        "3",
        "7",
        "5",
        "10",
        "14",
        "19",
        "23",
        "25",
        "31",
        "34",
        "40",
        "41",
        "49",
    ]
    assert said[0] == "2: accounts have no rol; did you mean role?"
    assert said[7].startswith("23: tags: no expression that RE2 takes: missing ): ")
    assert said[8:10] == ["25: a rule needs tags", "31: tags 1.* are fixed in a/* already"]
    assert said[10].startswith("34: keep_newest: say what to keep: ")
    assert said[12:] == ["41: keep_newest: want 1 to 1000", "49: this rule is there already"]
    assert said[3].endswith("there is no [acounts]; did you mean accounts?")


def test_mistakes_end_the_command_before_anything_is_done(claimed: ServerProcess, access: Path) -> None:
    access.write_text(
        '[groups.ops]\nmembers = ["nobody"]\n'
        '[[grants]]\nto = "group:no"\nactions = ["pull"]\npattern = "a/b"\n'
    )

    refusal = moorage("apply", access, "--data", claimed.data_dir).refusal

    assert "group ops names account nobody, of which there is none" in refusal
    assert "the grant on a/b names group no, of which there is none" in refusal


def account(kind: str = "person", role: str = "member", *, is_disabled: bool = False) -> dict[str, object]:
    return {"kind": kind, "role": role, "description": "", "is_disabled": is_disabled}


def changes_of(
    present: State, wanted: State, *, prune: bool = False, caller: str = "operator"
) -> list[Change]:
    now = Present(present, dict.fromkeys(present.grants, 1), caller)
    return find_changes(now, wanted, find_kept(now, wanted, prune=prune), prune=prune)


def test_new_administrator_is_made_before_the_old_one_is_one_no_more() -> None:
    present = State(accounts={"alice": account(role="admin"), "bob": account()})
    wanted = State(accounts={"alice": {"role": "member"}, "bob": {"role": "admin"}})

    assert [change.what for change in changes_of(present, wanted)] == ["account bob", "account alice"]


def test_namespace_that_comes_with_a_person_is_not_made_twice() -> None:
    wanted = State(accounts={"bob": {}}, namespaces={"bob": {"visibility": "public"}})

    changes = changes_of(State(), wanted)

    assert [(change.sign, change.what) for change in changes] == [
        ("+", "account bob"),
        ("~", "namespace bob"),
    ]


def test_namespace_that_came_with_a_person_who_stays_is_not_pruned() -> None:
    own = {"owner": "account alice", "visibility": "private"}
    present = State(accounts={"alice": account(role="admin")}, namespaces={"alice": own, "old": dict(own)})

    changes = changes_of(present, State(accounts={"alice": {}}), prune=True)

    assert [change.what for change in changes] == ["namespace old"]


def test_members_of_a_file_are_all_the_members() -> None:
    people = {name: account() for name in ("alice", "bob", "carol")}
    present = State(accounts=people, groups={"ops": {"members": ["alice", "bob"]}})
    wanted = State(groups={"ops": {"members": ["bob", "carol"]}})

    assert [str(change) for change in changes_of(present, wanted)] == [
        "+ member of ops: carol",
        "- member of ops: alice",
    ]


def test_last_administrator_is_kept_although_disabled_ones_are_named() -> None:
    present = State(accounts={"alice": account(role="admin"), "bob": account(role="admin", is_disabled=True)})
    now = Present(present, {}, "operator")

    assert find_kept(now, State(accounts={"bob": {}}), prune=True) == {"alice", "bob"}


def test_person_cannot_become_a_robot() -> None:
    now = Present(State(accounts={"alice": account()}), {}, "operator")

    problems = find_problems(now, State(accounts={"alice": {"kind": "robot"}}), {"alice"})

    assert problems == ["account alice is a person, and cannot be made a robot"]
