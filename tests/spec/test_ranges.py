"""Endpoint 2 with Range: RFC 9110 section 14."""

import email
import email.message
import email.policy

import pytest

from tests.content import EMPTY_DIGEST, MIB, some_bytes
from tests.spec.client import Reply, Repository

SIZE = 2048


@pytest.fixture
def digest(repository: Repository, content: bytes) -> str:
    return repository.push_blob(content)


def get(repository: Repository, digest: str, ranges: str) -> Reply:
    return repository.send("GET", f"blobs/{digest}", headers=[("Range", ranges)])


def parts_of(reply: Reply) -> list[tuple[str, bytes]]:
    """The Content-Range and the bytes of each part of a multipart reply."""
    head = f"Content-Type: {reply['Content-Type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + reply.body, policy=email.policy.HTTP)
    found = []
    for part in message.iter_parts():
        assert isinstance(part, email.message.EmailMessage)
        payload = part.get_payload(decode=True)
        assert isinstance(payload, bytes)
        found.append((str(part["Content-Range"]), payload))
    return found


@pytest.mark.parametrize(
    ("ranges", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=500-1499", 500, 1499),
        ("bytes=500-", 500, SIZE - 1),
        ("bytes=-500", SIZE - 500, SIZE - 1),
        ("bytes=2000-5000", 2000, SIZE - 1),
        ("bytes=2047-2047", SIZE - 1, SIZE - 1),
        pytest.param("bytes=-5000", 0, SIZE - 1, id="case 55: suffix longer than the blob"),
        ("Bytes=0-9", 0, 9),
        ("bytes=0-9223372036854775807", 0, SIZE - 1),
    ],
)
def test_part_is_answered_with_exactly_its_bytes(
    repository: Repository, content: bytes, digest: str, ranges: str, first: int, last: int
) -> None:
    reply = get(repository, digest, ranges)

    assert (reply.status, reply.body) == (206, content[first : last + 1])
    assert reply["Content-Range"] == f"bytes {first}-{last}/{SIZE}"
    assert reply["Content-Length"] == str(last - first + 1)


@pytest.mark.parametrize(
    "ranges",
    [
        pytest.param("bytes=-0", id="case 55: no bytes at the end"),
        pytest.param("bytes=500-0", id="case 55: end before start"),
        pytest.param("bytes=5000-10000", id="case 55: past the end"),
        pytest.param("bytes=2048-", id="case 55: right past the end"),
        pytest.param("bytes=5000-6000,7000-8000", id="case 55: two past the end"),
    ],
)
def test_part_that_is_not_there_is_416_with_the_size(
    repository: Repository, digest: str, ranges: str
) -> None:
    reply = get(repository, digest, ranges)

    assert reply.status == 416
    assert reply["Content-Range"] == f"bytes */{SIZE}"


def test_part_that_is_not_there_is_told_in_json(repository: Repository, digest: str) -> None:
    assert get(repository, digest, "bytes=5000-").codes == ["RANGE_INVALID"]


@pytest.mark.parametrize("ranges", ["bytes=0-", "bytes=0-0", "bytes=-1"])
def test_no_part_is_in_an_empty_blob(repository: Repository, ranges: str) -> None:
    """Case 55."""
    repository.push_blob(b"")

    reply = get(repository, EMPTY_DIGEST, ranges)

    assert (reply.status, reply["Content-Range"]) == (416, "bytes */0")


@pytest.mark.parametrize("ranges", ["lines=0-9", "items=1", "0-9"])
def test_range_in_another_unit_is_ignored(
    repository: Repository, content: bytes, digest: str, ranges: str
) -> None:
    """Case 55."""
    reply = get(repository, digest, ranges)

    assert (reply.status, reply.body) == (200, content)


@pytest.mark.parametrize(
    "ranges", ["bytes=", "bytes=-", "bytes=a-b", "bytes=0x0-0x9", "bytes=1_0-2_0", "bytes=--5"]
)
def test_range_that_makes_no_sense_is_416_or_ignored(
    repository: Repository, digest: str, ranges: str
) -> None:
    assert get(repository, digest, ranges).status in {200, 416}


def test_range_with_digits_of_another_script_is_416_or_ignored(repository: Repository, digest: str) -> None:
    sent = (
        f"GET {repository.path(f'blobs/{digest}')} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".encode()
        + "Range: bytes=\u0661-\u0662\r\n\r\n".encode()
    )

    status_line = repository.client.exchange(sent).split(b"\r\n")[0]

    assert status_line.split()[1] in {b"200", b"400", b"416"}


def test_several_parts_come_one_for_each_in_the_order_asked(
    repository: Repository, content: bytes, digest: str
) -> None:
    """Case 56: podman counts them."""
    reply = get(repository, digest, "bytes=1000-1099,0-9, 2000-")

    assert reply.status == 206
    assert parts_of(reply) == [
        (f"bytes 1000-1099/{SIZE}", content[1000:1100]),
        (f"bytes 0-9/{SIZE}", content[:10]),
        (f"bytes 2000-2047/{SIZE}", content[2000:]),
    ]


def test_parts_that_touch_are_not_merged(repository: Repository, content: bytes, digest: str) -> None:
    """Case 56."""
    reply = get(repository, digest, "bytes=0-9,10-19")

    assert [part for _, part in parts_of(reply)] == [content[:10], content[10:20]]


def test_several_parts_have_the_length_they_say(repository: Repository, digest: str) -> None:
    reply = get(repository, digest, "bytes=0-9,20-29")

    assert reply["Content-Length"] == str(len(reply.body))
    assert reply["Content-Type"].startswith("multipart/byteranges; boundary=")
    assert reply.header("Content-Range") is None


def test_parts_across_pieces_of_a_large_blob_are_right(repository: Repository) -> None:
    content = some_bytes(3 * MIB)
    digest = repository.push_blob(content)

    reply = get(repository, digest, f"bytes={MIB - 5}-{2 * MIB + 5},0-0")

    assert [part for _, part in parts_of(reply)] == [content[MIB - 5 : 2 * MIB + 6], content[:1]]


def test_one_good_part_of_two_never_comes_alone(repository: Repository, digest: str) -> None:
    """Case 56: a client that asked for several reads a multipart reply or the whole."""
    reply = get(repository, digest, "bytes=0-9,5000-6000")

    assert reply.status == 200 or reply["Content-Type"].startswith("multipart/byteranges")


@pytest.mark.parametrize(
    "ranges",
    [
        pytest.param("bytes=" + ",".join(["0-"] * 100), id="overlapping"),
        pytest.param("bytes=" + ",".join(f"{n}-{n}" for n in range(2000)), id="two thousand"),
    ],
)
def test_more_parts_than_are_worth_it_are_answered_with_the_whole(
    repository: Repository, content: bytes, digest: str, ranges: str
) -> None:
    """Case 56."""
    reply = get(repository, digest, ranges)

    assert (reply.status, reply.body) == (200, content)


def test_range_on_head_is_ignored(repository: Repository, digest: str) -> None:
    """Case 58."""
    reply = repository.send("HEAD", f"blobs/{digest}", headers=[("Range", "bytes=0-9")])

    assert (reply.status, reply["Content-Length"]) == (200, str(SIZE))


def test_range_on_an_absent_blob_is_404(repository: Repository) -> None:
    assert get(repository, EMPTY_DIGEST, "bytes=0-9").status == 404
