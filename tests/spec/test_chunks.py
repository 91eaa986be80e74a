"""Endpoints 5, 6 and 13: a blob pushed in chunks, and taken up again where it broke off."""

import concurrent.futures
import time

import pytest

from tests.content import MIB, digest_of, some_bytes
from tests.spec.client import Framing, Reply, Repository


@pytest.fixture
def location(repository: Repository) -> str:
    return repository.begin()


@pytest.fixture
def halfway(repository: Repository, location: str, content: bytes) -> str:
    """An upload that has the first 1000 bytes of `content`."""
    assert patch(repository, location, content[:1000]).status == 202
    return location


def patch(repository: Repository, location: str, body: bytes, content_range: str | None = None) -> Reply:
    headers = [("Content-Type", "application/octet-stream")]
    if content_range is not None:
        headers.append(("Content-Range", content_range))
    return repository.follow(location, "PATCH", body, headers)


def close(
    repository: Repository, location: str, content: bytes, body: bytes = b"", content_range: str | None = None
) -> Reply:
    """The closing PUT of an upload that is to be `content`."""
    headers = [] if content_range is None else [("Content-Range", content_range)]
    return repository.follow(location, "PUT", body, headers, f"digest={digest_of(content)}")


def test_chunk_is_202_with_the_last_byte_that_counts(
    repository: Repository, location: str, content: bytes
) -> None:
    reply = patch(repository, location, content[:1000], "0-999")

    assert (reply.status, reply["Range"]) == (202, "0-999")
    assert reply["Location"].startswith(repository.path("blobs/uploads/"))


def test_blob_is_pushed_chunk_by_chunk(repository: Repository, location: str, content: bytes) -> None:
    for first in range(0, len(content), 500):
        chunk = content[first : first + 500]
        reply = patch(repository, location, chunk, f"{first}-{first + len(chunk) - 1}")
        assert reply["Range"] == f"0-{first + len(chunk) - 1}"
        location = reply["Location"]

    assert close(repository, location, content).status == 201
    assert repository.send("GET", f"blobs/{digest_of(content)}").body == content


@pytest.mark.parametrize("content_range", ["1000-2047", None], ids=["placed", "case 7: not placed"])
def test_closing_put_may_bring_the_last_chunk(
    repository: Repository, halfway: str, content: bytes, content_range: str | None
) -> None:
    reply = close(repository, halfway, content, content[1000:], content_range)

    assert reply.status == 201
    assert repository.client.send("GET", reply["Location"]).body == content


def test_blob_is_pushed_in_one_stream_without_a_length(repository: Repository, location: str) -> None:
    content = some_bytes(2 * MIB + 3)

    reply = repository.client.send("PATCH", location, content, framing="chunked")

    assert (reply.status, reply["Range"]) == (202, f"0-{len(content) - 1}")
    assert close(repository, location, content).status == 201


def test_stream_is_added_to_what_is_there(repository: Repository, halfway: str, content: bytes) -> None:
    """Case 5: no Content-Range is always in order."""
    reply = patch(repository, halfway, content[1000:])

    assert (reply.status, reply["Range"]) == (202, f"0-{len(content) - 1}")
    assert close(repository, halfway, content).status == 201


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_placed_chunk_may_come_with_any_framing(
    repository: Repository, location: str, content: bytes, framing: Framing
) -> None:
    headers = [("Content-Range", f"0-{len(content) - 1}")]

    reply = repository.client.send("PATCH", location, content, headers, framing=framing)

    assert (reply.status, reply["Range"]) == (202, f"0-{len(content) - 1}")


def test_upload_says_how_far_it_is(repository: Repository, halfway: str) -> None:
    reply = repository.follow(halfway, "GET")

    assert (reply.status, reply["Range"], reply["Location"]) == (204, "0-999", halfway)


OUT_OF_ORDER = [
    pytest.param("1001-2047", id="case 1: a gap"),
    pytest.param("0-999", id="case 1: the same again"),
    pytest.param("999-1999", id="case 1: an overlap"),
    pytest.param("5000-5999", id="case 1: far off"),
    pytest.param("1999-1000", id="case 2: end before start"),
    pytest.param("bytes 1000-1999/*", id="case 2: with a unit"),
    pytest.param("bytes 1000-1999/2048", id="case 2: as in RFC 9110"),
    pytest.param("bytes=1000-1999", id="case 2: as a Range"),
    pytest.param("a-b", id="case 2: no numbers"),
    pytest.param("1000", id="case 2: one number"),
    pytest.param("1000-", id="case 2: no end"),
    pytest.param("-1000", id="case 2: no start"),
    pytest.param("", id="case 2: empty"),
    pytest.param("0x3e8-0x7cf", id="case 2: hexadecimal"),
    pytest.param("1_000-1_999", id="case 2: underscores"),
    pytest.param("+1000-+1999", id="case 2: signs"),
    pytest.param("18446744073709551616-18446744073709552615", id="case 2: past 64 bits"),
    pytest.param("1000-1999,", id="case 2: a comma behind"),
]


@pytest.mark.parametrize("content_range", OUT_OF_ORDER)
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_chunk_out_of_order_is_416_with_where_to_go_on(
    repository: Repository, halfway: str, content: bytes, method: str, content_range: str
) -> None:
    """Case 6 for the closing PUT."""
    chunk = content[1000:2000]
    if method == "PATCH":
        reply = patch(repository, halfway, chunk, content_range)
    else:
        reply = close(repository, halfway, content, chunk, content_range)

    assert (reply.status, reply.codes) == (416, ["BLOB_UPLOAD_INVALID"])
    assert (reply["Location"], reply["Range"]) == (halfway, "0-999")
    assert reply["Docker-Upload-UUID"] == halfway.rpartition("/")[2]


@pytest.mark.parametrize("content_range", OUT_OF_ORDER)
def test_chunk_out_of_order_leaves_the_upload_as_it_was(
    repository: Repository, halfway: str, content: bytes, content_range: str
) -> None:
    """Case 1."""
    patch(repository, halfway, content[1000:2000], content_range)

    assert repository.follow(halfway, "GET")["Range"] == "0-999"
    assert close(repository, halfway, content, content[1000:], "1000-2047").status == 201


def test_first_chunk_that_does_not_start_at_0_is_416(
    repository: Repository, location: str, content: bytes
) -> None:
    reply = patch(repository, location, content[:100], "1-100")

    assert (reply.status, reply["Range"]) == (416, "0-0")


WRONG_LENGTHS = [
    pytest.param("1000-2047", 500, "length", id="case 3: fewer bytes declared"),
    pytest.param("1000-1099", 500, "length", id="case 3: more bytes declared"),
    pytest.param("1000-2047", 500, "chunked", id="case 3: fewer bytes came"),
    pytest.param("1000-1099", 500, "chunked", id="case 3: more bytes came"),
    pytest.param("1000-1000", 0, "length", id="case 3: nothing came"),
]


@pytest.mark.parametrize(("content_range", "length", "framing"), WRONG_LENGTHS)
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_chunk_of_another_length_than_its_range_is_refused(
    repository: Repository,
    halfway: str,
    content: bytes,
    method: str,
    content_range: str,
    length: int,
    framing: Framing,
) -> None:
    headers = [("Content-Range", content_range)]

    reply = repository.client.send(
        method,
        f"{halfway}?digest={digest_of(content)}",
        content[1000 : 1000 + length],
        headers,
        framing=framing,
    )

    assert (reply.status, reply.codes) == (400, ["SIZE_INVALID"])


@pytest.mark.parametrize(("content_range", "length", "framing"), WRONG_LENGTHS)
def test_chunk_of_another_length_than_its_range_is_taken_back(
    repository: Repository, halfway: str, content: bytes, content_range: str, length: int, framing: Framing
) -> None:
    """Case 3."""
    repository.client.send(
        "PATCH",
        halfway,
        b"x" * length,
        [("Content-Range", content_range)],
        framing=framing,
    )

    assert repository.follow(halfway, "GET")["Range"] == "0-999"
    assert close(repository, halfway, content, content[1000:], "1000-2047").status == 201


def break_off(repository: Repository, method: str, target: str, body: bytes, length: int) -> None:
    """Send fewer bytes than were declared, then leave."""
    with repository.client.open() as connection:
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
        connection.sendall(head.encode() + body)
        time.sleep(0.05)


def wait_for_offset(repository: Repository, location: str) -> int:
    """How many bytes an upload has once its last writer let go of it."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        reply = repository.follow(location, "GET")
        if reply.status == 204 and patch(repository, location, b"").status == 202:
            return int(repository.follow(location, "GET")["Range"].removeprefix("0-")) + 1
        time.sleep(0.02)
    raise AssertionError("the upload is still held")


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_upload_whose_client_left_says_truly_how_far_it_is(
    repository: Repository, location: str, method: str
) -> None:
    """Case 4: what is counted is there, and what was sent at most."""
    content = some_bytes(3 * MIB)
    sent = 2 * MIB + 17
    break_off(repository, method, f"{location}?digest={digest_of(content)}", content[:sent], len(content))

    offset = wait_for_offset(repository, location)

    assert offset <= sent
    assert (
        close(repository, location, content, content[offset:], f"{offset}-{len(content) - 1}").status == 201
    )


def test_chunk_whose_client_left_spoils_nothing_before_it(
    repository: Repository, halfway: str, content: bytes
) -> None:
    """Case 4."""
    break_off(repository, "PATCH", halfway, content[1000:1500], 1048)

    offset = wait_for_offset(repository, halfway)

    assert 1000 <= offset <= 1500
    assert close(repository, halfway, content, content[offset:]).status == 201


def test_single_post_whose_client_left_makes_no_blob(repository: Repository) -> None:
    content = some_bytes(MIB)
    target = f"{repository.path('blobs/uploads/')}?digest={digest_of(content)}"
    break_off(repository, "POST", target, content[:1000], len(content))

    assert repository.send("HEAD", f"blobs/{digest_of(content)}").status == 404


def test_two_writers_of_one_upload_never_mix_their_bytes(repository: Repository, location: str) -> None:
    """Case 12."""
    chunks = [bytes([number]) * MIB for number in range(4)]

    with concurrent.futures.ThreadPoolExecutor(len(chunks)) as threads:
        replies = list(threads.map(lambda chunk: patch(repository, location, chunk, f"0-{MIB - 1}"), chunks))

    winners = [chunk for chunk, reply in zip(chunks, replies, strict=True) if reply.status == 202]
    assert {reply.status for reply in replies} <= {202, 409, 416}
    assert len(winners) == 1
    assert close(repository, location, winners[0]).status == 201


def test_two_requests_that_close_one_upload_make_one_blob(repository: Repository, location: str) -> None:
    """Case 12."""
    content = some_bytes(MIB)
    patch(repository, location, content)

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        replies = list(threads.map(lambda _: close(repository, location, content), range(4)))

    assert min(reply.status for reply in replies) == 201
    assert {reply.status for reply in replies} <= {201, 404, 409}
    assert repository.send("GET", f"blobs/{digest_of(content)}").body == content


def test_empty_chunk_changes_nothing(repository: Repository, halfway: str) -> None:
    reply = patch(repository, halfway, b"")

    assert (reply.status, reply["Range"]) == (202, "0-999")


def test_empty_blob_is_pushed_through_a_chunk(repository: Repository, location: str) -> None:
    """Case 15."""
    patched = repository.client.send("PATCH", location, b"", framing="chunked")

    assert patched.status == 202
    assert close(repository, location, b"").status == 201


def test_digest_of_chunks_is_of_the_whole(repository: Repository, halfway: str, content: bytes) -> None:
    """A digest of what came last only would let a wrong blob in."""
    reply = repository.follow(halfway, "PUT", content[1000:], query=f"digest={digest_of(content[1000:])}")

    assert reply.status == 400


def test_digest_of_the_first_chunk_is_not_of_the_whole(
    repository: Repository, halfway: str, content: bytes
) -> None:
    reply = repository.follow(halfway, "PUT", content[1000:], query=f"digest={digest_of(content[:1000])}")

    assert reply.status == 400


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_upload_in_many_chunks_is_hashed_whole(repository: Repository, algorithm: str) -> None:
    """Case 23: no hash outlives a request, so the file is read again."""
    content = some_bytes(5 * MIB)
    location = repository.begin()
    for first in range(0, len(content), MIB):
        patch(repository, location, content[first : first + MIB])

    reply = repository.follow(location, "PUT", query=f"digest={digest_of(content, algorithm)}")

    assert reply.status == 201
    assert repository.client.send("GET", reply["Location"]).body == content
