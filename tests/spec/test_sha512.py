"""sha512 beside sha256, for every request that names a digest."""

import pytest

from tests.content import MIB, OCI_MANIFEST, descriptor, digest_of, encode, image, index, some_bytes
from tests.spec.client import Repository


@pytest.mark.parametrize("size", [0, 100, MIB, 5 * MIB])
@pytest.mark.parametrize("asked", ["sha256", "sha512"])
def test_blob_pushed_by_sha512_is_pulled_by_either(repository: Repository, size: int, asked: str) -> None:
    """Cases 22 and 23: the header echoes the algorithm that was asked by."""
    content = some_bytes(size)
    repository.push_blob(content, "sha512")
    digest = digest_of(content, asked)

    reply = repository.send("GET", f"blobs/{digest}")

    assert (reply.status, reply["Docker-Content-Digest"], reply.body) == (200, digest, content)


@pytest.mark.parametrize("way", ["post", "put", "patch", "stream"])
def test_blob_is_pushed_by_sha512_in_every_way(repository: Repository, content: bytes, way: str) -> None:
    digest = digest_of(content, "sha512")
    query = f"digest={digest}"
    location = repository.path("blobs/uploads/") if way == "post" else repository.begin()
    if way == "patch":
        repository.follow(location, "PATCH", content, [("Content-Range", f"0-{len(content) - 1}")])
    if way == "stream":
        repository.client.send("PATCH", location, content, framing="chunked")
    body = content if way in {"post", "put"} else b""

    reply = repository.follow(location, "POST" if way == "post" else "PUT", body, query=query)

    assert (reply.status, reply["Docker-Content-Digest"]) == (201, digest)
    assert reply["Location"] == repository.path(f"blobs/{digest}")


@pytest.mark.parametrize("way", ["post", "put", "patch"])
def test_wrong_sha512_is_refused(repository: Repository, content: bytes, way: str) -> None:
    query = f"digest={digest_of(some_bytes(), 'sha512')}"
    location = repository.path("blobs/uploads/") if way == "post" else repository.begin()
    if way == "patch":
        repository.follow(location, "PATCH", content)
    body = b"" if way == "patch" else content

    reply = repository.follow(location, "POST" if way == "post" else "PUT", body, query=query)

    assert (reply.status, reply.codes) == (400, ["DIGEST_INVALID"])


def test_blob_pushed_by_both_is_one(repository: Repository, content: bytes) -> None:
    """Case 22: deleting it by one digest deletes it by the other."""
    repository.push_blob(content, "sha512")
    repository.push_blob(content, "sha256")
    repository.send("DELETE", f"blobs/{digest_of(content)}")

    assert repository.send("HEAD", f"blobs/{digest_of(content, 'sha512')}").status == 404


def test_part_of_a_blob_is_pulled_by_sha512(repository: Repository, content: bytes) -> None:
    digest = repository.push_blob(content, "sha512")

    reply = repository.send("GET", f"blobs/{digest}", headers=[("Range", "bytes=10-19")])

    assert (reply.status, reply.body, reply["ETag"]) == (206, content[10:20], f'"{digest}"')


def test_image_names_its_content_by_sha512(repository: Repository, content: bytes) -> None:
    repository.push_blob(content)
    document = image(content) | {
        "config": descriptor(content, algorithm="sha512"),
        "layers": [descriptor(content, algorithm="sha512")],
    }

    assert repository.put_manifest(document, digest_of(encode(document), "sha512")).status == 201


def test_index_names_its_children_by_sha512(repository: Repository) -> None:
    child = encode(repository.push_image())
    document = index() | {"manifests": [descriptor(child, OCI_MANIFEST, "sha512")]}

    assert repository.put_manifest(document, "all").status == 201


def test_image_that_names_absent_content_by_sha512_is_refused(repository: Repository, content: bytes) -> None:
    document = image(content) | {"config": descriptor(content, algorithm="sha512")}

    assert repository.put_manifest(document).codes[0] == "MANIFEST_BLOB_UNKNOWN"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_tag_of_a_manifest_pushed_by_sha512_says_so(
    repository: Repository, content: bytes, method: str
) -> None:
    repository.push_blob(content)
    digest = digest_of(encode(image(content)), "sha512")
    repository.put_manifest(image(content), f"{digest}?tag=1.0")

    assert repository.send(method, "manifests/1.0")["Docker-Content-Digest"] == digest


def test_manifest_pushed_by_sha512_is_pulled_by_sha256(repository: Repository, content: bytes) -> None:
    repository.push_blob(content)
    repository.push_manifest(image(content), digest_of(encode(image(content)), "sha512"))
    digest = digest_of(encode(image(content)))

    reply = repository.send("GET", f"manifests/{digest}")

    assert (reply.status, reply["Docker-Content-Digest"]) == (200, digest)


def test_subject_named_by_sha512_is_answered_so(repository: Repository, content: bytes) -> None:
    repository.push_blob(content)
    target = encode(repository.push_image())
    document = image(content, subject=descriptor(target, OCI_MANIFEST, "sha512"))

    assert repository.put_manifest(document)["OCI-Subject"] == digest_of(target, "sha512")


@pytest.mark.parametrize("asked", ["sha256", "sha512"])
def test_referrer_that_names_its_subject_by_sha512_is_found_by_either(
    repository: Repository, content: bytes, asked: str
) -> None:
    repository.push_blob(content)
    target = encode(repository.push_image())
    document = image(content, subject=descriptor(target, OCI_MANIFEST, "sha512"))
    digest = repository.push_manifest(document)

    reply = repository.send("GET", f"referrers/{digest_of(target, asked)}")

    assert [entry["digest"] for entry in reply.json["manifests"]] == [digest]


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_large_blob_pushed_by_sha256_is_found_by_sha512_at_once(repository: Repository, method: str) -> None:
    """Case 22; both digests of a small one are computed as it comes."""
    content = some_bytes(5 * MIB)
    repository.push_blob(content)
    digest = digest_of(content, "sha512")

    reply = repository.send(method, f"blobs/{digest}")

    assert (reply.status, reply["Docker-Content-Digest"]) == (200, digest)
