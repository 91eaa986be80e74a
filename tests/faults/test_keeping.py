"""What is kept because a client was told so, and what is dropped because no one came back for it."""

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import apsw
import pytest

from moorage.lifecycle.store.sequence import Sequence
from moorage.lifecycle.sweep import Sweep
from moorage.registry.blobs.second_digest import SecondDigests
from tests.content import OCI_MANIFEST, digest_of, encode, image, some_bytes
from tests.crash.checking import audit
from tests.crash.inprocess import LocalRegistry, prepare
from tests.servers import ServerProcess
from tests.spec.client import Client, Repository

DAY_MS = 24 * 3600 * 1000
OTHER = "team/other"
PATH = "/v2/team/app"


class Leases:
    """The table `lease`, read and changed from outside."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def left_ms(self, repository: str, digest: str) -> float:
        """How long a blob is kept from now on; 0 without a lease."""
        row = self._connection.execute(
            "SELECT l.until FROM lease l JOIN repository r ON r.id = l.repository"
            " WHERE r.name = ? AND l.digest = ?",
            (repository, digest),
        ).fetchone()
        return row[0] - time.time() * 1000 if row else 0

    def drop(self) -> None:
        self._connection.execute("DELETE FROM lease")


@pytest.fixture
def leases(server: ServerProcess) -> Iterator[Leases]:
    connection = apsw.Connection(str(server.data_dir / "moorage.db"))
    connection.set_busy_timeout(5000)
    yield Leases(connection)
    connection.close()


def skip_by_upload(repository: Repository, digest: str, content: bytes) -> str:
    repository.push_blob(content)
    return repository.name


def skip_by_head(repository: Repository, digest: str, content: bytes) -> str:
    assert repository.send("HEAD", f"blobs/{digest}").status == 200
    return repository.name


def skip_by_mount(repository: Repository, digest: str, content: bytes) -> str:
    target = f"/v2/{OTHER}/blobs/uploads/?mount={digest}&from={repository.name}"
    assert repository.client.send("POST", target).status == 201
    return OTHER


@pytest.mark.parametrize(
    "skip",
    [
        pytest.param(skip_by_upload, id="D1 201"),
        pytest.param(skip_by_head, id="D1 HEAD 200"),
        pytest.param(skip_by_mount, id="D1 mount 201"),
    ],
)
def test_answer_that_lets_a_client_skip_work_keeps_the_blob_for_a_day(
    repository: Repository, leases: Leases, content: bytes, skip: Callable[[Repository, str, bytes], str]
) -> None:
    digest = repository.push_blob(content)
    leases.drop()

    name = skip(repository, digest, content)

    # after a HEAD the lease follows the reply
    deadline = time.monotonic() + 5
    while not leases.left_ms(name, digest) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert DAY_MS - 60_000 < leases.left_ms(name, digest) <= DAY_MS


def test_upload_that_no_one_came_back_for_is_dropped_with_its_bytes(tmp_path: Path) -> None:
    config = tmp_path / "moorage.toml"
    config.write_text('[uploads]\nexpiry = "1s"\n')
    with ServerProcess(tmp_path / "data", "--workers", "2", "--config", str(config)) as server:
        repository = Repository(Client(server.port))
        location = repository.begin()
        assert repository.follow(location, "PATCH", some_bytes(1000)).status == 202
        time.sleep(1.2)

        # the first sweep comes with the start, the next after ten seconds
        server.restart()

        server.wait_for_event("upload_expired")
        assert repository.client.send("GET", location).status == 404
        assert list((server.data_dir / "uploads").iterdir()) == []


JUMPS = [timedelta(days=1), timedelta(days=-1), timedelta(days=3650), timedelta(days=-3650)]


@pytest.mark.parametrize("jump", JUMPS, ids=lambda jump: f"F40 {jump.days:+} days")
def test_clock_that_jumps_costs_nothing_that_is_live(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: timedelta
) -> None:
    prepare(tmp_path)
    layer, loose = some_bytes(3000), some_bytes(2000)
    manifest = encode(image(b"{}", [layer]))

    async def scenario() -> None:
        async with LocalRegistry.open(tmp_path) as registry:
            for blob in (b"{}", layer, loose):
                target = f"{PATH}/blobs/uploads/?digest={digest_of(blob)}"
                assert (await registry.ask("POST", target, blob)).status == 201
            typed = {"Content-Type": OCI_MANIFEST}
            assert (await registry.ask("PUT", f"{PATH}/manifests/v1", manifest, typed)).status == 201
            now_ns = time.time_ns() + int(jump.total_seconds() * 1e9)
            monkeypatch.setattr(time, "time_ns", lambda: now_ns)

            for _ in range(3):
                await sweep(registry)

            assert (await registry.ask("GET", f"{PATH}/manifests/v1")).body == manifest
            for blob in (b"{}", layer, loose):
                assert (await registry.ask("GET", f"{PATH}/blobs/{digest_of(blob)}")).body == blob
            again = await registry.ask("POST", f"{PATH}/blobs/uploads/?digest={digest_of(layer)}", layer)
            assert again.status == 201

    asyncio.run(scenario())
    assert audit(tmp_path) == []


async def sweep(registry: LocalRegistry) -> None:
    """What a worker does every ten seconds, once."""
    second_digests = SecondDigests(registry.db, registry.store, registry.disk)
    sequence = Sequence(registry.db, registry.data)
    await Sweep(
        registry.data / "sweep.lock", registry.db, registry.uploads, second_digests, sequence
    )._sweep()
