"""The client against real registries: Debian's docker-registry, open, with passwords and with tokens, and
Moorage itself with accounts and TLS. All that is pushed comes back as it was."""

import asyncio
import base64
import json
import os
import secrets
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

import bcrypt
import pytest

from bench.servers import DockerRegistry
from moorage.certificates import authority
from moorage.mirrors.asking import Failed, NotAllowed, NotThere, Unreachable
from moorage.mirrors.upstreams import Address
from moorage.oci.digest import Digest, digest_of
from moorage.oci.media_types import OCI_INDEX, OCI_MANIFEST
from moorage.oci.names import RepositoryName
from moorage.upstream.client import HttpRegistry
from moorage.upstream.pushing import HttpPusher, OpenAt
from tests.acceptance.sandbox import require
from tests.access.people import PASSWORD, People
from tests.servers import ServerProcess
from tests.upstream.token_service import TokenRegistry, TokenService

pytestmark = pytest.mark.anyio

WITHIN_S = 20.0
NAME = "robot"
LAYER = os.urandom(3_000_000)
CONFIG = b"{}"


@dataclass(frozen=True)
class Upstream:
    """A registry that runs, and how it is asked."""

    kind: str
    at: Address

    @property
    def wants_credentials(self) -> bool:
        return bool(self.at.username)


KINDS = ["docker-registry", "docker-registry with passwords", "docker-registry with tokens", "moorage"]


def open_upstream(kind: str, folder: Path) -> Iterator[Upstream]:
    if kind == "moorage":
        with ServerProcess(folder / "data", "--workers", "2", is_tls=True) as server:
            people = People(server.data_dir, server.port)
            people.add(NAME)
            people.add("root", role="admin")
            people.give(NAME, "team/*", "pull", "push")
            own = authority.read((server.data_dir / "tls" / "authority.pem").read_bytes())
            root = ssl.DER_cert_to_PEM_cert(own.der)
            yield Upstream(kind, Address(server.url, NAME, PASSWORD, root))
        return
    require("docker-registry")
    with TokenService(NAME, PASSWORD, folder) as service:
        is_strict = kind.endswith("tokens")
        old = TokenRegistry(kind, folder, service) if is_strict else DockerRegistry(kind, folder)
        if kind.endswith("passwords"):
            hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4, prefix=b"2a"))
            old.ask_for_password(f"{NAME}:{hashed.decode()}\n")
        old.start()
        try:
            url = f"http://127.0.0.1:{old.address.port}"
            yield Upstream(kind, Address(url) if kind == "docker-registry" else Address(url, NAME, PASSWORD))
        finally:
            old.stop()


@pytest.fixture(scope="module", params=KINDS)
def upstream(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    yield from open_upstream(request.param, tmp_path_factory.mktemp("upstream"))


@pytest.fixture
def repository() -> RepositoryName:
    return RepositoryName(f"team/n{secrets.token_hex(6)}")


def source(content: bytes, piece_bytes: int = 100_000) -> OpenAt:
    @asynccontextmanager
    async def open_at(offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        yield pieces_of(content[offset:], piece_bytes)

    return open_at


async def pieces_of(content: bytes, piece_bytes: int = 100_000) -> AsyncGenerator[bytes]:
    for start in range(0, len(content), piece_bytes):
        yield content[start : start + piece_bytes]


def make_manifest(subject: Digest | None = None) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": describe(CONFIG, "application/vnd.oci.image.config.v1+json"),
        "layers": [describe(LAYER, "application/vnd.oci.image.layer.v1.tar")],
    }
    if subject is not None:
        document |= {"subject": {"mediaType": OCI_MANIFEST, "digest": subject, "size": 500}}
    return json.dumps(document).encode()


def describe(content: bytes, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}


async def push_image(pusher: HttpPusher, at: Address, repository: RepositoryName, tag: str = "v1") -> Digest:
    for content in (CONFIG, LAYER):
        await pusher.push_blob(at, repository, digest_of(content), len(content), source(content))
    return await pusher.put_manifest(at, repository, tag, OCI_MANIFEST, make_manifest(), WITHIN_S)


async def read(client: HttpRegistry, at: Address, repository: RepositoryName, offset: int = 0) -> bytes:
    async with client.open_blob(at, repository, digest_of(LAYER), offset, WITHIN_S) as stream:
        assert stream.size == len(LAYER)
        return b"".join([each async for each in stream.pieces])


async def test_image_comes_back_as_it_was_pushed(
    client: HttpRegistry, pusher: HttpPusher, upstream: Upstream, repository: RepositoryName
) -> None:
    await client.ping(upstream.at, WITHIN_S)
    await pusher.ping(upstream.at, WITHIN_S)
    digest = await push_image(pusher, upstream.at, repository)

    shown = await client.head_manifest(upstream.at, repository, "v1", WITHIN_S)
    assert (shown.digest, shown.media_type, shown.size) == (digest, OCI_MANIFEST, len(make_manifest()))
    for reference in ("v1", digest):
        fetched = await client.get_manifest(upstream.at, repository, reference, 10_000, WITHIN_S)
        assert (fetched.digest, fetched.media_type, fetched.payload) == (
            digest,
            OCI_MANIFEST,
            make_manifest(),
        )
    assert await client.head_blob(upstream.at, repository, digest_of(LAYER), WITHIN_S) == len(LAYER)
    assert await read(client, upstream.at, repository) == LAYER
    assert await read(client, upstream.at, repository, 1_234_567) == LAYER[1_234_567:]


async def test_what_is_not_there_is_said_to_be_so(
    client: HttpRegistry, pusher: HttpPusher, upstream: Upstream, repository: RepositoryName
) -> None:
    await push_image(pusher, upstream.at, repository)

    nothing = digest_of(b"nothing")
    for asking in (
        client.head_manifest(upstream.at, repository, "none", WITHIN_S),
        client.get_manifest(upstream.at, repository, "none", 10_000, WITHIN_S),
        client.get_manifest(upstream.at, repository, nothing, 10_000, WITHIN_S),
        client.head_blob(upstream.at, repository, nothing, WITHIN_S),
        pusher.head_blob(upstream.at, repository, nothing, WITHIN_S),
    ):
        with pytest.raises(NotThere):
            await asking


async def test_manifest_larger_than_allowed_is_not_taken(
    client: HttpRegistry, pusher: HttpPusher, upstream: Upstream, repository: RepositoryName
) -> None:
    await push_image(pusher, upstream.at, repository)

    with pytest.raises(Failed, match="more than 100 bytes"):
        await client.get_manifest(upstream.at, repository, "v1", 100, WITHIN_S)


async def test_tags_are_listed_after_one(
    client: HttpRegistry, pusher: HttpPusher, upstream: Upstream, repository: RepositoryName
) -> None:
    for tag in ("a", "b", "c", "d"):
        await push_image(pusher, upstream.at, repository, tag)

    # docker-registry has them in the order in which its folder does
    tags = await client.list_tags(upstream.at, repository, "", 10, WITHIN_S)
    assert sorted(tags) == ["a", "b", "c", "d"]
    assert await client.list_tags(upstream.at, repository, tags[1], 10, WITHIN_S) == tags[2:]
    assert await client.list_tags(upstream.at, repository, "", 3, WITHIN_S) == tags[:3]


async def test_referrers_are_listed_with_and_without_the_api(
    client: HttpRegistry, pusher: HttpPusher, upstream: Upstream, repository: RepositoryName
) -> None:
    subject = await push_image(pusher, upstream.at, repository)
    assert await client.list_referrers(upstream.at, repository, subject, WITHIN_S) == []
    payload = make_manifest(subject)
    await pusher.put_manifest(upstream.at, repository, digest_of(payload), OCI_MANIFEST, payload, WITHIN_S)
    if upstream.kind != "moorage":
        # what a client of a registry without the API does
        listed = [describe(payload, OCI_MANIFEST)]
        body = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed}).encode()
        tag = subject.replace(":", "-")
        await pusher.put_manifest(upstream.at, repository, tag, OCI_INDEX, body, WITHIN_S)

    (found,) = await client.list_referrers(upstream.at, repository, subject, WITHIN_S)
    assert (found["digest"], found["size"]) == (digest_of(payload), len(payload))


async def test_blob_is_mounted_from_another_repository(
    client: HttpRegistry, pusher: HttpPusher, upstream: Upstream, repository: RepositoryName
) -> None:
    await push_image(pusher, upstream.at, repository)
    other = RepositoryName(f"{repository}-other")

    assert await pusher.mount_blob(upstream.at, other, digest_of(LAYER), repository, WITHIN_S) is None
    assert await read(client, upstream.at, other) == LAYER
    unknown = digest_of(b"unknown")
    upload = await pusher.mount_blob(upstream.at, other, unknown, repository, WITHIN_S)
    assert upload is not None
    await pusher.push_blob(upstream.at, other, unknown, 7, source(b"unknown"), upload=upload)
    assert await pusher.head_blob(upstream.at, other, unknown, WITHIN_S) == 7


async def test_upload_goes_on_where_it_stands(
    client: HttpRegistry, pusher: HttpPusher, upstream: Upstream, repository: RepositoryName
) -> None:
    at, told = upstream.at, list[int]()
    upload = await pusher.start_upload(at, repository, WITHIN_S)
    part = pieces_of(LAYER[:1_000_000])
    upload = await pusher.append(at, repository, upload, part, 1_000_000, told.append)
    assert upload.received_bytes == 1_000_000

    found = await pusher.find_upload(at, repository, upload, WITHIN_S)
    assert found.received_bytes == 1_000_000
    await pusher.push_blob(
        at,
        repository,
        digest_of(LAYER),
        len(LAYER),
        source(LAYER),
        upload=found,
        on_progress=told.append,
    )

    assert await read(client, at, repository) == LAYER
    assert told == sorted(told)
    assert told[-1] == len(LAYER)


async def test_blob_that_does_not_match_is_refused_at_once(
    pusher: HttpPusher, upstream: Upstream, repository: RepositoryName
) -> None:
    opened = []

    def open_at(offset: int) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        opened.append(offset)
        return source(b"other")(offset)

    with pytest.raises(Failed, match="DIGEST_INVALID"):
        await pusher.push_blob(upstream.at, repository, digest_of(b"bytes"), 5, open_at)

    assert opened == [0]


async def test_failure_to_read_what_is_pushed_is_told_as_it_is(
    pusher: HttpPusher, upstream: Upstream, repository: RepositoryName
) -> None:
    @asynccontextmanager
    async def open_at(_: int) -> AsyncIterator[AsyncIterator[bytes]]:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"xy"
            raise LookupError("the disk")

        yield pieces()

    with pytest.raises(LookupError, match="the disk"):
        await pusher.push_blob(upstream.at, repository, digest_of(LAYER), len(LAYER), open_at)


@pytest.mark.parametrize("credentials", [("", ""), (NAME, "wrong"), ("nobody", PASSWORD)])
async def test_credentials_that_are_not_taken_are_said_to_be_so(
    client: HttpRegistry,
    pusher: HttpPusher,
    upstream: Upstream,
    repository: RepositoryName,
    credentials: tuple[str, str],
) -> None:
    if not upstream.wants_credentials:
        pytest.skip("this one lets everybody in")
    await push_image(pusher, upstream.at, repository)
    other = Address(upstream.at.url, *credentials, upstream.at.authority)

    with pytest.raises(NotAllowed):
        await client.get_manifest(other, repository, "v1", 10_000, WITHIN_S)
    if credentials[0]:
        with pytest.raises(NotAllowed):
            await client.ping(other, WITHIN_S)
    else:
        await client.ping(other, WITHIN_S)
    assert (await client.get_manifest(upstream.at, repository, "v1", 10_000, WITHIN_S)).payload


async def test_certificate_of_nobody_we_trust_is_refused(client: HttpRegistry, upstream: Upstream) -> None:
    if not upstream.at.authority:
        pytest.skip("this one has no TLS")

    with pytest.raises(Unreachable, match="certificate"):
        await client.ping(Address(upstream.at.url, NAME, PASSWORD), WITHIN_S)


async def test_identity_token_is_taken_in_place_of_the_password(
    client: HttpRegistry, pusher: HttpPusher, upstream: Upstream, repository: RepositoryName
) -> None:
    if upstream.kind != "moorage":
        pytest.skip("this one gives none")
    await push_image(pusher, upstream.at, repository)
    token = await asyncio.to_thread(ask_for_identity_token, upstream.at)
    at = Address(upstream.at.url, "<token>", token, upstream.at.authority)

    assert (await client.get_manifest(at, repository, "v1", 10_000, WITHIN_S)).payload == make_manifest()
    with pytest.raises(NotAllowed):
        await client.ping(Address(at.url, "<token>", f"{token}x", at.authority), WITHIN_S)


def ask_for_identity_token(at: Address) -> str:
    """As `docker login` does."""
    pair = base64.b64encode(f"{at.username}:{at.password}".encode()).decode()
    url = f"{at.url}/token?service=moorage&offline_token=true&client_id=test"
    request = Request(url, headers={"Authorization": f"Basic {pair}"})
    with urlopen(request, context=ssl.create_default_context(cadata=at.authority)) as answer:
        token: str = json.load(answer)["refresh_token"]
        return token
