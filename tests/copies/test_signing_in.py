"""`moorage login` and `logout`: the registry is asked first; what it takes is kept where docker keeps it."""

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.images import Layout
from tests.access.people import PASSWORD
from tests.cli.commands import Ran
from tests.copies.conftest import Guarded, Home
from tests.copies.content import some_layers
from tests.servers import ServerProcess

HELPER = """\
#!/bin/sh
# keeps credentials in files, as docker-credential-helpers says: one verb, JSON on the standard streams
set -eu
folder="$(dirname "$0")/kept"
mkdir -p "$folder"
echo "$1" >> "$folder/../verbs"
case "$1" in
  store)
    content="$(cat)"
    server="$(printf '%s' "$content" | sed 's/.*"ServerURL": *"\\([^"]*\\)".*/\\1/')"
    printf '%s' "$content" > "$folder/$(printf '%s' "$server" | tr ':/' '__')"
    ;;
  get)
    file="$folder/$(cat | tr ':/' '__')"
    [ -f "$file" ] || { echo 'credentials not found in native keychain'; exit 1; }
    cat "$file"
    ;;
  erase) rm -f "$folder/$(cat | tr ':/' '__')" ;;
esac
"""


def login(home: Home, guarded: Guarded, name: str = "writer", password: str = PASSWORD, **env: str) -> Ran:
    options = ("--username", name, "--password-stdin", "--ca", guarded.authority)
    return home.run("login", guarded.server.address, *options, stdin=password, **env)


def read_config(home: Home) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((home.folder / "docker" / "config.json").read_text())
    return found


def write_config(home: Home, document: dict[str, Any]) -> None:
    (home.folder / "docker").mkdir(exist_ok=True)
    (home.folder / "docker" / "config.json").write_text(json.dumps(document))


def may_push(home: Home, guarded: Guarded, layout: Layout, **env: str) -> Ran:
    name = f"{guarded.server.address}/team/signed:1.0"
    return home.run("push", layout.folder, name, "--ca", guarded.authority, **env)


@pytest.fixture(autouse=True)
def image(layout: Layout) -> None:
    layout.add_image(some_layers(1, 1000), tag="1.0")


@pytest.fixture
def helper(home: Home) -> dict[str, str]:
    """A credential helper on the path, which docker's config.json names; what tells a program of it."""
    folder = home.folder / "bin"
    folder.mkdir()
    program = folder / "docker-credential-files"
    program.write_text(HELPER)
    program.chmod(0o755)
    write_config(home, {"credsStore": "files", "HttpHeaders": {"X": "y"}})
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def test_without_a_helper_it_is_kept_in_the_open_and_that_is_said(
    home: Home, guarded: Guarded, layout: Layout
) -> None:
    ran = login(home, guarded).check()

    path = home.folder / "docker" / "config.json"
    assert str(path) in ran.out
    assert "whoever can read that file has the password" in ran.err
    assert path.stat().st_mode & 0o077 == 0
    auth = read_config(home)["auths"][guarded.server.address]["auth"]
    assert base64.b64decode(auth).decode() == f"writer:{PASSWORD}"
    may_push(home, guarded, layout).check()


def test_a_credential_helper_has_it_and_the_file_has_not(
    home: Home, guarded: Guarded, layout: Layout, helper: dict[str, str]
) -> None:
    ran = login(home, guarded, **helper).check()

    assert "docker-credential-files" in ran.out
    assert ran.err == ""
    document = read_config(home)
    assert document == {
        "credsStore": "files",
        "HttpHeaders": {"X": "y"},
        "auths": {guarded.server.address: {}},
    }
    may_push(home, guarded, layout, **helper).check()
    assert home.run("logout", guarded.server.address, **helper).check().out.startswith("Signed out")
    assert list((home.folder / "bin" / "kept").iterdir()) == []
    assert f"moorage login {guarded.server.address}" in may_push(home, guarded, layout, **helper).refusal
    verbs = (home.folder / "bin" / "verbs").read_text().split()
    assert {"store", "get", "erase"} == set(verbs)


def test_a_helper_that_is_not_there_is_told_of(home: Home, guarded: Guarded, layout: Layout) -> None:
    write_config(home, {"credHelpers": {guarded.server.address: "missing"}})

    assert "docker-credential-missing is not on the PATH" in may_push(home, guarded, layout).refusal
    assert "docker-credential-missing is not on the PATH" in login(home, guarded).refusal


@pytest.mark.parametrize(("name", "password"), [("writer", "wrong"), ("nobody", PASSWORD)])
def test_what_the_registry_does_not_take_is_not_kept(
    home: Home, guarded: Guarded, name: str, password: str
) -> None:
    refusal = login(home, guarded, name, password).refusal

    assert "Nothing was kept" in refusal
    assert password not in refusal
    assert not (home.folder / "docker" / "config.json").exists()


def test_signing_out_forgets_and_says_whether_there_was_anything(home: Home, guarded: Guarded) -> None:
    login(home, guarded).check()

    first = home.run("logout", guarded.server.address).check().out
    second = home.run("logout", f"https://{guarded.server.address}/").check().out

    assert first == f"Signed out of {guarded.server.address}.\n"
    assert second == f"There were no credentials for {guarded.server.address}.\n"
    assert read_config(home)["auths"] == {}


def test_what_podman_has_kept_counts(home: Home, guarded: Guarded, layout: Layout) -> None:
    folder = home.folder / "config" / "containers"
    folder.mkdir(parents=True)
    auth = base64.b64encode(f"writer:{PASSWORD}".encode()).decode()
    (folder / "auth.json").write_text(json.dumps({"auths": {guarded.server.address: {"auth": auth}}}))

    may_push(home, guarded, layout).check()


def test_a_registry_that_asks_for_nothing_takes_anyone(home: Home, plain: ServerProcess) -> None:
    """As docker does, and on this machine by plain HTTP without being told."""
    address = f"127.0.0.1:{plain.port}"

    home.run("login", address, "--username", "someone", "--password-stdin", stdin="something").check()

    assert address in read_config(home)["auths"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("a host",), "is no registry's host"),
        (("host:5000/team",), "is no registry's host"),
        (("h.local:5000", "--password-stdin"), "--password-stdin needs --username"),
        (("h.local:5000",), "there is no terminal"),
        (("h.local:5000", "--username", "x"), "there is no terminal"),
        (("h.local:5000", "--username", "x", "--password-stdin"), "the password is empty"),
        (("127.0.0.1:1", "--username", "x", "--password-stdin"), "no connection to 127.0.0.1:1"),
    ],
)
def test_what_cannot_be_signed_in_to_is_told_in_words(
    home: Home, arguments: tuple[str, ...], said: str
) -> None:
    stdin = "x" if arguments[0].startswith("127") else ""

    assert said in home.run("login", *arguments, stdin=stdin).refusal


def test_the_files_that_are_not_docker_s_are_left_alone(home: Home, guarded: Guarded, tmp_path: Path) -> None:
    (home.folder / "docker").mkdir()
    (home.folder / "docker" / "config.json").write_text("not json")

    assert "is not JSON" in login(home, guarded).refusal
    assert (home.folder / "docker" / "config.json").read_text() == "not json"
