"""Endpoint 11: a blob of another repository, without sending it again."""

import pytest

from tests.content import ABSENT, EMPTY_DIGEST, descriptor, digest_of, image, some_bytes
from tests.spec.client import Repository


@pytest.fixture
def digest(other: Repository, content: bytes) -> str:
    """A blob that the other repository holds."""
    return other.push_blob(content)


def test_mounted_blob_is_201_with_its_place_in_the_target(
    repository: Repository, other: Repository, digest: str
) -> None:
    reply = repository.send("POST", f"blobs/uploads/?mount={digest}&from={other.name}")

    assert (reply.status, reply["Location"]) == (201, repository.path(f"blobs/{digest}"))
    assert reply["Docker-Content-Digest"] == digest


def test_mounted_blob_is_pulled_from_the_target(
    repository: Repository, other: Repository, content: bytes, digest: str
) -> None:
    repository.send("POST", f"blobs/uploads/?mount={digest}&from={other.name}")

    assert repository.send("GET", f"blobs/{digest}").body == content


def test_mounted_blob_makes_an_image(repository: Repository, other: Repository, content: bytes) -> None:
    digest = other.push_blob(content)
    repository.send("POST", f"blobs/uploads/?mount={digest}&from={other.name}")

    assert repository.put_manifest(image(content)).status == 201


def test_blob_is_mounted_without_naming_its_repository(repository: Repository, digest: str) -> None:
    """Case 26: without accounts, any repository may be read."""
    reply = repository.send("POST", f"blobs/uploads/?mount={digest}")

    assert reply.status == 201
    assert repository.send("HEAD", f"blobs/{digest}").status == 200


@pytest.mark.parametrize("order", ["mount={mount}&from={source}", "from={source}&mount={mount}"])
def test_fields_of_a_mount_come_in_any_order(
    repository: Repository, other: Repository, digest: str, order: str
) -> None:
    query = order.format(mount=digest, source=other.name)

    assert repository.send("POST", f"blobs/uploads/?{query}").status == 201


def test_names_in_a_mount_may_be_percent_encoded(
    repository: Repository, other: Repository, digest: str
) -> None:
    """Case 19."""
    query = f"mount={digest.replace(':', '%3A')}&from={other.name.replace('/', '%2F')}"

    assert repository.send("POST", f"blobs/uploads/?{query}").status == 201


def test_blob_is_mounted_by_its_sha512_digest(
    repository: Repository, other: Repository, content: bytes, digest: str
) -> None:
    sha512 = digest_of(content, "sha512")

    reply = repository.send("POST", f"blobs/uploads/?mount={sha512}&from={other.name}")

    assert (reply.status, reply["Docker-Content-Digest"]) == (201, sha512)


@pytest.mark.parametrize("source", ["same", "again"])
def test_blob_that_is_there_already_is_mounted(
    repository: Repository, other: Repository, digest: str, source: str
) -> None:
    """Case 29."""
    target, origin = (other, other) if source == "same" else (repository, other)
    target.send("POST", f"blobs/uploads/?mount={digest}&from={origin.name}")

    assert target.send("POST", f"blobs/uploads/?mount={digest}&from={origin.name}").status == 201


def test_empty_blob_is_mounted(repository: Repository, other: Repository) -> None:
    other.push_blob(b"")

    query = f"mount={EMPTY_DIGEST}&from={other.name}"
    assert repository.send("POST", f"blobs/uploads/?{query}").status == 201


UNMOUNTABLE = [
    pytest.param(f"mount={ABSENT}&from={{source}}", id="case 24: no such blob"),
    pytest.param(f"mount={ABSENT}", id="case 24: no such blob anywhere"),
    pytest.param("mount={digest}&from=spec/absent", id="case 24: no such repository"),
    pytest.param("mount=sha256:zz&from={source}", id="case 24: malformed digest"),
    pytest.param("mount=md5:d41d8cd98f00b204e9800998ecf8427e&from={source}", id="case 24: unknown algorithm"),
    pytest.param("mount=&from={source}", id="case 24: empty digest"),
    pytest.param("mount={digest}&from=..%2F..%2Fetc", id="case 24: malformed repository"),
    pytest.param("mount={digest}&from=Team/App", id="case 24: repository in upper case"),
    pytest.param("mount={digest}&from=", id="case 24: empty repository"),
]


@pytest.mark.parametrize("query", UNMOUNTABLE)
def test_what_cannot_be_mounted_is_202_with_an_upload(
    repository: Repository, other: Repository, content: bytes, digest: str, query: str
) -> None:
    reply = repository.send("POST", f"blobs/uploads/?{query.format(digest=digest, source=other.name)}")

    assert reply.status == 202
    closed = repository.follow(reply["Location"], "PUT", content, query=f"digest={digest}")
    assert closed.status == 201


def test_blob_that_the_source_never_had_is_not_mounted(
    repository: Repository, other: Repository, digest: str
) -> None:
    """It is on the disk, and a third repository holds it; the named one does not."""
    third = Repository(other.client)
    third.push_blob(some_bytes())

    assert repository.send("POST", f"blobs/uploads/?mount={digest}&from={third.name}").status == 202


def test_blob_that_could_not_be_mounted_is_not_in_the_target(
    repository: Repository, other: Repository, digest: str
) -> None:
    repository.send("POST", f"blobs/uploads/?mount={digest}&from=spec/absent")

    assert repository.send("HEAD", f"blobs/{digest}").status == 404


def test_blob_deleted_from_its_source_stays_where_it_was_mounted(
    repository: Repository, other: Repository, content: bytes, digest: str
) -> None:
    repository.send("POST", f"blobs/uploads/?mount={digest}&from={other.name}")
    other.send("DELETE", f"blobs/{digest}")

    assert repository.send("GET", f"blobs/{digest}").body == content


def test_blob_deleted_from_its_source_is_not_mounted_from_it(
    repository: Repository, other: Repository, digest: str
) -> None:
    other.send("DELETE", f"blobs/{digest}")

    assert repository.send("POST", f"blobs/uploads/?mount={digest}&from={other.name}").status == 202


def test_mount_does_not_let_other_content_through(
    repository: Repository, other: Repository, content: bytes, digest: str
) -> None:
    """Case 27."""
    repository.push_blob(content[:100])
    document = image(content[:100]) | {"layers": [descriptor(content)]}

    assert repository.put_manifest(document).codes == ["MANIFEST_BLOB_UNKNOWN"]
