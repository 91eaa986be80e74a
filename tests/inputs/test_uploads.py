"""Uploads by clients that count wrong, come twice, take another's, or want too much."""

import concurrent.futures
import os
import secrets
import uuid
from collections import Counter

import pytest

from tests.inputs.registry import ABSENT, MIB, Registry, check_refused, descriptor, digest_of, image
from tests.inputs.wire import Wire, ask, chunked, request

FIRST = b"0123456789"


@pytest.fixture
def half(registry: Registry) -> str:
    """The location of an upload that holds ten bytes."""
    location = registry.begin()
    assert registry.follow("PATCH", location, (), FIRST).status == 202
    return location


@pytest.mark.parametrize(
    "claimed",
    [
        pytest.param("11-15", id="B41-gap"),
        pytest.param("9-13", id="B41-overlap"),
        pytest.param("0-4", id="B41-again"),
        pytest.param("14-10", id="B41-reversed"),
        pytest.param("-1-4", id="B41-negative"),
        pytest.param("18446744073709551616-18446744073709551620", id="B41-two-to-the-64"),
        pytest.param("10-" + "9" * 400, id="B41-400-digits"),
        pytest.param("a-b", id="B41-letters"),
        pytest.param("10", id="B41-one-number"),
        pytest.param("10-", id="B41-open"),
        pytest.param("10-14/*", id="B41-with-total"),
        pytest.param("bytes 10-14/15", id="B41-with-unit"),
        pytest.param("1_0-14", id="B41-underscore"),
        pytest.param("+10-14", id="B41-plus"),
        pytest.param("10 - 14", id="B41-spaces"),
        pytest.param("\xd9\xa1\xd9\xa0-14", id="B41-arabic-digits"),
        pytest.param("", id="B41-nothing"),
    ],
)
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_chunk_that_does_not_go_on_where_the_last_ended_is_refused(
    registry: Registry, half: str, method: str, claimed: str
) -> None:
    query = f"?digest={ABSENT}" if method == "PUT" else ""

    with registry.watch():
        reply = registry.follow(method, half + query, [("Content-Range", claimed)], b"abcde")

    check_refused(reply, 416)
    assert reply["range"] == "0-9"
    assert reply["location"] == half
    assert registry.follow("GET", half)["range"] == "0-9"
    whole = digest_of(FIRST + b"abcde")
    last = registry.follow("PUT", f"{half}?digest={whole}", [("Content-Range", "10-14")], b"abcde")
    assert last.status == 201


@pytest.mark.parametrize(
    ("claimed", "is_chunked"),
    [
        pytest.param("10-19", False, id="B41-longer-than-the-length"),
        pytest.param("10-11", False, id="B41-shorter-than-the-length"),
        pytest.param("10-19", True, id="B41-longer-than-the-chunks"),
        pytest.param("10-11", True, id="B41-shorter-than-the-chunks"),
        pytest.param("10-999999999999999999", False, id="B41-an-exbibyte"),
    ],
)
def test_chunk_whose_length_is_not_the_one_it_claims_is_not_counted(
    registry: Registry, half: str, claimed: str, *, is_chunked: bool
) -> None:
    fields = [("Content-Range", claimed)]
    if is_chunked:
        sent = request("PATCH", half, [*fields, ("Transfer-Encoding", "chunked")]) + chunked(b"ab", b"cde")
    else:
        sent = request("PATCH", half, fields, b"abcde")

    with registry.watch():
        replies, _ = registry.exchange(sent)

    check_refused(replies[0], 400, code="SIZE_INVALID")
    assert registry.follow("GET", half)["range"] == "0-9"


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
def test_upload_of_another_repository_is_unknown(registry: Registry, half: str, method: str) -> None:
    """B42."""
    theirs = half.replace(registry.name, f"{registry.name}/other")
    query = f"?digest={digest_of(FIRST)}" if method == "PUT" else ""

    with registry.watch():
        check_refused(registry.follow(method, theirs + query, (), b""), 404, code="BLOB_UPLOAD_UNKNOWN")

    assert registry.follow("GET", half)["range"] == "0-9"


@pytest.mark.parametrize(
    "upload_id",
    [
        pytest.param("..%2F..%2Fx", id="B43-climbs"),
        pytest.param("..", id="B43-dots"),
        pytest.param("%2Fetc%2Fpasswd", id="B43-absolute"),
        pytest.param(str(uuid.uuid4()), id="B43-of-the-right-form"),
        pytest.param("x" * 300, id="B43-longer-than-a-file-name"),
        pytest.param("%00", id="B43-nul"),
        pytest.param("%", id="B43-glob-of-sql"),
        pytest.param("_" * 36, id="B43-another-glob"),
        pytest.param("'%20OR%201=1--", id="B43-sql"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
def test_upload_that_never_was_is_unknown(registry: Registry, half: str, method: str, upload_id: str) -> None:
    query = f"?digest={digest_of(FIRST)}" if method == "PUT" else ""

    with registry.watch():
        reply = registry.ask(method, f"blobs/uploads/{upload_id}{query}", (), b"")

    check_refused(reply, 404, code="BLOB_UPLOAD_UNKNOWN")


def test_upload_that_ended_is_unknown(registry: Registry, half: str) -> None:
    assert registry.follow("PUT", f"{half}?digest={digest_of(FIRST)}").status == 201

    with registry.watch():
        for method in ("GET", "PATCH", "DELETE"):
            check_refused(registry.follow(method, half, (), b""), 404, code="BLOB_UPLOAD_UNKNOWN")
        check_refused(registry.follow("PUT", f"{half}?digest={digest_of(FIRST)}"), 404)


@pytest.mark.parametrize("is_chunked", [False, True])
def test_two_chunks_at_once_are_never_mixed(registry: Registry, *, is_chunked: bool) -> None:
    """B44: the second is refused while the first is on its way, whichever worker it comes to."""
    location = registry.begin()
    framing = ("Transfer-Encoding", "chunked") if is_chunked else ("Content-Length", "8")
    start, rest = (b"4\r\naaaa\r\n", b"4\r\naaaa\r\n0\r\n\r\n") if is_chunked else (b"aaaa", b"aaaa")

    with registry.watch(changes=True), Wire(registry.port) as first:
        first.send(request("PATCH", location, [framing]) + start)
        first.read_rest(0.5)
        seconds = [registry.follow("PATCH", location, (), b"bbbb") for _ in range(8)]
        cancelled = registry.follow("DELETE", location)
        first.send(rest)
        assert first.read().status == 202

    for reply in seconds:
        check_refused(reply, 409, 416)
    check_refused(cancelled, 409)
    assert registry.follow("PUT", f"{location}?digest={digest_of(b'a' * 8)}").status == 201


@pytest.mark.parametrize("attempt", [pytest.param(number, id=f"F32-{number}") for number in range(10)])
def test_closing_an_upload_twice_at_once_succeeds_once(registry: Registry, attempt: int) -> None:
    """Over several workers: one 201; the other 201, 404 or 409. Never neither."""
    content = os.urandom(2000)
    location = registry.begin()
    assert registry.follow("PATCH", location, (), content).status == 202
    target = f"{location}?digest={digest_of(content)}"

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        statuses = Counter(
            reply.status for reply in threads.map(lambda _: registry.follow("PUT", target), range(4))
        )

    assert set(statuses) <= {201, 404, 409}, statuses
    assert statuses[201] >= 1, statuses
    assert registry.ask("GET", f"blobs/{digest_of(content)}").body == content


@pytest.mark.parametrize("attempt", range(10))
def test_asking_how_far_an_upload_is_never_ends_it(registry: Registry, attempt: int) -> None:
    content = os.urandom(2000)
    location = registry.begin()
    assert registry.follow("PATCH", location, (), content).status == 202
    target = f"{location}?digest={digest_of(content)}"

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(registry.follow, "GET", location) for _ in range(12)]
        closed = threads.submit(registry.follow, "PUT", target)
        asked += [threads.submit(registry.follow, "GET", location) for _ in range(12)]

    assert {future.result().status for future in asked} <= {204, 404}
    assert closed.result().status == 201


def test_closing_without_a_digest_is_refused_and_leaves_the_upload(registry: Registry, half: str) -> None:
    """B45."""
    with registry.watch():
        check_refused(registry.follow("PUT", half, (), b"more"), 400, code="DIGEST_INVALID")
        check_refused(registry.follow("PUT", f"{half}?Digest={digest_of(FIRST)}"), 400)

    assert registry.follow("GET", half)["range"] == "0-9"


def test_more_open_uploads_than_allowed_are_refused_until_one_ends(strict: Registry) -> None:
    """B46, with a limit of five."""
    locations = [strict.begin() for _ in range(5)]

    with strict.watch():
        for target in ("blobs/uploads/", f"blobs/uploads/?mount={ABSENT}", f"blobs/uploads/?digest={ABSENT}"):
            reply = strict.ask("POST", target)
            check_refused(reply, 429, code="TOOMANYREQUESTS")
            assert int(reply["retry-after"]) > 0

    assert strict.follow("DELETE", locations[0]).status == 204
    strict.begin()


def test_blob_over_the_limit_is_refused_before_its_body(strict: Registry) -> None:
    """B47: neither is the body asked for nor waited for, and the upload is gone."""
    location = strict.begin()
    too_much = str(32 * MIB + 1)

    for expectation in ([], [("Expect", "100-continue")]):
        location = strict.begin()
        with Wire(strict.port) as wire:
            wire.send(request("PATCH", location, [("Content-Length", too_much), *expectation]))
            reply = wire.read()
            _, is_closed = wire.read_rest(5)
        check_refused(reply, 413)
        assert reply.interim == ()
        assert is_closed or not expectation
        check_refused(strict.follow("GET", location), 404)


def test_blob_that_grows_over_the_limit_is_refused_and_forgotten(strict: Registry) -> None:
    """B47: in one stream of unknown length, and in two chunks."""
    piece = bytes(MIB)

    with strict.watch(rss_growth_max_bytes=64 * MIB):
        for target in (strict.begin(), f"{strict.begin()}?digest={ABSENT}"):
            method = "PUT" if "digest" in target else "PATCH"
            with Wire(strict.port) as wire:
                wire.send(request(method, target, [("Transfer-Encoding", "chunked")]))
                wire.send(chunked(*[piece] * 33))
                check_refused(wire.read(), 413)
            check_refused(strict.follow("GET", target.partition("?")[0]), 404)
        location = strict.begin()
        assert strict.follow("PATCH", location, (), piece * 20).status == 202
        check_refused(strict.follow("PATCH", location, (), piece * 13), 413)
        check_refused(strict.follow("GET", location), 404)


def test_blob_of_exactly_the_limit_is_taken(strict: Registry) -> None:
    """B47."""
    strict.push_blob(bytes(32 * MIB))


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("mount={there}&from={self}", id="B50-from-itself"),
        pytest.param("mount={absent}&from={other}", id="B50-unknown-digest"),
        pytest.param("mount={absent}", id="B50-unknown-digest-from-anywhere"),
        pytest.param("mount={there}&from=..%2F..%2Fetc", id="B50-from-a-path"),
        pytest.param("mount={there}&from=", id="B50-from-nothing"),
        pytest.param("mount={there}&from=UPPER", id="B50-from-an-invalid-name"),
        pytest.param("mount={there}&from=" + "a" * 3000, id="B50-from-a-long-name"),
        pytest.param("mount={there}&from=no/such", id="B50-from-no-repository"),
        pytest.param("mount=", id="B50-nothing"),
        pytest.param("mount=md5:x&from={other}", id="B50-md5"),
        pytest.param("mount=..%2F..%2Fx&from={other}", id="B50-climbs"),
        pytest.param("mount={there}%0a&from={other}", id="B50-line-feed-at-the-end"),
    ],
)
def test_mount_that_cannot_be_becomes_an_upload_or_is_refused(registry: Registry, query: str) -> None:
    other = Registry(registry.server)
    values = {"there": digest_of(FIRST), "absent": ABSENT, "self": registry.name, "other": other.name}
    other.push_blob(FIRST)

    with registry.watch(changes=True):
        reply = registry.ask("POST", f"blobs/uploads/?{query.format(**values)}")

    if reply.status == 202:
        assert registry.follow("DELETE", reply["location"]).status == 204
    else:
        check_refused(reply, 400)
    assert registry.ask("HEAD", f"blobs/{digest_of(FIRST)}").status == 404


@pytest.mark.parametrize(
    "query",
    [
        pytest.param(f"digest={ABSENT}&digest={ABSENT}", id="B24-same"),
        pytest.param(f"digest={ABSENT}&digest={digest_of(FIRST)}", id="B24-two"),
        pytest.param(f"digest={digest_of(FIRST)}&digest={ABSENT}", id="B24-two-other-way-round"),
        pytest.param(f"digest={digest_of(FIRST)}&%64igest={ABSENT}", id="B24-escaped-key"),
    ],
)
def test_digest_given_twice_is_refused(registry: Registry, half: str, query: str) -> None:
    with registry.watch():
        check_refused(registry.follow("PUT", f"{half}?{query}"), 400, code="DIGEST_INVALID")
        check_refused(registry.ask("POST", f"blobs/uploads/?{query}", (), FIRST), 400, code="DIGEST_INVALID")

    assert registry.follow("GET", half)["range"] == "0-9"


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("&" * 3000, id="B24-3000-empty-fields"),
        pytest.param("&".join(f"{number}=x" for number in range(1000)), id="B24-1000-fields"),
        pytest.param("digest=%ff", id="B24-no-utf-8"),
        pytest.param("\xff\xfe", id="B24-bytes"),
        pytest.param("digest=%", id="B24-cut-escape"),
        pytest.param("digest-algorithm=md5", id="B24-md5"),
        pytest.param("digest-algorithm=" + "x" * 5000, id="B24-long-algorithm"),
    ],
)
def test_query_that_makes_no_sense_begins_no_upload(registry: Registry, query: str) -> None:
    with registry.watch(changes=True):
        replies, _ = registry.exchange(request("POST", registry.path(f"blobs/uploads/?{query}"), (), b""))

    reply = replies[0]
    if reply.status == 202:
        assert not query.strip("&"), "taken for no field at all"
    else:
        check_refused(reply, 400, 414)


@pytest.mark.parametrize(
    "content_type",
    ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/html", "\xff", "x" * 5000],
)
def test_content_type_of_a_blob_does_not_matter(registry: Registry, content_type: str) -> None:
    content = b"digest=%41&a=b" + secrets.token_bytes(8)
    target = f"{registry.begin()}?digest={digest_of(content)}"

    assert ask(registry.port, "PUT", target, [("Content-Type", content_type)], content).status == 201
    got = registry.ask("GET", f"blobs/{digest_of(content)}")
    assert got["content-type"] == "application/octet-stream"
    assert got["x-content-type-options"] == "nosniff"
    assert got.body == content


def test_body_in_the_smallest_chunks_costs_no_memory(registry: Registry) -> None:
    """A piece of two bytes is an object of fifty: what is gathered is counted as it weighs."""
    pieces = 100_000
    location = registry.begin()

    with registry.watch(changes=True, rss_growth_max_bytes=16 * MIB), Wire(registry.port) as wire:
        wire.send(request("PATCH", location, [("Transfer-Encoding", "chunked")]))
        wire.send(b"2\r\nab\r\n" * pieces + b"0\r\n\r\n")
        assert wire.read()["range"] == f"0-{2 * pieces - 1}"


def test_many_half_sent_bodies_cost_little_memory_each(registry: Registry) -> None:
    """Just short of what is written at once, times sixty connections."""
    with registry.watch(changes=True, rss_growth_max_bytes=128 * MIB):
        wires = [Wire(registry.port) for _ in range(60)]
        for wire in wires:
            wire.send(request("PATCH", registry.begin(), [("Content-Length", str(2 * MIB))]) + bytes(MIB - 1))
        wires[0].read_rest(1)
        for wire in wires:
            wire.close()


def test_manifest_may_not_name_a_blob_that_is_still_on_its_way(registry: Registry, half: str) -> None:
    registry.push_blob(b"{}")

    with registry.watch():
        reply = registry.put("x", image(layers=[descriptor(FIRST)]))

    check_refused(reply, 400, code="MANIFEST_BLOB_UNKNOWN")
    assert registry.ask("HEAD", f"blobs/{digest_of(FIRST)}").status == 404
