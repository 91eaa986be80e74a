"""F55: a backup taken while others push; restored elsewhere, it is whole."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import apsw
import pytest

from moorage.transfer.pausing import LEASE_MS
from tests.cli.commands import PASSWORD, moorage
from tests.content import digest_of, some_bytes
from tests.faults.images import Pushed, check_image, push_image
from tests.registry.audit import audit
from tests.servers import ServerProcess
from tests.spec.client import Client, Repository


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "data", "--workers", "2") as server:
        yield server


@pytest.fixture
def repository(server: ServerProcess) -> Repository:
    return Repository(Client(server.port), "team/app")


def back_up(server: ServerProcess, folder: Path, *options: str) -> dict[str, Any]:
    made: dict[str, Any] = moorage("backup", folder, "--data", server.data_dir, "--json", *options).json()
    return made


def restore(folder: Path, data: Path, *options: str) -> dict[str, Any]:
    made: dict[str, Any] = moorage("restore", folder, "--data", data, "--json", *options).json()
    return made


class Pushers:
    """Ten clients that push without a pause, each into a repository of its own."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._is_over = threading.Event()
        self.pushed: list[tuple[str, Pushed]] = []
        self._threads = [threading.Thread(target=self._push, args=(number,)) for number in range(10)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _push(self, number: int) -> None:
        name = f"load/{number}"
        repository = Repository(Client(self._server.port), name)
        count = 0
        while not self._is_over.is_set():
            count += 1
            self.pushed.append((name, push_image(repository, f"v{count}", layer_bytes=50_000)))
            time.sleep(0.2)


def images_in(database: Path) -> set[tuple[str, str]]:
    connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return set(
            connection.execute("SELECT r.name, t.name FROM tag t JOIN repository r ON r.id = t.repository")
        )
    finally:
        connection.close()


def test_f55_backup_taken_under_load_is_restored_elsewhere_and_every_image_in_it_pulled(
    server: ServerProcess, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    with Pushers(server) as pushers:
        while len(pushers.pushed) < 30:
            time.sleep(0.05)
        acknowledged = {(name, pushed.tag) for name, pushed in list(pushers.pushed)}
        made = back_up(server, folder)
        again = back_up(server, folder)
        after = len(pushers.pushed)
        while len(pushers.pushed) < after + 10:
            time.sleep(0.05)
    server.terminate()

    restored = restore(folder, tmp_path / "elsewhere", "--at", made["generation"])

    assert made["missing"] == again["missing"] == restored["missing"] == []
    assert again["how"]["here"] >= made["blobs"]
    named = images_in(folder / "generations" / made["generation"] / "moorage.db")
    assert acknowledged <= named
    assert named < {(name, pushed.tag) for name, pushed in pushers.pushed}
    assert audit(tmp_path / "elsewhere") == []
    with ServerProcess(tmp_path / "elsewhere") as copy:
        for name, pushed in pushers.pushed:
            if (name, pushed.tag) in named:
                check_image(Repository(Client(copy.port), name), pushed)
        report = moorage("store", "check", "--data", copy.data_dir, "--json").json()
        assert report["findings"] == []
        push_image(Repository(Client(copy.port), "team/new"), "v1")


def test_what_the_folder_has_is_not_brought_again(
    server: ServerProcess, repository: Repository, tmp_path: Path
) -> None:
    push_image(repository, "v1")
    first = back_up(server, tmp_path / "backups")
    push_image(repository, "v2")
    second = back_up(server, tmp_path / "backups")
    third = back_up(server, tmp_path / "backups")

    assert (first["brought_blobs"], second["brought_blobs"], third["brought_blobs"]) == (2, 2, 0)
    assert (first["blobs"], second["blobs"], third["how"]) == (2, 4, {"here": 4})


def test_generations_that_are_too_many_go_and_what_only_they_named(
    server: ServerProcess, repository: Repository, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    old = push_image(repository, "v1")
    first = back_up(server, folder)
    outside = apsw.Connection(str(server.data_dir / "moorage.db"))
    for table in ("tag", "tag_event", "manifest_reference", "manifest", "lease", "repository_blob", "blob"):
        outside.execute(f"DELETE FROM {table}")
    outside.close()
    new = push_image(repository, "v2")
    second = back_up(server, folder, "--keep", "2")
    assert second["removed_generations"] == []
    third = back_up(server, folder, "--keep", "2")

    assert third["removed_generations"] == [first["generation"]]
    assert third["removed_blobs"] == 2
    kept = {path.name for path in (folder / "blobs").rglob("*") if path.is_file()}
    assert kept == {digest_of(blob)[7:] for blob in new.blobs}
    assert not kept & {digest_of(blob)[7:] for blob in old.blobs}
    assert len(list((folder / "generations").iterdir())) == 2
    listed = moorage("backup", folder, "--list", "--json").json()
    assert [each["generation"] for each in listed] == [second["generation"], third["generation"]]


def test_backup_by_links_copies_nothing(
    server: ServerProcess, repository: Repository, tmp_path: Path
) -> None:
    pushed = push_image(repository, "v1")

    made = back_up(server, tmp_path / "backups", "--link")

    assert made["how"] == {"linked": 2}
    for blob in pushed.blobs:
        digest = digest_of(blob)[7:]
        (stored,) = (server.data_dir / "blobs").rglob(f"{digest}.*")
        assert stored.samefile(tmp_path / "backups" / "blobs" / "sha256" / digest[:2] / digest)


def test_damage_in_the_store_is_found_while_it_is_copied(
    server: ServerProcess, repository: Repository, tmp_path: Path
) -> None:
    pushed = push_image(repository, "v1")
    digest = digest_of(pushed.blobs[1])
    (stored,) = (server.data_dir / "blobs").rglob(f"{digest[7:]}.*")
    stored.write_bytes(some_bytes(stored.stat().st_size))

    answer = moorage("backup", tmp_path / "backups", "--data", server.data_dir, "--json")

    assert answer.code == 1
    assert json.loads(answer.out)["missing"] == [digest]
    assert repository.send("HEAD", f"blobs/{digest}").status == 404
    restored = moorage("restore", tmp_path / "backups", "--data", tmp_path / "new", "--json")
    assert json.loads(restored.out)["missing"] == [digest]
    assert audit(tmp_path / "new") == [f"I3: a link to a blob that is not live: {digest}"]


def test_blob_that_was_withdrawn_before_is_named_as_missing_until_it_is_pushed_again(
    server: ServerProcess, repository: Repository, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    pushed = push_image(repository, "v1")
    first = back_up(server, folder)
    digest = digest_of(pushed.blobs[1])
    (stored,) = (server.data_dir / "blobs").rglob(f"{digest[7:]}.*")
    stored.unlink()
    assert moorage("store", "check", "--data", server.data_dir).code == 1

    answers = [
        moorage("backup", folder, "--data", server.data_dir, "--keep", "2", "--json") for _ in range(2)
    ]
    told = moorage("backup", tmp_path / "other", "--data", server.data_dir)
    restored = moorage("restore", tmp_path / "other", "--data", tmp_path / "new", "--json")

    made = [json.loads(answer.out) for answer in answers]
    assert [(answer.code, each["missing"]) for answer, each in zip(answers, made, strict=True)] == [
        (1, [digest])
    ] * 2
    assert (made[1]["how"], made[1]["blobs"]) == ({"here": 1, "missing": 1}, 2)
    listed = moorage("backup", folder, "--list", "--json").json()
    assert [each["missing"] for each in listed] == [[digest], [digest]]
    assert (told.code, f"✗ {digest} is lost in the registry itself" in told.err) == (1, True)
    assert (restored.code, json.loads(restored.out)["missing"]) == (1, [digest])
    # the good bytes that the first backup had stay, though its generation went
    assert made[1]["removed_generations"] == [first["generation"]]
    assert (folder / "blobs" / "sha256" / digest[7:9] / digest[7:]).read_bytes() == pushed.blobs[1]
    repository.push_blob(pushed.blobs[1])
    assert back_up(server, folder)["missing"] == []


def test_damage_in_the_backup_is_found_by_verify_and_mended(
    server: ServerProcess, repository: Repository, tmp_path: Path
) -> None:
    pushed = push_image(repository, "v1")
    back_up(server, tmp_path / "backups")
    digest = digest_of(pushed.blobs[1])[7:]
    copy = tmp_path / "backups" / "blobs" / "sha256" / digest[:2] / digest
    copy.write_bytes(some_bytes(copy.stat().st_size))

    assert back_up(server, tmp_path / "backups")["brought_blobs"] == 0
    assert back_up(server, tmp_path / "backups", "--verify")["brought_blobs"] == 1

    assert copy.read_bytes() == pushed.blobs[1]


def test_blob_that_is_damaged_in_the_backup_is_not_restored_as_whole(
    server: ServerProcess, repository: Repository, tmp_path: Path
) -> None:
    pushed = push_image(repository, "v1")
    back_up(server, tmp_path / "backups")
    digest = digest_of(pushed.blobs[1])
    copy = tmp_path / "backups" / "blobs" / "sha256" / digest[7:9] / digest[7:]
    copy.write_bytes(some_bytes(copy.stat().st_size))

    answer = moorage("restore", tmp_path / "backups", "--data", tmp_path / "new", "--json")

    assert answer.code == 1
    with ServerProcess(tmp_path / "new") as restored:
        again = Repository(Client(restored.port), "team/app")
        assert again.send("HEAD", f"blobs/{digest}").status == 404
        again.push_blob(pushed.blobs[1])
        check_image(again, pushed)


def test_only_the_owner_may_read_a_backup(
    server: ServerProcess, repository: Repository, tmp_path: Path
) -> None:
    push_image(repository, "v1")
    back_up(server, tmp_path / "backups")
    restore(tmp_path / "backups", tmp_path / "new")

    for folder in (tmp_path / "backups", tmp_path / "new"):
        assert all(not path.stat().st_mode & 0o077 for path in [folder, *folder.rglob("*")])


def test_accounts_and_the_certificate_come_back(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", is_tls=True) as server:
        claim = ("admin", "claim", "alice", "--password-stdin", "--data", server.data_dir)
        moorage(*claim, stdin=PASSWORD).check()
        back_up(server, tmp_path / "backups")
    restore(tmp_path / "backups", tmp_path / "new")

    for name in ("authority.pem", "server.pem"):
        assert (tmp_path / "new/tls" / name).read_bytes() == (tmp_path / "data/tls" / name).read_bytes()
    users = moorage("user", "list", "--json", "--data", tmp_path / "new").json()
    assert [user["name"] for user in users] == ["alice"]


def test_restore_refuses_a_folder_that_holds_something(
    server: ServerProcess, repository: Repository, tmp_path: Path
) -> None:
    push_image(repository, "v1")
    back_up(server, tmp_path / "backups")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes").write_text("mine")

    for folder in (tmp_path / "full", server.data_dir):
        answer = moorage("restore", tmp_path / "backups", "--data", folder)
        assert (answer.code, "is not empty" in answer.err) == (1, True)


def test_backup_refuses_a_folder_that_holds_something_else(
    server: ServerProcess, repository: Repository, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes").write_text("mine")

    answer = moorage("backup", tmp_path / "full", "--data", server.data_dir)

    assert (answer.code, "no backup of Moorage's" in answer.err) == (1, True)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes"]


@pytest.mark.parametrize("place", ["", "backups", "../data/backups/weekly"])
def test_backup_refuses_a_folder_in_the_data_folder_and_makes_nothing_there(
    server: ServerProcess, repository: Repository, place: str
) -> None:
    answer = moorage("backup", server.data_dir / place, "--data", server.data_dir)

    assert (answer.code, "inside the data folder" in answer.err) == (1, True)
    assert not [*server.data_dir.rglob("moorage-backup"), *server.data_dir.glob("backups")]


def test_folder_without_a_whole_backup_is_refused(server: ServerProcess, tmp_path: Path) -> None:
    back_up(server, tmp_path / "backups")
    (generation,) = (tmp_path / "backups" / "generations").iterdir()
    generation.rename(generation.with_name(f"{generation.name}.part"))

    answer = moorage("restore", tmp_path / "backups", "--data", tmp_path / "new")

    assert (answer.code, "no whole backup" in answer.err) == (1, True)


def start(*arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "moorage", *map(str, arguments)],
        stdout=sys.stderr,
        start_new_session=True,
    )


def files_under(folder: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


def kill_when(process: subprocess.Popen[bytes], folder: Path, files: int) -> bool:
    """Kill a process when it has made so many files; whether it was in the middle of its work."""
    while process.poll() is None and files_under(folder) < files:
        time.sleep(0.001)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def test_f1_backup_that_is_killed_is_none_and_is_repeated(
    server: ServerProcess, repository: Repository, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    for number in range(15):
        push_image(repository, f"v{number}", layer_bytes=2_000_000)
    whole = back_up(server, folder)
    shutil.rmtree(folder / "blobs")

    cuts = []
    for files in (3, 6, 15, 25, 32):
        cuts.append(kill_when(start("backup", folder, "--data", server.data_dir), folder, files))
        listed = moorage("backup", folder, "--list", "--json").json()
        assert {whole["generation"]} <= {each["generation"] for each in listed}
    made = back_up(server, folder)

    assert sum(cuts) >= 3
    assert (made["blobs"], made["missing"]) == (30, [])
    assert made["brought_blobs"] < 30
    assert not list((folder / "generations").glob("*.part"))
    assert restore(folder, tmp_path / "new")["missing"] == []
    assert audit(tmp_path / "new") == []


def test_f1_backup_that_is_killed_while_it_begins_is_repeated(server: ServerProcess, tmp_path: Path) -> None:
    """Between making its mark and filling it."""
    folder = tmp_path / "backups"
    folder.mkdir()
    (folder / "moorage-backup").touch()

    made = back_up(server, folder)

    assert [each["generation"] for each in moorage("backup", folder, "--list", "--json").json()] == [
        made["generation"]
    ]


def test_f1_restore_that_is_killed_is_not_served_and_is_repeated(
    server: ServerProcess, repository: Repository, tmp_path: Path
) -> None:
    folder, new = tmp_path / "backups", tmp_path / "new"
    images = [push_image(repository, f"v{number}", layer_bytes=2_000_000) for number in range(15)]
    made = back_up(server, folder)

    for files in (1, 3, 8, 15):
        assert kill_when(start("restore", folder, "--data", new), new, files)
        refused = moorage("serve", "--data", new, "--listen", "127.0.0.1:0")
        assert (refused.code, "half of a restore" in refused.err) == (1, True), refused
    restored = restore(folder, new)

    assert (restored["blobs"], restored["generation"]) == (30, made["generation"])
    assert restored["were_there"] > 3
    assert sorted(path.name for path in new.iterdir()) == [
        "blobs",
        "moorage.db",
        "moorage.sequence",
        "quarantine",
        "uploads",
    ]
    assert audit(new) == []
    with ServerProcess(new) as copy:
        for image in images:
            check_image(Repository(Client(copy.port), "team/app"), image)


@pytest.mark.parametrize("kept", [0, 5], ids=["nothing", "some"])
def test_f1_restore_that_is_killed_while_it_says_what_it_restores_is_repeated(
    server: ServerProcess, repository: Repository, tmp_path: Path, kept: int
) -> None:
    folder, new = tmp_path / "backups", tmp_path / "new"
    push_image(repository, "v1")
    made = back_up(server, folder)
    new.mkdir()
    (new / "restoring").write_text(made["generation"][:kept])

    assert restore(folder, new)["generation"] == made["generation"]
    assert audit(new) == []


def test_garbage_is_paused_while_a_backup_is_made_and_no_longer(
    server: ServerProcess, repository: Repository, tmp_path: Path
) -> None:
    for number in range(10):
        push_image(repository, f"v{number}", layer_bytes=3_000_000)
    outside = apsw.Connection(str(server.data_dir / "moorage.db"))
    process = start("backup", tmp_path / "backups", "--data", server.data_dir)
    seen: list[int] = []
    while process.poll() is None:
        seen += [row[0] for row in outside.execute("SELECT until FROM garbage_pause")]
        time.sleep(0.002)

    assert process.returncode == 0
    assert seen
    assert all(0 < until - time.time() * 1000 < LEASE_MS for until in seen)
    assert outside.execute("SELECT count(*) FROM garbage_pause").fetchone() == (0,)
    outside.close()


def test_two_backups_into_one_folder_do_not_mix(
    server: ServerProcess, repository: Repository, tmp_path: Path
) -> None:
    for number in range(10):
        push_image(repository, f"v{number}", layer_bytes=3_000_000)

    processes = [start("backup", tmp_path / "backups", "--data", server.data_dir) for _ in range(3)]

    codes = sorted(process.wait() for process in processes)
    assert codes[0] == 0
    restored = restore(tmp_path / "backups", tmp_path / "new")
    assert (restored["blobs"], restored["missing"]) == (20, [])


def test_backup_that_the_settings_ask_for_is_a_job(tmp_path: Path) -> None:
    environment = {"MOORAGE_BACKUP_FOLDER": str(tmp_path / "backups")}
    with ServerProcess(tmp_path / "data", env=environment) as server:
        push_image(Repository(Client(server.port), "team/app"), "v1")
        client = Client(server.port)

        job = client.send("POST", "/api/v1/backups").json
        deadline = time.monotonic() + 20
        while job["finished_at"] is None and time.monotonic() < deadline:
            time.sleep(0.1)
            job = client.send("GET", f"/api/v1/jobs/{job['id']}").json

        assert job["state"] == "done", job
        listed = client.send("GET", "/api/v1/backups").json
        assert list(listed["generations"]) == [job["result"]["generation"]]
        assert listed["generations"][job["result"]["generation"]]["blobs"] == 2
