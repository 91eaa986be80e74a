"""F19: a database that lost its log, or an older one under newer files: the registry starts and says so."""

import asyncio
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from moorage.databases.sqlite import SqliteDatabase
from moorage.health import Health
from moorage.lifecycle.garbage.collecting import Collected, Garbage
from moorage.storage.filesystem import FilesystemStore
from tests.cli.commands import moorage
from tests.faults.images import push_image
from tests.servers import ServerProcess
from tests.spec.client import Client, Repository


def wait_for_sequence(data: Path, at_least: int) -> None:
    deadline = time.monotonic() + 30
    while not (path := data / "moorage.sequence").exists() or int(path.read_text()) < at_least:
        assert time.monotonic() < deadline, "the sequence was not raised"
        time.sleep(0.05)


def collect(data: Path) -> Collected:
    """A run of the garbage collector."""

    async def run() -> Collected:
        health = Health()
        db = SqliteDatabase(data / "moorage.db", health)
        try:
            with ThreadPoolExecutor(1) as threads:
                return await Garbage(db, FilesystemStore(data, health, 0), threads, 0).collect()
        finally:
            db.close()

    return asyncio.run(run())


def check_mistrusted(server: ServerProcess, lost: int) -> None:
    """It serves, says what is wrong, takes nothing from the disk, and goes on once someone has looked."""
    client = Client(server.port)
    reason = server.wait_for_event("store_mistrusted")["reason"]
    assert "the database is older than its files" in reason
    assert client.send("GET", "/readyz").json == {"status": "ready", "store": reason}
    assert "\nmoorage_store_mistrusted 1.0\n" in client.send("GET", "/metrics").body.decode()
    assert collect(server.data_dir).obstacle == reason
    assert "checked first" in moorage("store", "accept", "--data", server.data_dir).refusal

    time.sleep(0.01)
    report = moorage("store", "check", "--json", "--data", server.data_dir).json()

    assert report["counts"] == {"file_stray": lost}
    assert report["mistrusted"] == reason
    moorage("store", "accept", "--data", server.data_dir).check()
    assert client.send("GET", "/readyz").json == {"status": "ready"}
    assert collect(server.data_dir).obstacle is None
    server.restart()
    assert client.send("GET", "/readyz").json == {"status": "ready"}


def test_f19_deleted_log_of_the_database_is_noticed(server: ServerProcess) -> None:
    repository = Repository(Client(server.port), "team/app")
    wait_for_sequence(server.data_dir, 1)
    pushed = push_image(repository, "v1")
    server.kill()
    (server.data_dir / "moorage.db-wal").unlink()

    server.start()

    assert repository.send("GET", "manifests/v1").status == 404
    check_mistrusted(server, lost=2)
    push_image(repository, "v2")
    for blob in pushed.blobs:
        repository.push_blob(blob)
    assert (
        repository.put_manifest(pushed.manifest, "v1", "application/vnd.oci.image.manifest.v1+json").status
        == 201
    )


def test_f19_older_database_under_newer_files_is_noticed(server: ServerProcess, tmp_path: Path) -> None:
    repository = Repository(Client(server.port), "team/app")
    wait_for_sequence(server.data_dir, 1)
    push_image(repository, "v1")
    server.terminate()
    shutil.copy(server.data_dir / "moorage.db", tmp_path / "older.db")
    server.start()
    wait_for_sequence(server.data_dir, 2)
    push_image(repository, "v2")
    server.terminate()
    for name in ("moorage.db-wal", "moorage.db-shm"):
        (server.data_dir / name).unlink(missing_ok=True)
    shutil.copy(tmp_path / "older.db", server.data_dir / "moorage.db")

    server.start()

    assert repository.send("GET", "manifests/v1").status == 200
    assert repository.send("GET", "manifests/v2").status == 404
    check_mistrusted(server, lost=2)


def test_folder_that_was_put_back_as_a_whole_is_trusted(server: ServerProcess, tmp_path: Path) -> None:
    repository = Repository(Client(server.port), "team/app")
    wait_for_sequence(server.data_dir, 1)
    push_image(repository, "v1")
    server.terminate()
    shutil.copytree(server.data_dir, tmp_path / "older")
    server.start()
    wait_for_sequence(server.data_dir, 2)
    push_image(repository, "v2")
    server.terminate()
    shutil.rmtree(server.data_dir)
    shutil.copytree(tmp_path / "older", server.data_dir)

    server.start()

    assert Client(server.port).send("GET", "/readyz").json == {"status": "ready"}
    assert server.log_events("store_mistrusted") == []
