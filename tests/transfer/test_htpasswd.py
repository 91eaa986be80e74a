"""Accounts from another registry's htpasswd: they sign in by the passwords they have."""

import base64
import statistics
import time
from pathlib import Path

import apsw
import bcrypt
import pytest

from moorage.identity.managing.htpasswd import read_htpasswd
from tests.cli.commands import PASSWORD, moorage
from tests.registry.in_process import InProcess
from tests.transfer.trees import Tree


def line(name: str, password: bytes, cost: int = 4, prefix: bytes = b"2y") -> str:
    kept = bcrypt.hashpw(password, bcrypt.gensalt(cost))
    return f"{name}:{kept.replace(b'2b', prefix, 1).decode()}\n"


@pytest.fixture
def claimed(data: Path, registry: InProcess) -> Path:
    """The folder with its administrator, served."""
    moorage("admin", "claim", "root", "--password-stdin", "--data", data, stdin=PASSWORD).check()
    return data


def take(tree: Tree, data: Path, text: str, *options: str) -> dict[str, object]:
    file = tree.folder / "htpasswd"
    file.write_text(text)
    ran = moorage(
        "import", "distribution", tree.folder, "--htpasswd", file, "--data", data, "--json", *options
    )
    accounts: dict[str, object] = ran.json()["accounts"]
    return accounts


def sign_in(registry: InProcess, name: str, password: str) -> int:
    basic = base64.b64encode(f"{name}:{password}".encode()).decode()
    return registry.send("GET", "/v2/", headers=[("Authorization", f"Basic {basic}")]).status


def kept_hash(data: Path, name: str) -> str:
    connection = apsw.Connection(str(data / "moorage.db"), flags=apsw.SQLITE_OPEN_READONLY)
    found = connection.execute("SELECT password FROM account WHERE name = ?", (name,)).fetchone()
    connection.close()
    assert found is not None
    return str(found[0])


def test_people_sign_in_by_their_old_passwords_which_are_then_hashed_as_all_are(
    tree: Tree, claimed: Path, registry: InProcess
) -> None:
    taken = take(tree, claimed, line("alice", b"short"))
    before = kept_hash(claimed, "alice")
    wrong = sign_in(registry, "alice", "Short")
    still = kept_hash(claimed, "alice")
    first = sign_in(registry, "alice", "short")
    after = kept_hash(claimed, "alice")
    again = sign_in(registry, "alice", "short"), sign_in(registry, "alice", "shor")

    assert taken == {"made": ["alice"], "known": [], "refused": {}}
    assert before.startswith("$2y$04$")
    assert (wrong, still) == (401, before)
    assert first == 200
    assert after.startswith("$argon2id$")
    assert again == (200, 401)


def test_a_password_that_differs_after_its_72nd_byte_is_wrong(
    tree: Tree, claimed: Path, registry: InProcess
) -> None:
    """B88: bcrypt would read no further."""
    long = "x" * 72
    take(tree, claimed, line("alice", long.encode()))

    assert sign_in(registry, "alice", f"{long}y") == 401
    assert sign_in(registry, "alice", f"{long[:-1]}\0") == 401
    assert sign_in(registry, "alice", long) == 200


def test_a_second_time_changes_nothing(tree: Tree, claimed: Path, registry: InProcess) -> None:
    take(tree, claimed, line("alice", b"first"))
    sign_in(registry, "alice", "first")

    assert take(tree, claimed, line("alice", b"second"))["known"] == ["alice"]
    assert sign_in(registry, "alice", "second") == 401
    assert sign_in(registry, "alice", "first") == 200


def test_names_and_hashes_that_cannot_be_here_are_told(tree: Tree, claimed: Path) -> None:
    text = "".join(
        [
            "# a comment\n\n",
            line("Alice", b"x"),
            line("everyone", b"x"),
            line("r00t", b"x"),
            "bob:$apr1$Zq9h2Ck4$2ZsYz6Ae5wH4bS0CqVqVI1\n",
            line("carol", b"x").replace("$04$", "$31$"),
            "no colon\n",
            line("dave", b"x"),
        ]
    )

    dry = take(tree, claimed, text, "--dry-run")
    taken = take(tree, claimed, text)

    assert dry == taken
    assert taken["made"] == ["dave"]
    refused = taken["refused"]
    assert isinstance(refused, dict)
    assert sorted(refused) == ["Alice", "bob", "carol", "everyone", "line 8", "r00t"]
    assert "bcrypt" in refused["bob"]
    assert "cost of 31" in refused["carol"]
    assert refused["r00t"] == "there is an account named root"


def test_without_an_administrator_no_account_is_made(tree: Tree, data: Path) -> None:
    """The first account administers: nobody shall become that by a file."""
    (tree.folder / "htpasswd").write_text(line("alice", b"x"))

    ran = moorage(
        "import", "distribution", tree.folder, "--htpasswd", tree.folder / "htpasswd", "--data", data
    )

    assert "no administrator yet: moorage admin claim" in ran.refusal


def test_the_last_line_of_a_name_counts() -> None:
    first, second = line("alice", b"one"), line("alice", b"two")

    hashes, refused = read_htpasswd(first + "alice:{SHA}x\n" + second)

    assert hashes == {"alice": second.strip().partition(":")[2]}
    assert refused == {}


def test_a_wrong_password_takes_as_long_whoever_is_named(
    tree: Tree, claimed: Path, registry: InProcess
) -> None:
    """B90: nobody's, an old and a new account's differ by less than what each takes."""
    take(tree, claimed, line("old", b"x", cost=9))
    took: dict[str, list[float]] = {"nobody": [], "old": [], "root": []}
    for number in range(5):
        for name, times in took.items():
            began = time.process_time()
            assert sign_in(registry, name, f"wrong {number}") == 401
            times.append(time.process_time() - began)

    middle = {name: statistics.median(times) for name, times in took.items()}
    assert max(middle.values()) < 1.5 * min(middle.values()), middle
