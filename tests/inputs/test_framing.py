"""Requests that break HTTP's framing or its limits. Source: RFC 9110, RFC 9112.

Whatever could be read in two ways is refused and the connection closed, so that no proxy in front of
the registry and the registry itself ever disagree on where a request ends.
"""

import time

import pytest

from tests.inputs.registry import (
    ABSENT,
    MIB,
    OCI_MANIFEST,
    Registry,
    check_one_refused,
    check_refused,
    digest_of,
)
from tests.inputs.wire import Fields, Wire, ask, chunked, exchange, request

HOST = b"Host: registry.test\r\n"
SMUGGLED = b"GET /v2/_catalog HTTP/1.1\r\n" + HOST + b"\r\n"


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", id="B1-length-first"),
        pytest.param(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", id="B1-length-last"),
        pytest.param(b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", id="B1-length-0"),
    ],
)
def test_length_beside_chunked_never_lets_a_second_request_through(registry: Registry, fields: bytes) -> None:
    target = registry.path("blobs/uploads/?digest=").encode() + ABSENT.encode()
    sent = b"POST " + target + b" HTTP/1.1\r\n" + HOST + fields + b"\r\n" + chunked(b"abcde") + SMUGGLED

    with registry.watch():
        check_one_refused(registry.exchange(sent), 400, is_closed=True)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(b"Content-Length: 5\r\nContent-Length: 6\r\n", id="B2-unequal"),
        pytest.param(b"Content-Length: 5, 6\r\n", id="B2-list"),
        pytest.param(b"Content-Length: 5, 5\r\n", id="B2-list-of-equals"),
        pytest.param(b"Content-Length: +5\r\n", id="B2-plus"),
        pytest.param(b"Content-Length: -5\r\n", id="B2-negative"),
        pytest.param(b"Content-Length: 0x5\r\n", id="B2-hex"),
        pytest.param(b"Content-Length: 5_0\r\n", id="B2-underscore"),
        pytest.param(b"Content-Length: \xd9\xa5\r\n", id="B2-arabic"),
        pytest.param(b"Content-Length: \r\n", id="B2-empty"),
        pytest.param(b"Content-Length: 18446744073709551616\r\n", id="B2-two-to-the-64"),
        pytest.param(b"Transfer-Encoding: xchunked\r\n", id="B3-unknown"),
        pytest.param(b"Transfer-Encoding: identity\r\n", id="B3-identity"),
        pytest.param(b"Transfer-Encoding: chunked, identity\r\n", id="B3-chunked-not-last"),
        pytest.param(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n", id="B3-two-lines"),
    ],
)
def test_body_whose_end_is_unclear_is_refused(registry: Registry, fields: bytes) -> None:
    target = registry.path("blobs/uploads/").encode()
    sent = b"POST " + target + b" HTTP/1.1\r\n" + HOST + fields + b"\r\nabcdef" + SMUGGLED

    with registry.watch():
        check_one_refused(registry.exchange(sent), 400, is_closed=True)


@pytest.mark.parametrize(
    "coding",
    [
        pytest.param(b"gzip, chunked", id="B3-gzip-before-chunked"),
        pytest.param(b"chunked, chunked", id="B3-chunked-twice"),
    ],
)
def test_coding_beneath_chunked_is_refused_and_never_stored_as_it_came(
    registry: Registry, coding: bytes
) -> None:
    content = b"would be stored still coded"
    target = registry.path(f"blobs/uploads/?digest={digest_of(content)}").encode()
    head = b"POST " + target + b" HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: " + coding

    with registry.watch():
        check_one_refused(registry.exchange(head + b"\r\n\r\n" + chunked(content)), 400, 415, 501)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"0x5\r\nabcde\r\n0\r\n\r\n", id="B4-hex-prefix"),
        pytest.param(b"-1\r\nabcde\r\n0\r\n\r\n", id="B4-negative"),
        pytest.param(b"+5\r\nabcde\r\n0\r\n\r\n", id="B4-plus"),
        pytest.param(b"f" * 17 + b"\r\nabcde\r\n0\r\n\r\n", id="B4-17-digits"),
        pytest.param(b"5\r\nabcde0\r\n\r\n", id="B4-no-line-end-after-data"),
        pytest.param(b"5\r\nabcdefgh\r\n0\r\n\r\n", id="B4-more-data-than-said"),
        pytest.param(b"5\nabcde\n0\n\n", id="B4-bare-line-feeds"),
        pytest.param(b"5;a\nb\r\nabcde\r\n0\r\n\r\n", id="B4-line-feed-in-extension"),
        pytest.param(b"\r\nabcde\r\n0\r\n\r\n", id="B4-no-size"),
        pytest.param(b"0\r\n" + b"X: y\r\n" * 50_000 + b"\r\n", id="B4-trailers-of-300-kB"),
    ],
)
def test_malformed_chunk_is_refused_and_closes(registry: Registry, body: bytes) -> None:
    target = registry.path(f"blobs/uploads/?digest={digest_of(b'abcde')}")
    head = request("POST", target, [("Transfer-Encoding", "chunked")])

    with registry.watch():
        check_one_refused(registry.exchange(head + body + SMUGGLED), 400, is_closed=True)


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(b"0" * 16 + b"5", id="B4-17-digits-mostly-zeros"),
        pytest.param(b"5;name=value", id="B4-extension"),
        pytest.param(b"5;" + b"a" * 100_000, id="B4-extension-of-100-kB"),
    ],
)
def test_chunk_size_written_oddly_is_refused_or_read_as_the_number_it_is(
    registry: Registry, size: bytes
) -> None:
    """The parser does not tell how it was written; the next request begins where all would say it does."""
    target = registry.path(f"blobs/uploads/?digest={digest_of(b'abcde')}")
    head = request("POST", target, [("Transfer-Encoding", "chunked")])

    with registry.watch(changes=True):
        replies, _ = registry.exchange(head + size + b"\r\nabcde\r\n0\r\n\r\n" + SMUGGLED)

    assert [reply.status for reply in replies] in ([201, 200], [400])


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"GET /v2/ HTTP/1.1\n" + HOST + b"\r\n", id="B5-line-feed-after-the-request"),
        pytest.param(b"GET /v2/ HTTP/1.1\r\nHost: a\n\r\n", id="B5-line-feed-after-a-field"),
        pytest.param(b"GET /v2/ HTTP/1.1\nHost: a\n\n", id="B5-line-feeds"),
        pytest.param(b"GET /v2/ HTTP/1.1\rHost: a\r\r", id="B5-carriage-returns"),
        pytest.param(b"GET /v2/ HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n", id="B5-folded"),
        pytest.param(b"GET /v2/ HTTP/1.1\r\n" + HOST + b"X : a\r\n\r\n", id="B5-space-before-colon"),
        pytest.param(b"GET /v2/ HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n\r\n", id="B5-nul"),
        pytest.param(b"GET /v2/ HTTP/1.1\r\n" + HOST + b"X: a\rb\r\n\r\n", id="B5-carriage-return"),
        pytest.param(b"GET /v2/ HTTP/1.1\r\n" + HOST + b"no colon\r\n\r\n", id="B5-no-colon"),
        pytest.param(b"GET /v2/ HTTP/1.1\r\n" + HOST + b": a\r\n\r\n", id="B5-no-name"),
        pytest.param(b"GET /v2/\0 HTTP/1.1\r\n" + HOST + b"\r\n", id="B5-nul-in-target"),
        pytest.param(b"GET /v2/a b/tags/list HTTP/1.1\r\n" + HOST + b"\r\n", id="B5-space-in-target"),
        pytest.param(b"GET /v2/\xff HTTP/1.1\r\n" + HOST + b"\r\n", id="B5-byte-in-target"),
        pytest.param(b"GET /v2/\r\n\r\n", id="B5-no-version"),
        pytest.param(b"GET /v2/ HTTP/1.2\r\n" + HOST + b"\r\n", id="B5-version-1.2"),
        pytest.param(b"GET /v2/ HTTP/2.0\r\n" + HOST + b"\r\n", id="B9-version-2"),
        pytest.param(b"G\xc3\x89T /v2/ HTTP/1.1\r\n" + HOST + b"\r\n", id="B8-method-no-token"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200, id="B9-tls-hello"),
        pytest.param(b"\0" * 4096, id="B9-zeros"),
    ],
)
def test_what_is_not_http_is_refused_and_closes(registry: Registry, head: bytes) -> None:
    with registry.watch():
        check_one_refused(registry.exchange(head + SMUGGLED), 400, is_closed=True)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([(f"X-{number}", "a") for number in range(101)], id="B6-101-fields"),
        pytest.param([("X", "a" * 33_000)], id="B6-33-kB"),
        pytest.param([("X" * 33_000, "a")], id="B6-name-of-33-kB"),
        pytest.param([(f"X-{number}", "a" * 400) for number in range(95)], id="B6-95-fields-of-400"),
        pytest.param([("X", "a" * 500_000)], id="B6-500-kB"),
    ],
)
def test_too_much_header_is_refused(registry: Registry, fields: Fields) -> None:
    with registry.watch():
        check_one_refused(registry.exchange(request("GET", "/v2/", fields)), 431)


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("/v2/" + "a" * 9_000 + "/tags/list", id="B7-path"),
        pytest.param("/v2/a/tags/list?last=" + "a" * 9_000, id="B7-query"),
        pytest.param("/v2/" + "%61" * 3_000 + "/tags/list", id="B7-escaped"),
        pytest.param("/v2/" + "a/" * 50_000 + "tags/list", id="B7-100-kB"),
    ],
)
def test_target_that_is_too_long_is_refused(registry: Registry, target: str) -> None:
    with registry.watch():
        check_one_refused(registry.exchange(request("GET", target)), 414)


@pytest.mark.parametrize(
    "target", ["/v2/", "/v2/_catalog", "/v2/a/tags/list", "/v2/a/manifests/x", "/healthz"]
)
@pytest.mark.parametrize(
    "method", [pytest.param(name, id=f"B8-{name}") for name in ("TRACE", "PROPFIND", "OPTIONS")]
)
def test_method_that_no_route_has_is_told_which_there_are(
    registry: Registry, method: str, target: str
) -> None:
    with registry.watch():
        reply = ask(registry.port, method, target)

    check_refused(reply, 405, code="UNSUPPORTED")
    assert "GET" in reply["allow"].split(", ")


@pytest.mark.parametrize(
    "target", [pytest.param("registry.test:443", id="B8-authority"), pytest.param("/v2/", id="B8-path")]
)
def test_connect_opens_no_tunnel(registry: Registry, target: str) -> None:
    with registry.watch():
        check_one_refused(registry.exchange(request("CONNECT", target) + SMUGGLED), 405, is_closed=True)


def test_http2_on_this_port_is_closed(registry: Registry) -> None:
    """B9."""
    sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 64

    with registry.watch():
        check_one_refused(registry.exchange(sent), 400, is_closed=True)


@pytest.mark.parametrize(
    ("method", "rest", "fields", "length", "status"),
    [
        pytest.param("PUT", "manifests/x", [], 5 << 20, 413, id="B13-manifest-too-large"),
        pytest.param("PUT", "manifests/x", [], 1 << 62, 413, id="B13-manifest-of-four-exbibytes"),
        pytest.param("PUT", "manifests/-x", [], 100, 400, id="B13-tag-invalid"),
        pytest.param("PUT", f"manifests/{ABSENT}x", [], 100, 400, id="B13-digest-invalid"),
        pytest.param("PATCH", "blobs/uploads/none", [], 1 << 40, 404, id="B13-upload-unknown"),
        pytest.param(
            "PUT", f"blobs/uploads/none?digest={ABSENT}", [], 100, 404, id="B13-upload-to-close-unknown"
        ),
        pytest.param("POST", "blobs/uploads/?digest=md5:x", [], 100, 400, id="B13-digest-unknown"),
        pytest.param("PATCH", "tags/list", [], 100, 405, id="B13-method"),
        pytest.param("PATCH", "nothing", [], 100, 404, id="B13-route"),
        pytest.param(
            "PUT", "manifests/x", [("Content-Encoding", "gzip")], 100, 415, id="B13-content-encoding"
        ),
    ],
)
def test_refusal_comes_before_the_body_and_without_100_continue(
    registry: Registry, method: str, rest: str, fields: Fields, length: int, status: int
) -> None:
    head = request(
        method,
        registry.path(rest),
        [("Expect", "100-continue"), ("Content-Length", str(length)), *fields],
    )

    with registry.watch(), Wire(registry.port) as wire:
        wire.send(head)
        reply = wire.read()

    assert reply.interim == ()
    check_refused(reply, status)


@pytest.mark.parametrize(
    ("method", "rest", "length", "status"),
    [
        pytest.param("PUT", "manifests/x", 5 << 20, 413, id="B54-manifest"),
        pytest.param("PUT", "manifests/x", 1 << 62, 413, id="B54-manifest-of-four-exbibytes"),
        pytest.param("PATCH", "blobs/uploads/none", 1 << 40, 404, id="B42-upload-unknown"),
    ],
)
def test_refusal_of_a_large_body_does_not_wait_for_it(
    registry: Registry, method: str, rest: str, length: int, status: int
) -> None:
    head = request(method, registry.path(rest), [("Content-Length", str(length))])

    with registry.watch(), Wire(registry.port) as wire:
        wire.send(head)
        check_refused(wire.read(), status)
        _, is_closed = wire.read_rest(5)

    assert is_closed


def test_who_writes_on_after_a_refusal_is_held_back_not_cut(registry: Registry) -> None:
    """A proxy that is cut while it writes says 502 and drops the refusal; one that has to wait reads it."""
    head = request("PUT", registry.path("manifests/-x"), [("Content-Length", str(1 << 40))])

    with registry.watch(), Wire(registry.port) as wire:
        wire.send(head)
        taken_bytes = wire.send_until_held(256 * MIB)
        check_refused(wire.read(), 400)
        seconds = wire.seconds_until_closed(5)

    assert taken_bytes < 64 * MIB
    assert seconds < 3


def test_expect_is_answered_with_100_when_the_body_will_be_read(registry: Registry) -> None:
    location, content = registry.begin(), b"some content"
    head = request("PATCH", location, [("Expect", "100-continue"), ("Content-Length", str(len(content)))])

    with registry.watch(changes=True), Wire(registry.port) as wire:
        wire.send(head)
        early, _ = wire.read_rest(1)
        wire.send(content)
        reply = wire.read()

    assert early == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert reply.status == 202
    assert reply["range"] == f"0-{len(content) - 1}"


@pytest.mark.parametrize(
    "is_reset", [pytest.param(False, id="B14-half-close"), pytest.param(True, id="B14-close")]
)
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_body_that_ends_early_commits_nothing(registry: Registry, method: str, *, is_reset: bool) -> None:
    content = b"the first half, the second half"
    digest = digest_of(content[:15])
    target = f"{registry.begin()}?digest={digest}"
    if method == "POST":
        target = registry.path(f"blobs/uploads/?digest={digest}")

    with registry.watch(changes=method == "PUT"):
        with Wire(registry.port) as wire:
            wire.send(request(method, target, [("Content-Length", str(len(content)))]) + content[:15])
            if is_reset:
                wire.close()
            else:
                wire.end()
                wire.read_rest(1)
        time.sleep(0.3)
        assert registry.ask("HEAD", f"blobs/{digest}").status == 404


def test_manifest_that_ends_early_is_not_stored(registry: Registry) -> None:
    registry.push("good", {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": _config(), "layers": []})
    payload = b'{"schemaVersion": 2, "manifests": []}'

    with registry.watch():
        with Wire(registry.port) as wire:
            wire.send(request("PUT", registry.path("manifests/cut"), [("Content-Length", "1000")]) + payload)
            wire.end()
            wire.read_rest(1)
        assert registry.ask("GET", "manifests/cut").status == 404


def _config() -> dict[str, object]:
    return {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(b"{}"), "size": 2}


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "zstd", "gzip, identity", "x"])
@pytest.mark.parametrize(
    ("method", "rest"),
    [
        pytest.param("PUT", "manifests/x", id="B15-manifest"),
        pytest.param("PATCH", "", id="B15-chunk"),
        pytest.param("PUT", f"?digest={digest_of(b'abcde')}", id="B15-last-chunk"),
        pytest.param("POST", f"blobs/uploads/?digest={digest_of(b'abcde')}", id="B15-whole-blob"),
    ],
)
def test_encoded_body_is_refused(registry: Registry, method: str, rest: str, encoding: str) -> None:
    target = registry.path(rest) if "/" in rest else registry.begin() + rest

    with registry.watch():
        reply = ask(registry.port, method, target, [("Content-Encoding", encoding)], b"abcde")

    check_refused(reply, 415, code="UNSUPPORTED")


@pytest.mark.parametrize(
    ("target", "fields"),
    [
        pytest.param(
            "", [("X-Forwarded-Host", "evil.test"), ("X-Forwarded-Proto", "https")], id="B16-forwarded"
        ),
        pytest.param("", [("Forwarded", "host=evil.test;proto=https")], id="B16-forwarded-rfc-7239"),
        pytest.param("", [("X-Original-URL", "/v2/evil"), ("X-Rewrite-URL", "/v2/evil")], id="B16-rewritten"),
        pytest.param("http://evil.test", [], id="B16-absolute"),
        pytest.param("http://user:secret@evil.test:1", [], id="B16-absolute-with-user"),
    ],
)
def test_location_never_leads_to_a_host_of_the_clients_choosing(
    registry: Registry, target: str, fields: Fields
) -> None:
    reply = ask(registry.port, "POST", target + registry.path("blobs/uploads/"), fields)

    assert reply.status == 202
    assert reply["location"].startswith(f"/v2/{registry.name}/blobs/uploads/")


@pytest.mark.parametrize(
    "hosts",
    [
        pytest.param(b"", id="B16-no-host"),
        pytest.param(b"Host: a\r\nHost: b\r\n", id="B16-two-hosts"),
        pytest.param(b"Host: a b/@c\r\n", id="B16-host-that-is-none"),
    ],
)
def test_request_for_no_one_host_is_refused(registry: Registry, hosts: bytes) -> None:
    """RFC 9112 section 3.2: "A server MUST respond with a 400"."""
    with registry.watch():
        check_one_refused(registry.exchange(b"GET /v2/ HTTP/1.1\r\n" + hosts + b"\r\n"), 400)


@pytest.fixture
def blob(registry: Registry) -> bytes:
    content = bytes(range(256)) * 16
    registry.push_blob(content)
    return content


@pytest.mark.parametrize(
    ("ranges", "statuses"),
    [
        pytest.param("bytes=" + ",".join(["0-"] * 10_000), (200, 416), id="B17-10000-wholes"),
        pytest.param("bytes=" + ",".join(["0-0"] * 8_000), (200, 416), id="B17-8000-bytes"),
        pytest.param("bytes=" + "," * 30_000, (200, 416), id="B17-30000-commas"),
        pytest.param("bytes=5-2", (200, 416), id="B18-reversed"),
        pytest.param("bytes=-0", (200, 416), id="B18-last-none"),
        pytest.param("bytes=" + "9" * 30 + "-", (200, 416), id="B18-30-digits"),
        pytest.param("bytes=0-" + "9" * 30, (200, 206, 416), id="B18-30-digits-at-the-end"),
        pytest.param("bytes=-" + "9" * 30, (200, 206, 416), id="B18-last-30-digits"),
        pytest.param("bytes=\xd9\xa1-\xd9\xa2", (200, 416), id="B18-arabic-digits"),
        pytest.param("bytes=1_0-2_0", (200, 416), id="B18-underscores"),
        pytest.param("bytes=+1-2", (200, 416), id="B18-plus"),
        pytest.param("bytes=--1", (200, 416), id="B18-two-dashes"),
        pytest.param("bytes=", (200, 416), id="B18-nothing"),
        pytest.param("bytes", (200, 416), id="B18-no-equals"),
        pytest.param("lines=1-2", (200,), id="B18-another-unit"),
    ],
)
def test_range_that_makes_no_sense_is_refused_or_ignored(
    registry: Registry, blob: bytes, ranges: str, statuses: tuple[int, ...]
) -> None:
    with registry.watch():
        reply = registry.ask("GET", f"blobs/{digest_of(blob)}", [("Range", ranges)])

    assert reply.status in statuses
    if reply.status == 200:
        assert reply.body == blob
    if reply.status == 416:
        assert reply["content-range"] == f"bytes */{len(blob)}"
        check_refused(reply, 416)


def test_overlapping_ranges_cost_no_more_than_the_blob(registry: Registry, blob: bytes) -> None:
    ranges = "bytes=" + ",".join(f"{first}-" for first in range(1000))

    reply = registry.ask("GET", f"blobs/{digest_of(blob)}", [("Range", ranges)])

    assert reply.status in {200, 206}
    assert len(reply.body) < 2 * len(blob)


def test_accept_of_2000_types_is_answered_as_any_other(registry: Registry) -> None:
    """B19."""
    registry.push("tag", {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": _config(), "layers": []})
    accept = ",".join(f"a/b{number};q=0.1" for number in range(2000))[:31_000]

    with registry.watch():
        reply = registry.ask("GET", "manifests/tag", [("Accept", accept)])

    assert reply.status == 200
    assert reply["content-type"] == OCI_MANIFEST


def test_header_in_no_charset_reaches_the_log_escaped(registry: Registry) -> None:
    """B102, as far as it needs no accounts: `watch` reads the log."""
    agent = '\x9b31m\xff\xfe \u00e9 \t"}{\\u0000'

    with registry.watch():
        reply = ask(registry.port, "GET", f"/v2/{registry.name}/nowhere", [("User-Agent", agent)])

    check_refused(reply, 404)


@pytest.mark.parametrize("path", ["/v2/", "/v2/nowhere/tags/list", "/healthz"])
def test_connection_is_kept_for_the_next_request(registry: Registry, path: str) -> None:
    with Wire(registry.port) as wire:
        for _ in range(3):
            wire.send(request("GET", path))
            assert wire.read().get("connection") is None


def test_connection_is_kept_after_a_body_was_read(registry: Registry) -> None:
    location = registry.begin()

    with Wire(registry.port) as wire:
        for number in range(3):
            wire.send(request("PATCH", location, (), b"abc"))
            assert wire.read()["range"] == f"0-{3 * number + 2}"
        wire.send(request("PATCH", location, [("Transfer-Encoding", "chunked")]) + chunked(b"abc"))
        assert wire.read()["range"] == "0-11"
        wire.send(request("GET", location))
        assert wire.read().status == 204


def test_pipelined_requests_are_answered_one_by_one_in_order(registry: Registry) -> None:
    paths = ["/v2/", "/v2/Nowhere/tags/list", "/v2/nowhere/tags/list", "/v2/"] * 5

    with registry.watch(), Wire(registry.port) as wire:
        wire.send(b"".join(request("GET", path) for path in paths))
        statuses = [wire.read().status for _ in paths]

    assert statuses == [200, 400, 404, 200] * 5


def test_flood_of_pipelined_requests_gets_right_replies_or_an_end(registry: Registry) -> None:
    with registry.watch():
        replies, _ = registry.exchange(request("GET", "/v2/") * 5000)

    assert replies
    assert {reply.status for reply in replies} <= {200, 429}
    assert {reply.status for reply in replies[:-1]} <= {200}


def test_pipelined_bodies_go_to_their_own_requests(registry: Registry) -> None:
    contents = [b"first" * 50_000, b"second" * 50_000, b"third" * 50_000]
    sent = b"".join(
        request("POST", registry.path(f"blobs/uploads/?digest={digest_of(content)}"), (), content)
        for content in contents
    )

    with registry.watch(changes=True):
        replies, _ = registry.exchange(sent)

    assert [reply.status for reply in replies] == [201, 201, 201]
    for content in contents:
        assert registry.ask("GET", f"blobs/{digest_of(content)}").body == content


@pytest.mark.parametrize(
    "trailer",
    [
        pytest.param(b"Content-Length: abc", id="B1-length-that-is-none"),
        pytest.param(b"Content-Length: 1", id="B1-length"),
        pytest.param(b"Content-Encoding: gzip", id="B15-encoding"),
        pytest.param(b"Content-Range: 100-104", id="B41-range"),
        pytest.param(b"Transfer-Encoding: x", id="B3-coding"),
        pytest.param(b"Host: evil.test", id="B16-host"),
    ],
)
def test_trailer_is_never_taken_for_a_header(registry: Registry, trailer: bytes) -> None:
    """RFC 9110 section 6.5.1: a trailer field may not be merged into the header. Refusing it is fine too."""
    location = registry.begin()
    body = chunked(b"abcde").removesuffix(b"\r\n") + trailer + b"\r\n\r\n"

    with registry.watch(changes=True):
        replies, _ = registry.exchange(request("PATCH", location, [("Transfer-Encoding", "chunked")]) + body)

    assert len(replies) == 1
    if replies[0].status == 202:
        assert replies[0]["range"] == "0-4"
    else:
        check_refused(replies[0], 400, 431)
        assert "range" not in [name for name, _ in replies[0].fields]


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"GET /v2/ HTTP/1.1\r\nHost: a\r\nX: ", id="B6-value"),
        pytest.param(b"GET /v2/ HTTP/1.1\r\nHost: a\r\nX", id="B6-name"),
        pytest.param(b"GET /v2/", id="B7-target"),
        pytest.param(
            b"PATCH /v2/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;", id="B4-extension"
        ),
        pytest.param(
            b"PATCH /v2/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ", id="B4-trailer"
        ),
    ],
)
def test_line_without_an_end_is_cut_off_at_the_limit(registry: Registry, start: bytes) -> None:
    """What never ends is never whole: the limit holds while it comes, not only once it has come."""
    with registry.watch(), Wire(registry.port) as wire:
        wire.send(start)
        for _ in range(64):
            wire.send(b"x" * MIB)
        assert ask(registry.port, "GET", "/v2/").status == 200


def test_reply_to_head_has_no_body_that_would_pass_for_the_next_reply(registry: Registry) -> None:
    with Wire(registry.port) as wire:
        for path in (registry.path("tags/list"), registry.path(f"blobs/{ABSENT}"), "/v2/nowhere", "/nowhere"):
            wire.send(request("HEAD", path))
            assert wire.read(has_body=False).status in {404, 405}
        wire.send(request("GET", "/v2/"))
        assert wire.read().json == {}


def test_body_of_a_get_is_not_taken_for_the_next_request(registry: Registry) -> None:
    replies, _ = exchange(registry.port, request("GET", "/v2/", (), SMUGGLED))

    assert [reply.json for reply in replies] == [{}]
