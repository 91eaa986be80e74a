"""Endpoints 2 and 3: pull blobs and manifests."""

import pytest

from tests.content import (
    ABSENT,
    CONFIG,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    EMPTY_DIGEST,
    IMAGES,
    INDEXES,
    MIB,
    OCI_INDEX,
    OCI_MANIFEST,
    descriptor,
    digest_of,
    encode,
    image,
    index,
    some_bytes,
)
from tests.spec.client import Client, Repository


def test_blob_is_pulled_byte_for_byte(repository: Repository, content: bytes) -> None:
    digest = repository.push_blob(content)

    reply = repository.send("GET", f"blobs/{digest}")

    assert (reply.status, reply.body) == (200, content)


@pytest.mark.parametrize("size", [1, 64 * 1024, 64 * 1024 + 1, MIB, MIB + 1, 3 * MIB + 7])
def test_blob_of_any_size_is_pulled_whole(repository: Repository, size: int) -> None:
    content = some_bytes(size)
    digest = repository.push_blob(content)

    reply = repository.send("GET", f"blobs/{digest}")

    assert reply["Content-Length"] == str(size)
    assert reply.body == content


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_blob_comes_with_the_digest_it_was_asked_by(
    repository: Repository, content: bytes, method: str, algorithm: str
) -> None:
    repository.push_blob(content)
    digest = digest_of(content, algorithm)

    reply = repository.send(method, f"blobs/{digest}")

    assert (reply.status, reply["Docker-Content-Digest"]) == (200, digest)


def test_head_of_a_blob_has_its_length_and_no_body(repository: Repository, content: bytes) -> None:
    digest = repository.push_blob(content)

    reply = repository.send("HEAD", f"blobs/{digest}")

    assert (reply.status, reply["Content-Length"], reply.body) == (200, str(len(content)), b"")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_absent_blob_is_404(repository: Repository, content: bytes, method: str) -> None:
    repository.push_blob(content)

    assert repository.send(method, f"blobs/{ABSENT}").status == 404


def test_absent_blob_is_told_as_blob_unknown(repository: Repository) -> None:
    assert repository.send("GET", f"blobs/{ABSENT}").codes == ["BLOB_UNKNOWN"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_blob_of_another_repository_is_404(
    repository: Repository, other: Repository, content: bytes, method: str
) -> None:
    """Case 28: the bytes are on the disk, but not in this repository."""
    digest = repository.push_blob(content)
    other.push_blob(some_bytes())

    assert other.send(method, f"blobs/{digest}").status == 404


def test_manifest_digest_among_blobs_may_be_told_as_unknown(repository: Repository) -> None:
    digest = digest_of(encode(repository.push_image()))

    assert repository.send("HEAD", f"blobs/{digest}").status == 404


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_empty_blob_is_pulled(repository: Repository, method: str) -> None:
    """Case 15."""
    repository.push_blob(b"")

    reply = repository.send(method, f"blobs/{EMPTY_DIGEST}")

    assert (reply.status, reply["Content-Length"], reply.body) == (200, "0", b"")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_blob_is_never_compressed(repository: Repository, method: str) -> None:
    """Case 54: containerd would decode it, and its length would be another."""
    content = b"a" * 100_000
    digest = repository.push_blob(content)

    reply = repository.send(method, f"blobs/{digest}", headers=[("Accept-Encoding", "zstd, gzip, deflate")])

    assert reply.header("Content-Encoding") is None
    assert reply["Content-Length"] == str(len(content))


@pytest.mark.parametrize("media_type", IMAGES)
def test_image_is_pulled_by_tag_as_it_was_pushed(repository: Repository, media_type: str) -> None:
    document = repository.push_image("1.0", media_type=media_type)

    reply = repository.send("GET", "manifests/1.0")

    assert (reply.status, reply.body) == (200, encode(document))
    assert reply["Content-Type"] == media_type


@pytest.mark.parametrize("media_type", INDEXES)
def test_index_is_pulled_by_digest_as_it_was_pushed(repository: Repository, media_type: str) -> None:
    document = index([repository.push_image()], media_type=media_type)
    digest = repository.push_manifest(document)

    reply = repository.send("GET", f"manifests/{digest}")

    assert (reply.status, reply.body) == (200, encode(document))
    assert reply["Content-Type"] == media_type


@pytest.mark.parametrize("by", ["tag", "digest"])
def test_head_of_a_manifest_has_all_the_headers_of_a_get(repository: Repository, by: str) -> None:
    """Case 52."""
    digest = digest_of(encode(repository.push_image("1.0")))
    reference = "1.0" if by == "tag" else digest

    head = repository.send("HEAD", f"manifests/{reference}")
    get = repository.send("GET", f"manifests/{reference}")

    assert (head.status, head.body) == (200, b"")
    assert {pair for pair in head.fields if pair[0].lower() != "date"} == {
        pair for pair in get.fields if pair[0].lower() != "date"
    }
    assert head["Content-Length"] == str(len(get.body))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_manifest_pulled_by_tag_comes_with_its_digest(repository: Repository, method: str) -> None:
    document = repository.push_image("1.0")

    assert repository.send(method, "manifests/1.0")["Docker-Content-Digest"] == digest_of(encode(document))


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_manifest_comes_with_the_digest_it_was_asked_by(repository: Repository, algorithm: str) -> None:
    digest = digest_of(encode(repository.push_image()), algorithm)

    assert repository.send("GET", f"manifests/{digest}")["Docker-Content-Digest"] == digest


@pytest.mark.parametrize(
    "accept",
    [
        [],
        [("Accept", "*/*")],
        [("Accept", DOCKER_MANIFEST)],
        [("Accept", OCI_INDEX), ("Accept", DOCKER_LIST)],
        [("Accept", f"{OCI_INDEX}, {DOCKER_LIST};q=0.5, application/json")],
        [("Accept", "text/html")],
    ],
)
def test_manifest_keeps_its_type_whatever_a_client_accepts(
    repository: Repository, accept: list[tuple[str, str]]
) -> None:
    document = repository.push_image("1.0")

    reply = repository.send("GET", "manifests/1.0", headers=accept)

    assert (reply.status, reply["Content-Type"], reply.body) == (200, OCI_MANIFEST, encode(document))


def test_list_is_never_answered_with_one_of_its_images(repository: Repository) -> None:
    document = index([repository.push_image()], media_type=DOCKER_LIST)
    repository.push_manifest(document, "1.0")

    reply = repository.send("GET", "manifests/1.0", headers=[("Accept", DOCKER_MANIFEST)])

    assert (reply["Content-Type"], reply.body) == (DOCKER_LIST, encode(document))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("reference", ["absent", ABSENT])
def test_absent_manifest_is_404(repository: Repository, method: str, reference: str) -> None:
    repository.push_image("1.0")

    assert repository.send(method, f"manifests/{reference}").status == 404


@pytest.mark.parametrize("reference", ["absent", ABSENT])
def test_absent_manifest_is_told_as_manifest_unknown(repository: Repository, reference: str) -> None:
    assert repository.send("GET", f"manifests/{reference}").codes == ["MANIFEST_UNKNOWN"]


@pytest.mark.parametrize("rest", ["manifests/1.0", f"manifests/{ABSENT}", f"blobs/{ABSENT}", "tags/list"])
def test_pull_from_a_repository_that_does_not_exist_is_404(repository: Repository, rest: str) -> None:
    assert repository.send("GET", rest).status == 404


def test_manifest_of_another_repository_is_404(repository: Repository, other: Repository) -> None:
    digest = digest_of(encode(repository.push_image()))
    other.push_image()

    assert other.send("GET", f"manifests/{digest}").status == 404


def test_manifest_is_never_compressed(repository: Repository) -> None:
    """Case 54."""
    repository.push_image("1.0", annotations={"padding": "a" * 100_000})

    reply = repository.send("GET", "manifests/1.0", headers=[("Accept-Encoding", "gzip")])

    assert reply.header("Content-Encoding") is None


def test_range_on_a_manifest_is_ignored(repository: Repository) -> None:
    """Case 58."""
    document = repository.push_image("1.0")

    reply = repository.send("GET", "manifests/1.0", headers=[("Range", "bytes=0-9")])

    assert (reply.status, reply.body) == (200, encode(document))


@pytest.mark.parametrize("rest", ["manifests/1.0", "blobs/{config}"])
def test_source_host_of_a_mirror_may_be_named(repository: Repository, rest: str) -> None:
    config = some_bytes()
    digest = repository.push_blob(config)
    repository.push_manifest(image(config), "1.0")

    assert repository.send("GET", f"{rest.format(config=digest)}?ns=docker.io").status == 200


def test_manifest_of_the_largest_size_is_pulled_whole(repository: Repository, content: bytes) -> None:
    repository.push_blob(content)
    document = image(content, annotations={f"a{number}": "a" * 1_000_000 for number in range(4)})
    repository.push_manifest(document, "1.0")

    assert repository.send("GET", "manifests/1.0").body == encode(document)


def test_error_on_head_has_no_body_that_would_spoil_the_connection(
    repository: Repository, client: Client
) -> None:
    """Case 53."""
    path = repository.path(f"blobs/{ABSENT}")
    first = f"HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n"
    second = "GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    received = client.exchange((first + second).encode())

    heads = received.split(b"\r\n\r\n")
    assert heads[0].startswith(b"HTTP/1.1 404")
    assert heads[1].startswith(b"HTTP/1.1 200")


def test_config_is_a_blob_like_any_other(repository: Repository) -> None:
    config = some_bytes()
    digest = repository.push_blob(config)
    repository.push_manifest(image(config), "1.0")
    pulled = repository.send("GET", "manifests/1.0").json["config"]

    assert pulled == descriptor(config, CONFIG)
    assert repository.send("GET", f"blobs/{digest}").body == config
