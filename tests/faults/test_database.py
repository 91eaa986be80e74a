"""The database held by another: a refusal in good time, nothing half done, reads as ever."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import apsw
import pytest

from tests.content import OCI_MANIFEST, digest_of, encode, image, some_bytes
from tests.faults.images import check_folder, check_image, check_unavailable, push_image
from tests.servers import ServerProcess
from tests.spec.client import Repository


@pytest.fixture
def outsider(server: ServerProcess) -> Iterator[apsw.Connection]:
    """Another program's connection to the database, which waits its turn."""
    connection = apsw.Connection(str(server.data_dir / "moorage.db"))
    connection.set_busy_timeout(10_000)
    yield connection
    connection.close()


def test_f21_database_locked_for_long_is_told_after_five_seconds_and_nothing_is_half_done(
    server: ServerProcess, repository: Repository, outsider: apsw.Connection
) -> None:
    old = push_image(repository, "old")
    layer = some_bytes(50_000)
    digest = repository.push_blob(layer)
    new = encode(image(old.blobs[0], [layer]))
    location = repository.begin()
    content = some_bytes(60_000)
    typed = [("Content-Type", OCI_MANIFEST)]
    outsider.execute("BEGIN IMMEDIATE")

    def timed(request: tuple[str, str, bytes]) -> tuple[float, int, str | None]:
        started = time.monotonic()
        reply = repository.client.send(*request, typed)
        check_unavailable(reply, 503)
        return time.monotonic() - started, reply.status, reply["Retry-After"]

    requests = [
        ("POST", repository.path("blobs/uploads/"), b""),
        ("PUT", f"{location}?digest={digest_of(content)}", content),
        ("PUT", repository.path("manifests/new"), new),
        ("DELETE", repository.path(f"blobs/{digest}"), b""),
    ]
    with ThreadPoolExecutor(len(requests)) as clients:
        waiting = [clients.submit(timed, request) for request in requests]
        time.sleep(1)
        started = time.monotonic()
        check_image(repository, old)
        read_s = time.monotonic() - started
        told = [each.result() for each in waiting]

    assert read_s < 4
    # those that came while another waited may wait a second time
    assert all(4.5 < seconds < 11.5 for seconds, _, _ in told), told
    assert min(seconds for seconds, _, _ in told) < 6.5, told
    outsider.execute("ROLLBACK")
    assert repository.send("GET", "manifests/new").status == 404
    assert repository.send("HEAD", f"blobs/{digest}").status == 200
    assert [repository.client.send(*request, typed).status for request in requests[:3]] == [202, 201, 201]
    check_folder(server.data_dir)


def test_f21_database_locked_for_a_moment_is_waited_for(
    repository: Repository, outsider: apsw.Connection, content: bytes
) -> None:
    outsider.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(1) as client:
        pushed = client.submit(repository.push_blob, content)
        time.sleep(1)
        outsider.execute("ROLLBACK")

        assert pushed.result() == digest_of(content)


def test_f21_a_reader_that_stays_keeps_no_one_from_writing(
    server: ServerProcess, repository: Repository, outsider: apsw.Connection
) -> None:
    old = push_image(repository, "old")
    outsider.execute("BEGIN")
    before = outsider.execute("SELECT count(*) FROM tag").fetchall()

    for number in range(100):
        reply = repository.put_manifest(old.manifest, f"v{number}", OCI_MANIFEST)
        assert reply.status == 201

    assert outsider.execute("SELECT count(*) FROM tag").fetchall() == before
    outsider.execute("COMMIT")
    check_folder(server.data_dir)
