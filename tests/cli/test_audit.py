"""What was done and why someone may: the audit, the decision explained, repositories and keys."""

import json
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.cli.commands import environment, moorage
from tests.servers import ServerProcess
from tests.starting import COMMAND


def test_audit_shows_what_the_operator_did_the_newest_last(folder: Path) -> None:
    moorage("user", "add", "bot.seen", "--robot", "--data", folder).check()
    moorage("user", "disable", "bot.seen", "--data", folder).check()

    rows = moorage("audit", "--target", "bot.seen", "--json", "--data", folder).json()

    assert [(row["actor"], row["action"]) for row in rows] == [
        ("operator", "account.create"),
        ("operator", "account.update"),
    ]
    assert moorage("audit", "-n", "1", "--target", "bot.s*", "--json", "--data", folder).json() == rows[1:]
    assert moorage("audit", "--since", "2h", "--until", "1h", "--json", "--data", folder).json() == []
    assert "bot.seen" in moorage("audit", "--since", "1h", "--data", folder).check().out


def test_time_that_is_none_is_a_wrong_command_line(folder: Path) -> None:
    assert moorage("audit", "--since", "yesterday", "--data", folder).code == 2


def interrupt(process: "subprocess.Popen[str]") -> tuple[str, str]:
    """Press Ctrl-C until it ends: Python loses one that comes while it finalizes an object."""
    for _ in range(10):
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=3)
    process.kill()
    return process.communicate()


def test_audit_is_followed_until_ctrl_c(server: ServerProcess, folder: Path, admin_token: str) -> None:
    remote = {"MOORAGE_REGISTRY": server.url, "MOORAGE_TOKEN": admin_token, "PYTHONUNBUFFERED": "1"}
    follow = [*COMMAND, "audit", "--follow", "--json", "--target", "bot.next"]
    with subprocess.Popen(
        follow, env=environment(remote), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as following:
        assert following.stdout is not None
        moorage("user", "add", "bot.next", "--robot", "--data", folder).check()
        first = json.loads(following.stdout.readline())
        moorage("user", "remove", "bot.next", "--data", folder).check()
        second = json.loads(following.stdout.readline())
        _, err = interrupt(following)

    assert [first["action"], second["action"]] == ["account.create", "account.delete"]
    assert (following.returncode, err) == (0, "")


def test_decision_is_explained_by_its_rule(folder: Path) -> None:
    moorage("user", "add", "bot.why", "--robot", "--data", folder).check()
    before = moorage("access", "explain", "bot.why", "push", "team/app", "--data", folder).check().out
    moorage("grant", "add", "bot.why", "push", "team/*", "--data", folder).check()
    after = moorage("access", "explain", "bot.why", "push", "team/app", "--data", folder).check().out
    anonymous = moorage(
        "access", "explain", "anonymous", "pull", "team/app", "--json", "--data", folder
    ).json()

    assert before.startswith("no: no grant gives bot.why push on team/app")
    assert after.startswith("yes: grant ")
    assert not anonymous["is_allowed"]


def test_repository_is_made_listed_and_removed(folder: Path) -> None:
    moorage("repository", "add", "team/deep/app", "--data", folder).check()
    shown = moorage("repository", "show", "team/deep/app", "--json", "--data", folder).json()
    listed = moorage("repository", "list", "--data", folder).check().out
    moorage("repository", "remove", "team/deep/app", "--data", folder).check()

    assert shown["name"] == "team/deep/app"
    assert "team/deep/app" in listed
    assert moorage("repository", "list", "--json", "--data", folder).json() == []


def test_key_is_rotated(folder: Path) -> None:
    before = moorage("key", "list", "--json", "--data", folder).json()
    new = moorage("key", "rotate", "--json", "--data", folder).json()
    after = moorage("key", "list", "--json", "--data", folder).json()

    assert [each["kid"] for each in after] == [new["kid"], *(each["kid"] for each in before)]
