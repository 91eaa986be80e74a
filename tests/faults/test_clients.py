"""Clients that leave, come twice or come together: bytes are kept once, counted right and never mixed."""

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from tests.content import digest_of, some_bytes
from tests.crash.checking import count_orphans
from tests.faults.images import check_folder, resume
from tests.faults.means import begin_request, wait_until
from tests.servers import ServerProcess
from tests.spec.client import Client, Reply, Repository

MIB = 1 << 20
ATTEMPTS = 5


def head_of(method: str, target: str, length: int) -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: registry.test\r\nContent-Length: {length}\r\n\r\n".encode()


def received(client: Client, location: str) -> int:
    standing = client.send("GET", location)
    assert standing.status == 204, standing
    last = int(standing["Range"].partition("-")[2])
    return last + 1 if last else 0


@pytest.mark.parametrize("sent", [1000, 300_000, 3 * MIB])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_f30_client_that_leaves_midway_goes_on_from_where_its_bytes_are_kept(
    repository: Repository, method: str, sent: int
) -> None:
    content = some_bytes(4 * MIB)
    location = repository.begin()
    query = f"?digest={digest_of(content)}" if method == "PUT" else ""
    with repository.client.open() as connection:
        connection.sendall(head_of(method, f"{location}{query}", len(content)) + content[:sent])
        time.sleep(0.3)

    wait_until(lambda: received(repository.client, location) > 0)

    assert received(repository.client, location) <= sent
    resume(repository, location, content)


def test_f30_bytes_are_counted_from_the_last_acknowledged_chunk_on(repository: Repository) -> None:
    content = some_bytes(MIB)
    location = repository.begin()
    assert repository.follow(location, "PATCH", content[:300_000]).status == 202
    with repository.client.open() as connection:
        claim = b"Content-Range: 300000-%d\r\n\r\n" % (MIB - 1)
        head = head_of("PATCH", location, MIB - 300_000)
        connection.sendall(head.removesuffix(b"\r\n") + claim + content[300_000:500_000])
        time.sleep(0.3)

    wait_until(lambda: received(repository.client, location) > 300_000)

    resume(repository, location, content)


@pytest.mark.parametrize("attempt", range(ATTEMPTS))
def test_f31_client_that_leaves_before_the_reply_finds_the_blob_or_closes_again(
    server: ServerProcess, repository: Repository, attempt: int
) -> None:
    content = some_bytes(300_000)
    digest = digest_of(content)
    location = repository.begin()
    closing = f"{location}?digest={digest}"
    with repository.client.open() as connection:
        connection.sendall(head_of("PUT", closing, len(content)) + content)
        time.sleep(attempt * 0.002)

    wait_until(lambda: repository.send("HEAD", f"blobs/{digest}").status == 200)

    again = repository.client.send("PUT", closing, content)
    assert again.status in {201, 404}
    assert repository.send("GET", f"blobs/{digest}").body == content
    check_folder(server.data_dir)


@pytest.mark.parametrize("attempt", range(ATTEMPTS))
def test_f32_of_two_that_close_one_upload_one_succeeds_and_one_file_is_kept(
    server: ServerProcess, repository: Repository, attempt: int
) -> None:
    content = some_bytes(MIB)
    digest = digest_of(content)
    location = repository.begin()

    def close(_: int) -> Reply:
        return repository.follow(location, "PUT", content, query=f"digest={digest}")

    with ThreadPoolExecutor(2) as clients:
        statuses = sorted(reply.status for reply in clients.map(close, range(2)))

    assert statuses[0] == 201
    assert statuses[1] in {201, 404, 409}
    assert repository.send("GET", f"blobs/{digest}").body == content
    assert len(list((server.data_dir / "blobs").rglob(f"{digest[7:]}.*"))) == 1
    check_folder(server.data_dir)


def test_f33_twenty_clients_that_push_one_blob_all_succeed_and_it_is_kept_once(
    server: ServerProcess, repository: Repository
) -> None:
    content = some_bytes(MIB)
    digest = digest_of(content)

    def push(number: int) -> str:
        return Repository(repository.client, f"team/{number % 4}").push_blob(content)

    with ThreadPoolExecutor(20) as clients:
        assert set(clients.map(push, range(20))) == {digest}

    assert len(list((server.data_dir / "blobs").rglob(f"{digest[7:]}.*"))) == 1
    assert count_orphans(server.data_dir) == 0
    for number in range(4):
        pulled = Repository(repository.client, f"team/{number}").send("GET", f"blobs/{digest}")
        assert pulled.body == content
    check_folder(server.data_dir)


@pytest.mark.parametrize("attempt", range(ATTEMPTS))
def test_b44_second_chunk_at_once_is_refused_and_bytes_are_not_mixed(
    repository: Repository, attempt: int
) -> None:
    content, other = some_bytes(2 * MIB), some_bytes(2 * MIB)
    location = repository.begin()
    with repository.client.open() as connection:
        begin_request(connection, "PATCH", location, len(content))
        connection.sendall(content[:MIB])

        refused = [repository.client.send("PATCH", location, other) for _ in range(4)]

        connection.sendall(content[MIB:])
        taken = connection.recv(4096)
    assert {reply.status for reply in refused} == {409}
    assert refused[0].codes == ["BLOB_UPLOAD_INVALID"]
    assert taken.startswith(b"HTTP/1.1 202 ")
    assert received(repository.client, location) == len(content)
    resume(repository, location, content)


def test_b44_chunks_that_race_through_both_workers_make_one_of_the_two_contents(
    server: ServerProcess, repository: Repository
) -> None:
    for first, second in pairwise(some_bytes(200_000) for _ in range(12)):
        location = repository.begin()
        with ThreadPoolExecutor(2) as clients:
            replies = list(
                clients.map(lambda body: repository.client.send("PATCH", location, body), (first, second))  # noqa: B023
            )
        taken = [body for body, reply in zip((first, second), replies, strict=True) if reply.status == 202]
        assert {reply.status for reply in replies} <= {202, 409}
        assert taken
        # both may have been taken, one after the other, in either order
        held = (server.data_dir / "uploads" / location.rpartition("/")[2]).read_bytes()
        assert held in {b"".join(taken), b"".join(reversed(taken))}
        assert repository.follow(location, "PUT", query=f"digest={digest_of(held)}").status == 201
    check_folder(server.data_dir)
