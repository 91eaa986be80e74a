"""An fsync that fails is final: nothing is kept of the request, pushes end, pulls go on."""

import asyncio
import errno
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from moorage.databases import sqlite
from tests.content import digest_of, some_bytes
from tests.crash.checking import audit
from tests.crash.inprocess import LocalRegistry, prepare

PATH = "/v2/team/app"
UPLOADS = f"{PATH}/blobs/uploads/"


class FailingSync:
    """`os.fsync` that fails for the first file whose path is like this; counts what it failed."""

    def __init__(self, code: int, is_meant: Callable[[Path], bool]) -> None:
        self.failed = 0
        self._code = code
        self._is_meant = is_meant
        self._sync = os.fsync

    def __call__(self, fd: int) -> None:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        if not self.failed and self._is_meant(path):
            self.failed += 1
            raise OSError(self._code, os.strerror(self._code))
        self._sync(fd)


def is_upload(path: Path) -> bool:
    return path.parent.name == "uploads"


def is_uploads_folder(path: Path) -> bool:
    return path.name == "uploads"


def is_shards_folder(path: Path) -> bool:
    return path.name == "sha256"


def is_shard(path: Path) -> bool:
    return path.parent.name == "sha256"


PLACES = [
    pytest.param(is_upload, id="F7 the blob's file"),
    pytest.param(is_uploads_folder, id="F8 the folder of uploads"),
    pytest.param(is_shards_folder, id="F8 the folder of shards"),
    pytest.param(is_shard, id="F8 the shard"),
]


@pytest.mark.parametrize("is_meant", PLACES)
@pytest.mark.parametrize("way", ["POST", "PUT"])
def test_sync_that_fails_ends_pushes_and_leaves_nothing_of_the_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_meant: Callable[[Path], bool], way: str
) -> None:
    prepare(tmp_path)
    # of two shards: the second has its folder made
    old, content = b"old" * 700, b"new" * 1000
    failing = FailingSync(errno.EIO, is_meant)

    async def scenario() -> None:
        async with LocalRegistry.open(tmp_path) as registry:
            pushed = await registry.ask("POST", f"{UPLOADS}?digest={digest_of(old)}", old)
            assert pushed.status == 201
            target = UPLOADS
            if way == "PUT":
                target = (await registry.ask("POST", UPLOADS)).headers["location"]
            monkeypatch.setattr(os, "fsync", failing)

            failed = await registry.ask(way, f"{target}?digest={digest_of(content)}", content)

            assert (failed.status, failing.failed) == (500, 1)
            assert json.loads(failed.body)["errors"]
            assert (await registry.ask("HEAD", f"{PATH}/blobs/{digest_of(content)}")).status == 404
            assert list((tmp_path / "uploads").iterdir()) == []
            ready = await registry.ask("GET", "/readyz")
            assert ready.status == 503
            assert "fsync" in json.loads(ready.body)["reason"]
            for request in [("POST", UPLOADS), ("DELETE", f"{PATH}/blobs/{digest_of(old)}")]:
                refused = await registry.ask(*request)
                assert refused.status == 503
                assert int(refused.headers["retry-after"]) >= 1
            assert (await registry.ask("GET", f"{PATH}/blobs/{digest_of(old)}")).body == old

    asyncio.run(scenario())
    assert audit(tmp_path) == []


@pytest.mark.parametrize("is_meant", PLACES)
def test_after_a_restart_the_push_that_failed_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_meant: Callable[[Path], bool]
) -> None:
    prepare(tmp_path)
    content = some_bytes(3000)
    target = f"{UPLOADS}?digest={digest_of(content)}"

    async def push() -> int:
        async with LocalRegistry.open(tmp_path) as registry:
            return (await registry.ask("POST", target, content)).status

    with monkeypatch.context() as failing:
        failing.setattr(os, "fsync", FailingSync(errno.EIO, is_meant))
        assert asyncio.run(push()) == 500

    assert asyncio.run(push()) == 201
    assert audit(tmp_path) == []


def test_f12_short_writes_and_interrupted_ones_make_the_blob_they_should(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path)
    content = some_bytes(1_500_000)
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, rest, offset: write(fd, rest[:100_001], offset))

    async def scenario() -> None:
        async with LocalRegistry.open(tmp_path) as registry:
            target = f"{UPLOADS}?digest={digest_of(content)}"
            assert (await registry.ask("POST", target, content)).status == 201
            assert (await registry.ask("GET", f"{PATH}/blobs/{digest_of(content)}")).body == content

    asyncio.run(scenario())


def test_f12_write_that_writes_nothing_is_no_endless_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """POSIX lets a write return 0; a disk that does so for ever must not take a thread along."""
    prepare(tmp_path)
    content = some_bytes(3000)
    left = [10_000]

    def write_nothing(fd: int, rest: bytes, offset: int) -> int:
        left[0] -= 1
        if not left[0]:
            raise OSError(errno.EIO, "the test's patience is over")
        return 0

    monkeypatch.setattr(os, "pwrite", write_nothing)

    async def scenario() -> int:
        async with LocalRegistry.open(tmp_path) as registry:
            return (await registry.ask("POST", f"{UPLOADS}?digest={digest_of(content)}", content)).status

    assert asyncio.run(scenario()) in {500, 503, 507}
    assert left[0] > 0


class LateRename:
    """`os.rename` of which the first call waits until it is released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.arrived, self.released = threading.Event(), threading.Event()
        self._rename = os.rename
        monkeypatch.setattr(os, "rename", self)

    def __call__(self, source: Path, destination: Path) -> None:
        if not self.arrived.is_set():
            self.arrived.set()
            self.released.wait(10)
        self._rename(source, destination)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=["F9 no room", "F8 failed"])
def test_blob_that_another_push_made_live_outlives_a_rename_that_could_not_be_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Both push the same bytes; the first is held before its rename until the second is acknowledged."""
    prepare(tmp_path)
    content = some_bytes(3000)
    target = f"{UPLOADS}?digest={digest_of(content)}"
    late = LateRename(monkeypatch)

    async def scenario() -> None:
        async with LocalRegistry.open(tmp_path) as registry:
            first = asyncio.create_task(registry.ask("POST", target, content))
            await asyncio.to_thread(late.arrived.wait, 10)
            second = await registry.ask("POST", target, content)
            assert second.status == 201
            monkeypatch.setattr(os, "fsync", FailingSync(code, is_shard))

            late.released.set()
            refused = await first

            assert refused.status == (507 if code == errno.ENOSPC else 500)
            served = await registry.ask("GET", f"{PATH}/blobs/{digest_of(content)}")
            assert (served.status, served.body) == (200, content)

    asyncio.run(scenario())
    assert audit(tmp_path) == []


@pytest.mark.parametrize("counted", [0, 3000], ids=["in one piece", "in chunks"])
def test_blob_that_another_push_made_live_outlives_an_upload_of_it_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: int
) -> None:
    """As above, but it is the first one's row that cannot be written; its client then sends other bytes."""
    prepare(tmp_path)
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 100)
    content = some_bytes(3000)
    digest = digest_of(content)
    late = LateRename(monkeypatch)

    async def scenario() -> None:
        async with LocalRegistry.open(tmp_path) as registry:
            location = (await registry.ask("POST", UPLOADS)).headers["location"]
            if counted:
                assert (await registry.ask("PATCH", location, content[:counted])).status == 202
            first = asyncio.create_task(registry.ask("PUT", f"{location}?digest={digest}", content[counted:]))
            await asyncio.to_thread(late.arrived.wait, 10)
            second = await registry.ask("POST", f"{UPLOADS}?digest={digest}", content)
            assert second.status == 201
            outsider = apsw.Connection(str(tmp_path / "moorage.db"))
            outsider.execute("BEGIN IMMEDIATE")
            late.released.set()
            refused = await first
            outsider.execute("ROLLBACK")
            outsider.close()
            assert refused.status == 503

            changed = content[:counted] + b"other bytes"
            assert (await registry.ask("PATCH", location, b"other bytes")).status == 202
            closed = await registry.ask("PUT", f"{location}?digest={digest_of(changed)}")

            assert closed.status == 201
            for each in (content, changed):
                served = await registry.ask("GET", f"{PATH}/blobs/{digest_of(each)}")
                assert (served.status, served.body) == (200, each)
            assert list((tmp_path / "uploads").iterdir()) == []

    asyncio.run(scenario())
    assert audit(tmp_path) == []


class SyncsSeen:
    """`os.fsync` that remembers which files it was for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        self._sync = os.fsync
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, fd: int) -> None:
        self.names.append(Path(f"/proc/self/fd/{fd}").readlink().name)
        self._sync(fd)


def test_shard_that_another_process_made_is_synced_before_the_blob_is_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other may not have synced it yet, or may have died before it did."""
    prepare(tmp_path)
    content = some_bytes(3000)
    (tmp_path / "blobs" / "sha256" / digest_of(content)[7:9]).mkdir(mode=0o700)
    seen = SyncsSeen(monkeypatch)

    async def scenario() -> int:
        async with LocalRegistry.open(tmp_path) as registry:
            return (await registry.ask("POST", f"{UPLOADS}?digest={digest_of(content)}", content)).status

    assert asyncio.run(scenario()) == 201
    assert "sha256" in seen.names


def test_upload_whose_first_request_was_refused_has_its_name_synced_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path)

    async def scenario() -> list[str]:
        async with LocalRegistry.open(tmp_path) as registry:
            location = (await registry.ask("POST", UPLOADS)).headers["location"]
            refused = await registry.ask("PATCH", location, b"abc", {"content-range": "5-7"})
            assert refused.status == 416
            seen = SyncsSeen(monkeypatch)
            assert (await registry.ask("PATCH", location, b"abc")).status == 202
            return seen.names

    assert "uploads" in asyncio.run(scenario())
