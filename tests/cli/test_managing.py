"""People, robots, rights and tokens from the terminal, on the folder and over the network."""

import base64
import http.client
import os
import pty
import select
import time
from pathlib import Path

import pytest

from tests.cli.commands import PASSWORD, environment, moorage
from tests.servers import ServerProcess
from tests.starting import COMMAND


def ping(server: ServerProcess, name: str | None = None, secret: str = "") -> int:
    """The status of GET /v2/ for no one, or by a name and its password or token."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    basic = base64.b64encode(f"{name}:{secret}".encode()).decode()
    connection.request("GET", "/v2/", headers={} if name is None else {"Authorization": f"Basic {basic}"})
    status = connection.getresponse().status
    connection.close()
    return status


def test_first_administrator_closes_a_running_registry_at_once(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", "--workers", "1") as server:
        before = ping(server)
        claim = ("admin", "claim", "alice", "--password-stdin", "--data", tmp_path / "data")
        said = moorage(*claim, stdin=PASSWORD).check().out
        again = moorage(*claim, stdin=PASSWORD).refusal

        assert before == 200
        assert "alice administers this registry now" in said
        assert ping(server) == 401
        assert ping(server, "alice", PASSWORD) == 200
        assert "has been claimed" in again


def test_folder_without_a_registry_is_named(tmp_path: Path) -> None:
    refusal = moorage("user", "list", "--data", tmp_path / "nothing").refusal

    assert f"no registry in {tmp_path / 'nothing'} yet; start it once" in refusal
    assert not (tmp_path / "nothing").exists()


def test_folder_with_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "moorage.db").write_bytes(b"no database" * 100)

    refusal = moorage("user", "list", "--data", tmp_path).refusal

    assert "cannot be opened" in refusal
    assert [each.name for each in tmp_path.iterdir()] == ["moorage.db"]


def test_person_is_added_changed_and_removed_on_the_folder(folder: Path, server: ServerProcess) -> None:
    local = ("--data", folder)
    added = moorage("user", "add", "bob", "--password-stdin", *local, stdin="bobs own password\n").check()
    signed_in = ping(server, "bob", "bobs own password")
    moorage("user", "set", "bob", "--role", "auditor", "--description", "Bob of accounting", *local).check()
    moorage("user", "passwd", "bob", "--password-stdin", *local, stdin="bobs next password\n").check()
    shown = moorage("user", "show", "bob", "--json", *local).json()
    changed = ping(server, "bob", "bobs next password"), ping(server, "bob", "bobs own password")
    moorage("user", "disable", "bob", *local).check()
    disabled = ping(server, "bob", "bobs next password")
    moorage("user", "remove", "bob", *local).check()
    names = [each["name"] for each in moorage("user", "list", "--json", *local).json()]

    assert added.out == "bob is a person and member now.\n"
    assert signed_in == 200
    assert (shown["role"], shown["description"]) == ("auditor", "Bob of accounting")
    assert changed == (200, 401)
    assert disabled == 401
    assert "bob" not in names


def test_robot_pushes_by_a_token_that_is_shown_once(folder: Path, server: ServerProcess) -> None:
    local = ("--data", folder)
    moorage("user", "add", "bot.ci", "--robot", *local).check()
    moorage("grant", "add", "bot.ci", "push", "team/*", *local).check()
    made = ("token", "create", "ci", "--for", "bot.ci", "--scope", "push:team/*", "--days", "30")
    said = moorage(*made, *local).check().out
    secret = next(line.strip() for line in said.splitlines() if "moor_" in line)
    listed = moorage("token", "list", "--for", "bot.ci", "--json", *local).json()
    table = moorage("token", "list", "--for", "bot.ci", *local).check().out
    used = ping(server, "bot.ci", secret)
    moorage("token", "revoke", listed[0]["id"], *local).check()

    assert "not shown again" in said
    assert secret not in table + str(listed)
    assert "pull,push:team/*" in table
    assert used == 200
    assert ping(server, "bot.ci", secret) == 401


def test_group_owns_a_namespace(folder: Path) -> None:
    local = ("--data", folder)
    moorage("group", "add", "ops", "alice", *local).check()
    moorage("group", "add-member", "ops", "bot.admin", *local).check()
    moorage("group", "remove-member", "ops", "alice", *local).check()
    moorage("namespace", "add", "tools", "--owner", "group:ops", *local).check()
    moorage("namespace", "set", "tools", "--visibility", "public", *local).check()

    assert moorage("group", "show", "ops", "--json", *local).json()["members"] == ["bot.admin"]
    namespace = moorage("namespace", "show", "tools", "--json", *local).json()
    assert (namespace["owner"], namespace["visibility"]) == ("group ops", "public")


def test_token_does_the_same_over_the_network(
    server: ServerProcess, admin_token: str, tmp_path: Path
) -> None:
    kept = tmp_path / "token"
    kept.write_text(admin_token + "\n")
    remote = ("--registry", server.url, "--token-file", kept)

    moorage("user", "add", "bot.far", "--robot", *remote).check()
    moorage("grant", "add", "bot.far", "pull,delete", "far/app", *remote).check()
    by_variable = {"MOORAGE_REGISTRY": server.url, "MOORAGE_TOKEN": admin_token}
    grants = moorage("grant", "list", "--to", "bot.far", "--json", env=by_variable).json()

    assert [(each["pattern"], each["actions"]) for each in grants] == [("far/app", ["pull", "delete"])]
    assert grants[0]["created_by"] == "bot.admin"
    assert moorage("whoami", "--json", *remote).json()["name"] == "bot.admin"


def test_every_page_of_a_list_is_read(server: ServerProcess, admin_token: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    for number in range(1001):
        body = f'{{"to": "everyone", "pattern": "many/{number}", "actions": ["pull"]}}'
        headers = {"Authorization": f"Bearer {admin_token}", "Content-Type": "application/json"}
        connection.request("POST", "/api/v1/grants", body, headers)
        reply = connection.getresponse()
        reply.read()
        assert reply.status == 201
    connection.close()

    grants = moorage("grant", "list", "--to", "everyone", "--json", "--data", server.data_dir).json()

    assert len(grants) == 1001


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("user", "add", "a1ice", "--no-password"),
            "looks like one that is (name: a1ice, taken_by: an account named alice)",
        ),
        (("user", "add", "Bob", "--no-password"), "this cannot be a name"),
        (("user", "set", "alice", "--role", "king"), "role"),
        (("user", "remove", "nobody"), "there is no such account"),
        (("grant", "add", "alice", "fly", "team/*"), "fly"),
        (("grant", "add", "group:nobody", "pull", "team/*"), "there is no such group"),
        (("token", "revoke", "99999"), "there is no such token"),
    ],
)
def test_refusal_is_a_sentence_and_exit_code_1(
    folder: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    refusal = moorage(*arguments, "--data", folder).refusal

    assert refusal.startswith("moorage: ")
    assert sentence in refusal
    assert len(refusal.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("user", "set", "alice"),
        ("user", "ad"),
        ("grant", "add", "alice", "push"),
        ("grant", "add", "team:ops", "push", "a/b"),
        ("token", "create", "x", "--scope", "push"),
        ("user", "list", "--registry", "http://127.0.0.1:1"),
    ],
)
def test_wrong_command_line_is_exit_code_2(folder: Path, arguments: tuple[str, ...]) -> None:
    assert moorage(*arguments, "--data", folder).code == 2


def test_token_that_does_not_count_is_told_in_words(server: ServerProcess) -> None:
    refusal = moorage("user", "list", "--registry", server.url, env={"MOORAGE_TOKEN": "moor_wrong"}).refusal

    assert "does not take this token or password" in refusal


def test_name_and_password_can_come_from_a_script(server: ServerProcess, folder: Path) -> None:
    moorage("user", "add", "erin", "--password-stdin", "--data", folder, stdin=f"{PASSWORD}\n").check()
    as_erin = ("--user", "erin", "--password-stdin", "--registry", server.url)

    assert moorage("whoami", *as_erin, "--json", stdin=f"{PASSWORD}\n").json()["name"] == "erin"
    assert moorage("token", "create", "ci", *as_erin, "--json", stdin=f"{PASSWORD}\n").json()["secret"]
    wrong = moorage("whoami", *as_erin, stdin="something else\n").refusal
    assert "does not take this token or password" in wrong
    # a command that asks for passwords of its own reads them after the one to sign in by
    moorage("user", "passwd", "erin", *as_erin, stdin=f"{PASSWORD}\n{PASSWORD}\n{PASSWORD} 2\n").check()
    assert moorage("whoami", *as_erin, stdin=f"{PASSWORD} 2\n").code == 0


def test_no_credentials_are_told_in_words(server: ServerProcess) -> None:
    assert "give a token in $MOORAGE_TOKEN" in moorage("user", "list", "--registry", server.url).refusal


def test_token_without_the_right_is_told_in_words(server: ServerProcess, folder: Path) -> None:
    moorage("user", "add", "bot.small", "--robot", "--data", folder).check()
    made = moorage("token", "create", "x", "--for", "bot.small", "--json", "--data", folder).json()

    refusal = moorage("user", "list", "--registry", server.url, env={"MOORAGE_TOKEN": made["secret"]}).refusal

    assert "you may not do this here" in refusal


def test_plain_http_is_told_from_https(server: ServerProcess) -> None:
    refusal = moorage("whoami", "--registry", server.address).refusal

    assert f"write http://{server.address}" in refusal


def test_address_where_no_one_is_is_told() -> None:
    assert "127.0.0.1:1 does not answer" in moorage("whoami", "--registry", "127.0.0.1:1").refusal


def test_untrusted_certificate_leads_to_trust(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", "--workers", "1", is_tls=True) as server:
        refusal = moorage("whoami", "--registry", server.url).refusal
        root = tmp_path / "root.pem"
        root.write_bytes((tmp_path / "data" / "tls" / "authority.pem").read_bytes())
        trusted = moorage("whoami", "--registry", server.url, "--ca", root, "--json").json()

    assert f"moorage trust {server.address}" in refusal
    assert trusted["means"] == "open"


def test_password_is_asked_for_twice_and_not_shown(folder: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(
            COMMAND[0], [*COMMAND, "user", "add", "carol", "--data", str(folder)], environment()
        )  # pragma: no cover - the child
    shown = b""
    for prompt in (b"New password of carol", b"The same again"):
        shown += read_until(terminal, prompt)
        time.sleep(0.2)
        os.write(terminal, f"{PASSWORD}\n".encode())
    shown += read_until(terminal, b"carol is a person")
    _, status = os.waitpid(pid, 0)
    os.close(terminal)

    assert os.waitstatus_to_exitcode(status) == 0
    assert PASSWORD.encode() not in shown


def read_until(terminal: int, text: bytes) -> bytes:
    shown, deadline = b"", time.monotonic() + 30
    while text not in shown:
        assert select.select([terminal], [], [], max(deadline - time.monotonic(), 0))[0], shown
        try:
            shown += os.read(terminal, 4096)
        except OSError as error:
            # the command has ended; what it said is the reason
            raise AssertionError(shown.decode()) from error
    return shown


def test_password_without_a_terminal_is_not_waited_for(folder: Path) -> None:
    assert "use --password-stdin" in moorage("user", "add", "dave", "--data", folder).refusal
