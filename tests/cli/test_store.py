"""`moorage store`, `scrub`, `verify` and `backup` as a person runs them, beside a server and without one."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commands import moorage
from tests.content import digest_of, encode, image, index, some_bytes
from tests.lifecycle.keeping import flip
from tests.servers import ServerProcess
from tests.spec.client import Client, Repository


@pytest.fixture
def own(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "data", "--workers", "1") as server:
        yield server


@pytest.fixture
def layer(own: ServerProcess) -> bytes:
    """Of an index of one image, team/app:v1."""
    repository = Repository(Client(own.port), "team/app")
    config, layer = some_bytes(64), some_bytes(100_000)
    repository.push_blob(config)
    repository.push_blob(layer)
    child = image(config, [layer])
    repository.push_manifest(child)
    repository.push_manifest(index([child]), "v1")
    return layer


def file_of(own: ServerProcess, content: bytes) -> Path:
    (path,) = (own.data_dir / "blobs").rglob(f"{digest_of(content)[7:]}.*")
    return path


@pytest.fixture(params=["beside a server", "on a folder at rest"])
def where(request: pytest.FixtureRequest, own: ServerProcess, layer: bytes) -> tuple[object, ...]:
    """Who does the job: the server's worker, or the command itself."""
    if request.param == "on a folder at rest":
        own.terminate()
    return "--data", own.data_dir


def test_store_check_tells_which_image_to_push_again(
    own: ServerProcess, layer: bytes, where: tuple[object, ...]
) -> None:
    file_of(own, layer).unlink()

    checked = moorage("store", "check", *where)

    assert checked.code == 1
    assert (
        f"✗ blob missing (1): a blob has no file; it is 404 until it is pushed again\n    {digest_of(layer)}"
        in checked.out
    )
    assert "needed by team/app:v1" in checked.out
    damaged = moorage("store", "damaged", "--json", *where).json()
    assert damaged == [{"digest": digest_of(layer), "images": ["team/app:v1"]}]
    status = moorage("store", "status", "--json", *where).json()
    assert (status["damaged_blobs"], status["mistrusted"], status["report"]["counts"]) == (
        1,
        None,
        {"blob_missing": 1},
    )


def test_sound_store_is_told_to_be(own: ServerProcess, where: tuple[object, ...]) -> None:
    checked = moorage("store", "check", *where).check()

    assert checked.out.splitlines() == [
        "2 blobs of 97.7 KiB in 2 files, 2 manifests",
        "✓ rows and files belong together",
    ]


def test_scrub_run_now_reads_everything(own: ServerProcess, layer: bytes, where: tuple[object, ...]) -> None:
    clean = moorage("scrub", "run", "--now", "--json", *where).json()
    flip(file_of(own, layer))
    damaged = moorage("scrub", "run", "--now", *where)

    assert (clean["blobs"], clean["manifests"], clean["damaged"]) == (2, 2, 0)
    assert damaged.code == 1
    assert "2 blobs of 97.7 KiB and 2 manifests read, 1 damaged" in damaged.out
    assert f"✗ {digest_of(layer)}: wrong bytes" in damaged.out
    status = moorage("scrub", "status", "--json", *where).json()
    assert (status["is_under_way"], status["damaged"], status["total_blobs"]) == (False, 1, 1)


def test_what_was_damaged_before_is_told_until_it_is_pushed_again(own: ServerProcess, layer: bytes) -> None:
    where = ("--data", own.data_dir)
    moorage("store", "check", *where).check()
    flip(file_of(own, layer))
    first = moorage("scrub", "run", "--now", *where)
    second = moorage("scrub", "run", "--now", *where)
    status = moorage("store", "status", *where)
    Repository(Client(own.port), "team/app").push_blob(layer)
    third = moorage("scrub", "run", "--now", *where).check()

    assert (first.code, "damaged before" in first.out) == (1, False)
    assert second.code == 1
    assert "read, 0 damaged\n✗ 1 damaged before, not pushed again yet: moorage store damaged" in second.out
    assert "✗ damaged since that check: 1 blob; see moorage store damaged" in status.out
    assert "✓" not in status.out
    assert "damaged before" not in third.out


@pytest.mark.parametrize("image", ["team/app:v1", "team/app"])
def test_verify_reads_an_image_end_to_end(
    own: ServerProcess, layer: bytes, where: tuple[object, ...], image: str
) -> None:
    whole = moorage("verify", image, *where).check()
    flip(file_of(own, layer))
    spoiled = moorage("verify", image, *where)

    assert f"✓ {image}: 2 manifests and 2 blobs read, " in whole.out
    assert spoiled.code == 1
    assert f"✗ layer {digest_of(layer)}: wrong bytes" in spoiled.out


@pytest.mark.parametrize(
    ("image", "said"),
    [("team/app:none", "manifest unknown"), ("team/app:", "want REPO"), ("team/app@", "want REPO")],
)
def test_verify_of_what_is_not_there_says_so(own: ServerProcess, layer: bytes, image: str, said: str) -> None:
    answer = moorage("verify", image, "--data", own.data_dir)

    assert answer.code
    assert said in answer.err


def test_verify_by_digest(own: ServerProcess) -> None:
    repository = Repository(Client(own.port), "team/app")
    document = repository.push_image()

    found = moorage(
        "verify", f"team/app@{digest_of(encode(document))}", "--json", "--data", own.data_dir
    ).json()

    assert (found["manifests"], found["blobs"], found["faults"]) == (1, 2, [])


def test_backup_and_restore_say_what_they_did(own: ServerProcess, layer: bytes, tmp_path: Path) -> None:
    made = moorage("backup", tmp_path / "backups", "--data", own.data_dir).check()
    (generation,) = (path.name for path in (tmp_path / "backups" / "generations").iterdir())
    listed = moorage("backup", tmp_path / "backups", "--list").check()
    restored = moorage("restore", tmp_path / "backups", "--data", tmp_path / "new").check()

    assert made.out == f"{generation} in {tmp_path}/backups: 2 blobs of 97.7 KiB (2 copied)\n"
    assert generation in listed.out
    assert "2 blobs of 97.7 KiB, each compared with its digest." in restored.out
    assert f"moorage serve --data {tmp_path}/new" in restored.out


def test_backup_without_a_folder_is_refused(own: ServerProcess) -> None:
    assert "backup.folder" in moorage("backup", "--data", own.data_dir).refusal


def test_mistrusted_store_is_told(own: ServerProcess, layer: bytes) -> None:
    own.terminate()
    (own.data_dir / "moorage.sequence").write_text("99\n")

    status = moorage("store", "status", "--json", "--data", own.data_dir).json()
    checked = moorage("store", "check", "--data", own.data_dir)

    assert "older than its files" in status["mistrusted"]
    assert "✗ the store is mistrusted: " in checked.out
    accepted = moorage("store", "accept", "--data", own.data_dir).check()
    assert accepted.out == "The store is trusted.\n"
    assert json.loads(moorage("store", "status", "--json", "--data", own.data_dir).out)["mistrusted"] is None


def test_job_that_is_followed_says_by_its_exit_code_whether_it_was_done(
    own: ServerProcess, layer: bytes, where: tuple[object, ...]
) -> None:
    """A script that starts a job by the API waits for it so."""
    moorage("verify", "team/app:v1", *where).check()
    (done,) = moorage("jobs", "list", "--kind", "verify", "--json", *where).json()
    moorage("verify", "team/app:none", *where)
    (failed,) = moorage("jobs", "list", "--kind", "verify", "--state", "failed", "--json", *where).json()

    whole = moorage("jobs", "show", done["id"], "--follow", *where)
    lost = moorage("jobs", "show", failed["id"], "--follow", *where)

    assert (whole.code, lost.code) == (0, 1)
    assert "manifest unknown" in lost.out
    # only who follows is told so: to look is no failure
    assert moorage("jobs", "show", failed["id"], *where).code == 0
