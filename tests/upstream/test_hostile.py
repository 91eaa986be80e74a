"""Registries that mean harm, or are broken: they get nothing, and nothing of theirs is taken.

127.0.0.2 stands for another host: it is another one to those who must not show it anything.
"""

import asyncio
import json
import socket
import time
import tracemalloc
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from moorage.mirrors.asking import Busy, Failed, NotAllowed, NotThere, Unfit, Unreachable
from moorage.mirrors.upstreams import Address
from moorage.oci.digest import digest_of
from moorage.oci.media_types import OCI_MANIFEST
from moorage.oci.names import RepositoryName
from moorage.upstream import connections
from moorage.upstream.client import HttpRegistry
from tests.upstream.scripted import Asked, Serve, Tls, reply

pytestmark = pytest.mark.anyio

REPOSITORY = RepositoryName("team/app")
MANIFEST = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": {}, "layers": []}).encode()
DIGEST = digest_of(MANIFEST)
TYPED = {"Content-Type": OCI_MANIFEST}
BLOB = bytes(range(256)) * 400
BLOB_DIGEST = digest_of(BLOB)
SECRET = "s3cret-of-the-upstream"
WITHIN_S = 5.0


def known_to(url: str, authority: str = "") -> Address:
    return Address(url, "robot", SECRET, authority)


async def get_manifest(client: HttpRegistry, at: Address, reference: str = "v1") -> bytes:
    return (await client.get_manifest(at, REPOSITORY, reference, 1_000_000, WITHIN_S)).payload


async def read_blob(client: HttpRegistry, at: Address, offset: int = 0) -> bytes:
    async with client.open_blob(at, REPOSITORY, BLOB_DIGEST, offset, WITHIN_S) as stream:
        return b"".join([piece async for piece in stream.pieces])


def challenge(realm: str) -> bytes:
    header = f'Bearer realm="{realm}",service="s",scope="repository:team/app:pull"'
    return reply(401, b"{}", {"WWW-Authenticate": header})


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]"]
)
async def test_b107_private_address_is_refused_at_connect(serve: Serve, host: str) -> None:
    server = serve(lambda _: reply())
    client = HttpRegistry([])

    for scheme in ("http", "https"):
        with pytest.raises(Unreachable, match=r"mirrors\.private_addresses|no name of a host"):
            await client.ping(known_to(f"{scheme}://{host}:{server.port}"), WITHIN_S)

    assert server.asked == []
    await client.close()


async def test_b108_name_that_is_public_first_and_private_then_is_refused(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(lambda _: reply())
    answers = count()

    def resolve(host: str, port: int, *_: object, **__: object) -> list[object]:
        address = "127.0.0.1" if next(answers) else "192.0.2.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    # 192.0.2.1 stands for a public one: it is nobody's, so that there is nothing to wait for
    client = HttpRegistry(["192.0.2.1/32"])
    at = known_to(f"http://rebinding.example:{server.port}")

    for _ in range(3):
        with pytest.raises((Unreachable, Failed)):
            await client.ping(at, 0.3)

    assert next(answers) >= 3
    assert server.asked == []
    await client.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_b109_redirect_to_a_private_address_is_not_followed(serve: Serve, status: int) -> None:
    inside = serve(lambda _: reply(200, MANIFEST, TYPED), host="127.0.0.2")
    server = serve(lambda _: reply(status, b"", {"Location": f"{inside.url}/latest/meta-data"}))
    client = HttpRegistry(["127.0.0.1/32"])

    with pytest.raises(Unreachable, match=r"127\.0\.0\.2 is not"):
        await get_manifest(client, Address(server.url))

    assert inside.asked == []
    await client.close()


async def test_b109_twenty_hops_are_not_followed(client: HttpRegistry, serve: Serve) -> None:
    server = serve(lambda asked: reply(307, b"", {"Location": f"{asked.path}x"}))

    with pytest.raises(Failed, match="more than 5 redirects"):
        await get_manifest(client, Address(server.url))

    assert len(server.asked) == 6


async def test_b109_redirect_from_https_to_http_is_not_followed(
    client: HttpRegistry, serve: Serve, tls: Tls
) -> None:
    plain = serve(lambda _: reply(200, MANIFEST, TYPED))
    server = serve(lambda _: reply(302, b"", {"Location": plain.url}), tls=tls)

    with pytest.raises(Failed, match="from https to http"):
        await get_manifest(client, known_to(server.url, tls.root))

    assert len(server.asked) == 1
    assert plain.asked == []


@pytest.mark.parametrize(
    "location", ["", "file:///etc/passwd", "http://u:p@127.0.0.1/", "http://127.0.0.1:22/", "\\\\x"]
)
async def test_b110_redirect_to_no_web_server_is_not_followed(
    client: HttpRegistry, serve: Serve, location: str
) -> None:
    server = serve(lambda _: reply(302, b"", {"Location": location}))

    with pytest.raises(Failed, match="nobody follows"):
        await get_manifest(client, Address(server.url))

    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "http://u:p@127.0.0.1", "ftp://127.0.0.1", "http://x\\@y", ""]
)
async def test_b110_address_that_is_no_registry_s_is_not_asked(client: HttpRegistry, url: str) -> None:
    with pytest.raises(Unreachable, match="of no use"):
        await client.ping(known_to(url), WITHIN_S)


async def test_b111_realm_on_another_site_gets_nothing(client: HttpRegistry, serve: Serve) -> None:
    thief = serve(lambda _: reply(200, b'{"token":"t"}'), host="127.0.0.2")
    server = serve(lambda _: challenge(f"{thief.url}/token"))

    for at in (known_to(server.url), Address(server.url)):
        with pytest.raises(NotAllowed, match="another site"):
            await get_manifest(client, at)

    assert thief.asked == []
    assert {each.authorization for each in server.asked} == {None}


async def test_b111_realm_by_http_gets_nothing(client: HttpRegistry, serve: Serve, tls: Tls) -> None:
    plain = serve(lambda _: reply(200, b'{"token":"t"}'))
    server = serve(lambda _: challenge(f"{plain.url}/token"), tls=tls)

    with pytest.raises(NotAllowed, match="from https to http"):
        await get_manifest(client, known_to(server.url, tls.root))

    assert plain.asked == []


async def test_b111_realm_that_leads_elsewhere_shows_nothing_there(
    client: HttpRegistry, serve: Serve
) -> None:
    thief = serve(lambda _: reply(200, b'{"token":"t"}'), host="127.0.0.2")

    def answer(asked: Asked) -> bytes:
        if asked.path == "/token":
            return reply(302, b"", {"Location": f"{thief.url}/token"})
        return (
            challenge(f"{server.url}/token") if asked.authorization is None else reply(200, MANIFEST, TYPED)
        )

    server = serve(answer)
    await get_manifest(client, known_to(server.url))

    assert [each.authorization is not None for each in server.asked] == [False, True, True]
    assert [each.authorization for each in thief.asked] == [None]
    assert SECRET not in repr(thief.asked)


@pytest.mark.parametrize("kind", ["Basic", "Bearer"])
async def test_b112_redirect_to_another_host_carries_no_credentials(
    client: HttpRegistry, serve: Serve, kind: str
) -> None:
    other = serve(lambda _: reply(200, BLOB), host="127.0.0.2")

    def answer(asked: Asked) -> bytes:
        if asked.path == "/token":
            return reply(200, b'{"token":"t"}')
        if asked.authorization is None:
            return challenge(f"{server.url}/token") if kind == "Bearer" else basic_challenge()
        return reply(307, b"", {"Location": f"{other.url}/blob?signature=a%2Fb"})

    server = serve(answer)
    assert await read_blob(client, known_to(server.url)) == BLOB

    assert server.asked[-1].authorization is not None
    assert [(each.target, each.authorization) for each in other.asked] == [("/blob?signature=a%2Fb", None)]


async def test_b112_port_counts_and_credentials_do_not_come_back(client: HttpRegistry, serve: Serve) -> None:
    """Away from the registry and home again: there it could be anyone's wish."""
    other = serve(lambda _: reply(307, b"", {"Location": f"{server.url}/home"}))

    def answer(asked: Asked) -> bytes:
        if asked.path == "/home":
            return reply(200, BLOB)
        if asked.authorization is None:
            return basic_challenge()
        return reply(307, b"", {"Location": f"{other.url}/away"})

    server = serve(answer)
    assert await read_blob(client, known_to(server.url)) == BLOB

    assert [each.authorization is None for each in other.asked] == [True]
    assert [each.authorization is None for each in server.asked if each.path == "/home"] == [True]


async def test_b112_challenge_of_another_host_is_not_answered(client: HttpRegistry, serve: Serve) -> None:
    other = serve(lambda _: basic_challenge(), host="127.0.0.2")
    server = serve(lambda _: reply(307, b"", {"Location": f"{other.url}/blob"}))

    with pytest.raises(NotAllowed):
        await read_blob(client, known_to(server.url))

    assert [each.authorization for each in other.asked] == [None]


def basic_challenge() -> bytes:
    return reply(401, b"{}", {"WWW-Authenticate": 'Basic realm="x"'})


async def test_b113_endless_manifest_is_cut(client: HttpRegistry, serve: Serve) -> None:
    def answer(_: Asked) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Type: " + OCI_MANIFEST.encode() + b"\r\n\r\n"
        while True:
            yield b" " * 65536

    server = serve(answer)
    tracemalloc.start()
    with pytest.raises(Failed, match="more than 1000000 bytes"):
        await get_manifest(client, Address(server.url))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 20_000_000


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate, gzip"])
async def test_b113_compressed_body_is_not_even_looked_at(
    client: HttpRegistry, serve: Serve, coding: str
) -> None:
    server = serve(lambda _: reply(200, BLOB, {"Content-Encoding": coding, **TYPED}))

    with pytest.raises(Failed, match="compressed"):
        await get_manifest(client, Address(server.url))
    with pytest.raises(Failed, match="compressed"):
        await read_blob(client, Address(server.url))

    assert {each.headers["accept-encoding"] for each in server.asked} == {"identity"}


@pytest.mark.parametrize("status", [200, 206])
async def test_b113_web_page_is_no_registry(client: HttpRegistry, serve: Serve, status: int) -> None:
    page = reply(status, b"<html>Please pay</html>", {"Content-Type": "text/html; charset=utf-8"})
    server = serve(lambda _: page)
    at = Address(server.url)

    for asking in (
        client.head_manifest(at, REPOSITORY, "v1", WITHIN_S),
        client.get_manifest(at, REPOSITORY, "v1", 1000, WITHIN_S),
        client.head_blob(at, REPOSITORY, BLOB_DIGEST, WITHIN_S),
        client.list_tags(at, REPOSITORY, "", 10, WITHIN_S),
        client.list_referrers(at, REPOSITORY, DIGEST, WITHIN_S),
        read_blob(client, at),
    ):
        with pytest.raises(Failed):
            await asking
    if status == 200:
        with pytest.raises(Failed, match="web page"):
            await client.ping(at, WITHIN_S)


@pytest.mark.parametrize("kind", ["one line", "many lines", "status line"])
async def test_b113_head_without_end_is_cut(client: HttpRegistry, serve: Serve, kind: str) -> None:
    def answer(_: Asked) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 " + (b"" if kind == "status line" else b"OK\r\nX-First: ")
        while True:
            yield b"X: " + b"x" * 1000 + b"\r\n" if kind == "many lines" else b"x" * 65536

    server = serve(answer)
    tracemalloc.start()
    with pytest.raises(Failed):
        await get_manifest(client, Address(server.url))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 20_000_000


@pytest.mark.parametrize(
    ("headers", "reference"),
    [
        (TYPED, digest_of(b"other")),
        ({**TYPED, "Docker-Content-Digest": digest_of(b"other")}, "v1"),
        ({**TYPED, "Docker-Content-Digest": "sha256:short"}, "v1"),
    ],
)
async def test_b113_manifest_with_a_wrong_digest_is_not_taken(
    client: HttpRegistry, serve: Serve, headers: dict[str, str], reference: str
) -> None:
    server = serve(lambda _: reply(200, MANIFEST, headers))

    with pytest.raises(Failed, match=r"digest|do not match"):
        await get_manifest(client, Address(server.url), reference)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"[" * 100_000, b'{"schemaVersion":2', b'"x"'])
async def test_b113_manifest_that_is_none_is_not_taken(
    client: HttpRegistry, serve: Serve, body: bytes
) -> None:
    server = serve(lambda _: reply(200, body, TYPED))

    with pytest.raises(Failed, match="JSON"):
        await get_manifest(client, Address(server.url))


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/vnd.docker.distribution.manifest.v1+prettyjws", b'{"schemaVersion":1}'),
        (OCI_MANIFEST, b'{"schemaVersion":1}'),
    ],
)
async def test_manifest_of_schema_1_is_not_taken(
    client: HttpRegistry, serve: Serve, content_type: str, body: bytes
) -> None:
    server = serve(lambda _: reply(200, body, {"Content-Type": content_type}))

    with pytest.raises(Failed, match="schema 1"):
        await get_manifest(client, Address(server.url))


async def test_type_that_only_the_manifest_says_counts(client: HttpRegistry, serve: Serve) -> None:
    server = serve(lambda _: reply(200, MANIFEST, {"Content-Type": "application/json"}))

    fetched = await client.get_manifest(Address(server.url), REPOSITORY, "v1", 1000, WITHIN_S)

    assert (fetched.media_type, fetched.digest, fetched.payload) == (OCI_MANIFEST, DIGEST, MANIFEST)


async def test_b113_blob_that_is_cut_fails(client: HttpRegistry, serve: Serve) -> None:
    server = serve(lambda _: reply(200, BLOB[:1000], length=len(BLOB)))

    with pytest.raises(Failed, match="broke off"):
        await read_blob(client, Address(server.url))


async def test_b113_blob_that_says_it_is_another_is_not_read(client: HttpRegistry, serve: Serve) -> None:
    server = serve(lambda _: reply(200, BLOB, {"Docker-Content-Digest": digest_of(b"other")}))

    with pytest.raises(Failed, match="another blob"):
        await read_blob(client, Address(server.url))
    with pytest.raises(Failed, match="another blob"):
        await client.head_blob(Address(server.url), REPOSITORY, BLOB_DIGEST, WITHIN_S)


@pytest.mark.parametrize(
    ("status", "content_range", "body"),
    [
        (206, f"bytes 0-{len(BLOB) - 1}/{len(BLOB)}", BLOB),
        (206, f"bytes 1000-1999/{len(BLOB)}", BLOB[1000:2000]),
        (206, f"bytes 1000-{len(BLOB) - 1}/{len(BLOB)}", BLOB[1000:] + b"more"),
        (206, "", BLOB[1000:]),
        (206, "bytes 1000-x", BLOB[1000:]),
        (200, "", BLOB[:500]),
        (204, "", b""),
    ],
)
async def test_b113_range_that_was_not_asked_for_fails(
    client: HttpRegistry, serve: Serve, status: int, content_range: str, body: bytes
) -> None:
    server = serve(lambda _: reply(status, body, {"Content-Range": content_range}))

    with pytest.raises(Failed):
        await read_blob(client, Address(server.url), 1000)


async def test_more_bytes_than_a_range_has_fail(client: HttpRegistry, serve: Serve) -> None:
    head = f"HTTP/1.1 206 X\r\nContent-Range: bytes 1000-{len(BLOB) - 1}/{len(BLOB)}\r\n\r\n".encode()
    server = serve(lambda _: head + BLOB[1000:] + b"more")

    with pytest.raises(Failed, match="more than"):
        await read_blob(client, Address(server.url), 1000)


@pytest.mark.parametrize("says_length", [True, False])
async def test_registry_that_knows_no_ranges_is_read_from_the_start(
    client: HttpRegistry, serve: Serve, *, says_length: bool
) -> None:
    server = serve(lambda _: reply(200, BLOB) if says_length else b"HTTP/1.1 200 X\r\n\r\n" + BLOB)

    async with client.open_blob(Address(server.url), REPOSITORY, BLOB_DIGEST, 70_001, WITHIN_S) as stream:
        got = b"".join([piece async for piece in stream.pieces])

    assert got == BLOB[70_001:]
    assert stream.size == (len(BLOB) if says_length else None)
    assert server.asked[0].headers["range"] == "bytes=70001-"


async def test_blob_of_which_nothing_comes_any_more_fails(
    client: HttpRegistry, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    import aiohttp  # noqa: PLC0415

    monkeypatch.setattr(connections, "_TIMEOUT", aiohttp.ClientTimeout(total=None, sock_read=0.3))

    def answer(_: Asked) -> Iterator[bytes]:
        yield reply(200, BLOB[:1000], length=len(BLOB))
        time.sleep(2)

    server = serve(answer)
    with pytest.raises(Failed, match="sent nothing"):
        await read_blob(client, Address(server.url))


async def test_head_that_does_not_come_in_time_fails(client: HttpRegistry, serve: Serve) -> None:
    def answer(asked: Asked) -> Iterator[bytes]:
        if asked.path == "/token":
            time.sleep(0.4)
            yield reply(200, b'{"token":"t"}')
        elif asked.authorization is None:
            time.sleep(0.4)
            yield challenge(f"{server.url}/token")
        else:
            time.sleep(0.4)
            yield reply(200, MANIFEST, TYPED)

    server = serve(answer)
    with pytest.raises(Unreachable, match=r"did not answer within 0\.9 s"):
        await client.get_manifest(Address(server.url), REPOSITORY, "v1", 1000, 0.9)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (
            reply(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest \\u001b[31m unknown"}]}'),
            NotThere,
        ),
        (reply(403), NotAllowed),
        (reply(401), NotAllowed),
        (reply(429), Busy),
        (reply(503, b"", {"Retry-After": "7"}), Busy),
        (reply(503), Failed),
        (reply(500), Failed),
        (reply(418), Failed),
        (reply(304), Failed),
        (b"SMTP ready\r\n\r\n", Failed),
    ],
)
async def test_refusals_are_told_apart(
    client: HttpRegistry, serve: Serve, answer: bytes, kind: type[Exception]
) -> None:
    server = serve(lambda _: answer)

    with pytest.raises(kind) as failure:
        await get_manifest(client, Address(server.url))

    assert str(failure.value).isprintable()
    assert f"127.0.0.1:{server.port}" in str(failure.value)


async def test_quota_and_time_to_wait_are_kept(client: HttpRegistry, serve: Serve) -> None:
    limits = {"RateLimit-Limit": "100;w=21600", "RateLimit-Remaining": "0;w=21600", "Retry-After": "33"}
    server = serve(lambda _: reply(429, b'{"errors":[{"code":"TOOMANYREQUESTS"}]}', limits))
    at = Address(server.url)
    assert client.quota_of(at) is None

    with pytest.raises(Busy, match="TOOMANYREQUESTS") as failure:
        await get_manifest(client, at)

    assert failure.value.retry_after_s == 33
    quota = client.quota_of(at)
    assert quota is not None
    assert (quota.limit, quota.left) == (100, 0)


async def test_question_that_is_cut_off_is_asked_once_more(client: HttpRegistry, serve: Serve) -> None:
    answers = iter([b"", reply(200, MANIFEST, TYPED), b"", b"", b""])
    server = serve(lambda _: next(answers))

    assert await get_manifest(client, Address(server.url)) == MANIFEST
    with pytest.raises(Failed, match="broke the connection off"):
        await get_manifest(client, Address(server.url))

    assert len(server.asked) == 4


async def test_cookies_are_neither_kept_nor_sent(client: HttpRegistry, serve: Serve) -> None:
    server = serve(lambda _: reply(200, MANIFEST, {**TYPED, "Set-Cookie": "a=b"}))

    for _ in range(2):
        await get_manifest(client, Address(server.url))

    assert [each.headers.get("cookie") for each in server.asked] == [None, None]


async def test_netrc_is_not_shown_to_anyone(
    client: HttpRegistry,
    serve: Serve,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    netrc = tmp_path_factory.mktemp("home") / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login me password {SECRET}\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server = serve(lambda _: reply(200, MANIFEST, TYPED))

    await get_manifest(client, Address(server.url))

    assert [each.authorization for each in server.asked] == [None]


async def test_next_page_of_another_host_is_not_asked(client: HttpRegistry, serve: Serve) -> None:
    other = serve(lambda _: reply(200, b'{"tags":["x"]}'), host="127.0.0.2")
    server = serve(lambda _: reply(200, b'{"tags":["a"]}', {"Link": f'<{other.url}/v2/t>; rel="next"'}))

    assert await client.list_tags(known_to(server.url), REPOSITORY, "", 10, WITHIN_S) == ["a"]
    assert other.asked == []


async def test_tags_are_read_over_pages_and_only_tags_are(client: HttpRegistry, serve: Serve) -> None:
    def answer(asked: Asked) -> bytes:
        if "last=b" in asked.target:
            return reply(200, b'{"tags":["c","d"]}')
        link = {"Link": '</v2/team/app/tags/list?last=b&n=2>; rel="next"'}
        return reply(200, b'{"tags":["a","../x",7,"b"]}', link)

    server = serve(answer)
    assert await client.list_tags(Address(server.url), REPOSITORY, "", 10, WITHIN_S) == ["a", "b", "c", "d"]
    assert await client.list_tags(Address(server.url), REPOSITORY, "", 3, WITHIN_S) == ["a", "b", "c"]


async def test_pages_without_end_are_left(client: HttpRegistry, serve: Serve) -> None:
    numbers = count()

    def answer(_: Asked) -> bytes:
        link = {"Link": f'</v2/team/app/tags/list?page={next(numbers)}>; rel="next"'}
        return reply(200, b'{"tags":[]}', link)

    server = serve(answer)
    assert await client.list_tags(Address(server.url), REPOSITORY, "", 10, WITHIN_S) == []
    assert len(server.asked) == 20


async def test_registry_that_knows_no_last_does_not_begin_anew(client: HttpRegistry, serve: Serve) -> None:
    server = serve(lambda _: reply(200, b'{"tags":["a","b","c"]}'))

    assert await client.list_tags(Address(server.url), REPOSITORY, "b", 10, WITHIN_S) == ["c"]


async def test_secrets_are_in_no_repr_and_no_sentence(client: HttpRegistry, serve: Serve) -> None:
    server = serve(lambda _: basic_challenge())
    at = known_to(server.url)

    with pytest.raises(NotAllowed) as failure:
        await get_manifest(client, at)

    assert SECRET not in f"{at!r} {failure.value!r} {failure.value.__cause__!r}"


async def test_client_that_leaves_ends_the_connection(client: HttpRegistry, serve: Serve) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def answer(_: Asked) -> Iterator[bytes]:
        try:
            yield b"HTTP/1.1 200 X\r\n\r\n"
            while True:
                yield BLOB
        finally:
            loop.call_soon_threadsafe(ended.set)

    server = serve(answer)
    async with client.open_blob(Address(server.url), REPOSITORY, BLOB_DIGEST, 0, WITHIN_S) as stream:
        async for _ in stream.pieces:
            break

    async with asyncio.timeout(10):
        await ended.wait()


async def test_authority_of_a_registry_counts_in_place_of_the_systems(
    client: HttpRegistry, serve: Serve, tls: Tls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    other = Tls.make(tmp_path / "other")
    (tmp_path / "system.pem").write_text(tls.root)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    away = serve(lambda _: reply(200, MANIFEST, TYPED), tls=tls)
    home = serve(lambda _: reply(307, b"", {"Location": f"{away.url}/"}), tls=other)

    assert await get_manifest(client, known_to(away.url)) == MANIFEST
    with pytest.raises(Unreachable, match="certificate"):
        await get_manifest(client, known_to(away.url, other.root))
    # where it leads to is another's, and the system knows whose
    assert await get_manifest(client, known_to(home.url, other.root)) == MANIFEST


async def test_authority_that_cannot_be_read_is_told_of(client: HttpRegistry, serve: Serve, tls: Tls) -> None:
    server = serve(lambda _: reply(200, MANIFEST, TYPED), tls=tls)

    with pytest.raises(Unreachable, match="cannot be read"):
        await get_manifest(client, known_to(server.url, "-----BEGIN CERTIFICATE-----\nx\n"))


@pytest.mark.parametrize(
    ("status", "media_type", "body", "is_of_who_asks"),
    [
        (200, "application/vnd.docker.distribution.manifest.v1+prettyjws", b'{"schemaVersion":1}', True),
        (200, "application/vnd.example.other+json", b"{}", True),
        (200, OCI_MANIFEST, b" " * 1_000_001, True),
        (400, "application/json", b'{"errors":[{"code":"DIGEST_INVALID"}]}', True),
        (200, "text/html", b"<p>Pay first.</p>", False),
        (200, OCI_MANIFEST, b"{", False),
        (500, "application/json", b"{}", False),
    ],
)
async def test_what_anyone_can_ask_for_in_vain_is_told_apart_from_a_line_that_fails(
    serve: Serve, status: int, media_type: str, body: bytes, *, is_of_who_asks: bool
) -> None:
    server, client = (
        serve(lambda _: reply(status, body, {"Content-Type": media_type})),
        HttpRegistry(["127.0.0.1"]),
    )

    with pytest.raises(Failed) as failed:
        await get_manifest(client, known_to(server.url))

    assert isinstance(failed.value, Unfit) == is_of_who_asks
    await client.close()


async def test_manifest_that_drips_is_given_up_in_time(client: HttpRegistry, serve: Serve) -> None:
    def drip(_: Asked) -> Iterator[bytes]:
        yield reply(200, b"", {**TYPED, "Content-Length": str(len(MANIFEST))})
        for at in range(len(MANIFEST)):
            time.sleep(0.1)
            yield MANIFEST[at : at + 1]

    server = serve(drip)
    began = time.monotonic()

    with pytest.raises(Failed, match=r"within 0\.5 s"):
        await client.get_manifest(Address(server.url), REPOSITORY, "v1", 1_000_000, 0.5)

    assert time.monotonic() - began < len(MANIFEST) * 0.1 / 2
