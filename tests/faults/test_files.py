"""Files that were changed behind the registry's back: found before a client takes them for what they were."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from tests.content import digest_of
from tests.crash.checking import count_orphans
from tests.faults.images import check_folder, check_image, file_of, push_image
from tests.servers import ServerProcess
from tests.spec.client import Client, Repository

Damage = Callable[[Path], object]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_f17_blob_without_its_file_is_unknown_at_once(
    server: ServerProcess, repository: Repository, content: bytes, method: str
) -> None:
    digest = repository.push_blob(content)
    file_of(server, digest).unlink()

    reply = repository.send(method, f"blobs/{digest}")

    assert reply.status == 404
    assert method == "HEAD" or reply.codes == ["BLOB_UNKNOWN"]


def test_f17_blob_without_its_file_is_not_mounted(
    server: ServerProcess, repository: Repository, content: bytes
) -> None:
    digest = repository.push_blob(content)
    file_of(server, digest).unlink()

    reply = repository.client.send(
        "POST", f"/v2/team/other/blobs/uploads/?mount={digest}&from={repository.name}"
    )

    assert reply.status == 202


def test_f18_stray_files_are_ignored_and_kept_for_a_day(
    server: ServerProcess, repository: Repository, content: bytes
) -> None:
    old = push_image(repository, "old")
    digest = digest_of(content)
    shard = server.data_dir / "blobs" / "sha256" / digest[7:9]
    shard.mkdir(exist_ok=True)
    strays = [shard / f"{digest[7:]}.1", shard / "notes.txt", server.data_dir / "uploads" / "stray"]
    for stray in strays:
        stray.write_bytes(b"left by something else")

    server.restart()

    assert repository.send("HEAD", f"blobs/{digest}").status == 404
    assert all(stray.exists() for stray in strays)
    check_image(repository, old)
    repository.push_blob(content)
    assert repository.send("GET", f"blobs/{digest}").body == content


def test_f19_without_its_log_the_database_starts_with_what_it_has(
    server: ServerProcess, repository: Repository
) -> None:
    old = push_image(repository, "old")
    server.restart()
    newer = push_image(repository, "newer")
    server.kill()
    (server.data_dir / "moorage.db-wal").unlink()

    server.start()

    check_image(repository, old)
    check_folder(server.data_dir)
    assert repository.send("GET", "manifests/newer").status == 404
    assert count_orphans(server.data_dir) == 2
    for blob in newer.blobs:
        repository.push_blob(blob)
    assert count_orphans(server.data_dir) == 0


def test_f19_an_older_database_beside_newer_files_starts_and_takes_the_push_again(
    server: ServerProcess, repository: Repository, tmp_path: Path
) -> None:
    old = push_image(repository, "old")
    backup = tmp_path / "backup.db"
    connection = apsw.Connection(str(server.data_dir / "moorage.db"))
    connection.execute("VACUUM INTO ?", (str(backup),))
    connection.close()
    push_image(repository, "newer")
    server.terminate()
    (server.data_dir / "moorage.db-wal").unlink(missing_ok=True)
    (server.data_dir / "moorage.db-shm").unlink(missing_ok=True)
    backup.replace(server.data_dir / "moorage.db")

    server.start()

    check_image(repository, old)
    check_folder(server.data_dir)
    assert repository.send("GET", "manifests/newer").status == 404
    check_image(repository, push_image(repository, "newest"))


def scramble(path: Path) -> None:
    path.write_bytes(bytes(byte ^ 0x55 for byte in path.read_bytes()))


def cut_in_half(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def overwrite_pages(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:4096] + bytes(len(content) - 4096))


def raise_schema(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("INSERT INTO migration (number, name, checksum) VALUES (9999, '9999_later.sql', '')")
    connection.close()


def settle(path: Path) -> None:
    """Take in what the log holds; workers that stop at the same moment leave it."""
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()
    assert not path.with_name("moorage.db-wal").exists()


def leave_log(path: Path, statement: str) -> None:
    """Change rows and leave that in the log, as a crash does."""
    connection = apsw.Connection(str(path))
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.execute(statement)
    connection.close()
    assert path.with_name("moorage.db-wal").stat().st_size


def raise_schema_in_log(path: Path) -> None:
    leave_log(path, "INSERT INTO migration (number, name, checksum) VALUES (9999, '9999_later.sql', '')")


def cut_in_half_beside_log(path: Path) -> None:
    leave_log(path, "UPDATE blob_total SET bytes = bytes + 1")
    cut_in_half(path)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(scramble, "is damaged", id="F20 scrambled"),
        pytest.param(cut_in_half, "is damaged", id="F20 cut in half"),
        pytest.param(overwrite_pages, "is damaged", id="F20 pages overwritten"),
        pytest.param(cut_in_half_beside_log, "is damaged", id="F20 cut in half after a crash"),
        pytest.param(raise_schema, "newer Moorage", id="F56 newer schema"),
        pytest.param(raise_schema_in_log, "newer Moorage", id="F56 newer schema after a crash"),
    ],
)
def test_database_that_cannot_be_used_is_refused_in_a_sentence_and_left_as_it_is(
    server: ServerProcess, repository: Repository, damage: Damage, said: str
) -> None:
    push_image(repository, "old")
    server.terminate()
    settle(server.data_dir / "moorage.db")
    damage(server.data_dir / "moorage.db")
    before = fingerprints(server.data_dir)

    ended = subprocess.run(
        [sys.executable, "-m", "moorage", "serve", "--listen", server.address, "--data", server.data_dir],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert ended.returncode == 1, ended
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert fingerprints(server.data_dir) == before


def fingerprints(data: Path) -> dict[str, str]:
    """What every file holds that is not empty."""
    return {
        str(path.relative_to(data)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(data.rglob("*"))
        if path.is_file() and path.stat().st_size and not path.name.endswith("-shm")
    }


def test_f20_page_damaged_while_it_serves_is_an_error_and_no_wrong_answer(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", "--workers", "1") as server:
        repository = Repository(Client(server.port))
        old = push_image(repository, "old")
        server.restart()
        with (server.data_dir / "moorage.db").open("r+b") as file:
            size = file.seek(0, 2)
            file.seek(4096)
            file.write(b"\xff" * (size - 4096))

        replies = [repository.send("GET", "manifests/old") for _ in range(20)]

        assert all(reply.status >= 500 or reply.body == old.manifest for reply in replies), replies
        assert repository.client.send("GET", "/healthz").status == 200
