"""Endpoints 9 and 10: delete tags, manifests and blobs."""

from collections.abc import Iterator

import pytest

from tests.content import ABSENT, Document, digest_of, encode, image, index, some_bytes
from tests.servers import ServerProcess
from tests.spec.client import Client, Repository


@pytest.fixture
def document(repository: Repository) -> Document:
    """An image with two tags."""
    pushed = repository.push_image("1.0")
    repository.push_manifest(pushed, "latest")
    return pushed


@pytest.fixture
def digest(document: Document) -> str:
    return digest_of(encode(document))


def test_tag_deleted_is_202_and_gone(repository: Repository, document: Document) -> None:
    assert repository.send("DELETE", "manifests/1.0").status == 202
    assert repository.send("HEAD", "manifests/1.0").status == 404


def test_tag_deleted_leaves_its_manifest(repository: Repository, document: Document, digest: str) -> None:
    """Case 49."""
    repository.send("DELETE", "manifests/1.0")

    assert repository.send("GET", f"manifests/{digest}").body == encode(document)


def test_tag_deleted_leaves_the_other_tags(repository: Repository, document: Document) -> None:
    """Case 49."""
    repository.send("DELETE", "manifests/1.0")

    assert repository.send("GET", "manifests/latest").body == encode(document)
    assert repository.send("GET", "tags/list").json["tags"] == ["latest"]


def test_manifest_deleted_is_202_and_gone(repository: Repository, digest: str) -> None:
    assert repository.send("DELETE", f"manifests/{digest}").status == 202
    assert repository.send("HEAD", f"manifests/{digest}").status == 404


def test_manifest_deleted_takes_its_tags_along(repository: Repository, digest: str) -> None:
    """Case 49."""
    repository.send("DELETE", f"manifests/{digest}")

    found = [repository.send("GET", f"manifests/{tag}").status for tag in ("1.0", "latest")]
    assert found == [404, 404]
    assert repository.send("GET", "tags/list").json["tags"] == []


def test_manifest_deleted_leaves_the_tags_of_others(repository: Repository, digest: str) -> None:
    repository.push_image("other")

    repository.send("DELETE", f"manifests/{digest}")

    assert repository.send("GET", "tags/list").json["tags"] == ["other"]


def test_manifest_is_deleted_by_its_sha512_digest(repository: Repository, document: Document) -> None:
    reply = repository.send("DELETE", f"manifests/{digest_of(encode(document), 'sha512')}")

    assert reply.status == 202
    assert repository.send("GET", "tags/list").json["tags"] == []


def test_manifest_deleted_stays_in_other_repositories(
    repository: Repository, other: Repository, config: bytes
) -> None:
    document = image(config)
    for each in (repository, other):
        each.push_blob(config)
        each.push_manifest(document, "1.0")

    repository.send("DELETE", f"manifests/{digest_of(encode(document))}")

    assert other.send("GET", "manifests/1.0").status == 200


@pytest.fixture
def config() -> bytes:
    return some_bytes(64)


def test_blob_deleted_is_202_and_gone(repository: Repository, content: bytes) -> None:
    digest = repository.push_blob(content)

    assert repository.send("DELETE", f"blobs/{digest}").status == 202
    assert repository.send("HEAD", f"blobs/{digest}").status == 404


def test_blob_is_deleted_by_its_sha512_digest(repository: Repository, content: bytes) -> None:
    digest = repository.push_blob(content)

    assert repository.send("DELETE", f"blobs/{digest_of(content, 'sha512')}").status == 202
    assert repository.send("HEAD", f"blobs/{digest}").status == 404


def test_blob_deleted_stays_in_other_repositories(
    repository: Repository, other: Repository, content: bytes
) -> None:
    """Case 51."""
    digest = repository.push_blob(content)
    other.push_blob(content)

    repository.send("DELETE", f"blobs/{digest}")

    assert other.send("GET", f"blobs/{digest}").body == content


def test_blob_deleted_is_pushed_again(repository: Repository, content: bytes) -> None:
    digest = repository.push_blob(content)
    repository.send("DELETE", f"blobs/{digest}")

    repository.push_blob(content)

    assert repository.send("GET", f"blobs/{digest}").body == content


def test_blob_that_an_image_needs_is_not_deleted(
    repository: Repository, document: Document, digest: str
) -> None:
    """Case 51, F38: the reply names the image that would break."""
    layer = document["layers"][0]["digest"]

    reply = repository.send("DELETE", f"blobs/{layer}")

    assert (reply.status, reply.codes) == (409, ["DENIED"])
    assert reply.json["errors"][0]["detail"]["needed_by"] == digest
    assert repository.send("GET", f"blobs/{layer}").status == 200


def test_child_that_an_index_needs_is_not_deleted(
    repository: Repository, document: Document, digest: str
) -> None:
    """Case 51, F38."""
    listing = index([document])
    repository.push_manifest(listing, "all")

    assert repository.send("DELETE", f"manifests/{digest}").status == 409
    assert repository.send("GET", "manifests/all").body == encode(listing)
    assert repository.send("GET", "manifests/1.0").body == encode(document)


def test_index_takes_along_the_children_that_only_it_needs(
    repository: Repository, document: Document, digest: str
) -> None:
    listing = index([document])
    index_digest = repository.push_manifest(listing, "all")
    for tag in ("1.0", "latest"):
        repository.send("DELETE", f"manifests/{tag}")

    reply = repository.send("DELETE", f"manifests/{index_digest}")

    assert reply.status == 202
    assert (reply.json["digests"], reply.json["tags"]) == ([index_digest, digest], ["all"])
    assert repository.send("GET", f"manifests/{digest}").status == 404


def test_image_without_its_blob_is_not_taken_again(
    repository: Repository, document: Document, digest: str
) -> None:
    """No tag is put on what cannot be pulled."""
    repository.send("DELETE", f"manifests/{digest}")
    repository.send("DELETE", f"blobs/{document['layers'][0]['digest']}")

    assert repository.put_manifest(document, "2.0").codes == ["MANIFEST_BLOB_UNKNOWN"]


def test_image_deleted_leaves_its_blobs(repository: Repository, document: Document, digest: str) -> None:
    repository.send("DELETE", f"manifests/{digest}")

    assert repository.send("HEAD", f"blobs/{document['config']['digest']}").status == 200
    assert repository.put_manifest(document, "1.0").status == 201


@pytest.mark.parametrize(
    ("rest", "code"),
    [
        ("manifests/1.0", "MANIFEST_UNKNOWN"),
        ("manifests/{manifest}", "MANIFEST_UNKNOWN"),
        ("blobs/{blob}", "BLOB_UNKNOWN"),
    ],
)
def test_second_delete_is_404(
    repository: Repository, document: Document, digest: str, rest: str, code: str
) -> None:
    """Case 50."""
    if rest.startswith("blobs"):
        repository.send("DELETE", f"manifests/{digest}")
    rest = rest.format(manifest=digest, blob=document["config"]["digest"])
    repository.send("DELETE", rest)

    reply = repository.send("DELETE", rest)

    assert (reply.status, reply.codes) == (404, [code])


@pytest.mark.parametrize("rest", ["manifests/absent", f"manifests/{ABSENT}", f"blobs/{ABSENT}"])
@pytest.mark.parametrize("known", ["known", "unknown"])
def test_delete_of_what_is_not_there_is_404(repository: Repository, rest: str, known: str) -> None:
    if known == "known":
        repository.push_image()

    assert repository.send("DELETE", rest).status == 404


def test_blob_of_another_repository_is_not_deleted(
    repository: Repository, other: Repository, content: bytes
) -> None:
    digest = repository.push_blob(content)
    other.push_blob(some_bytes())

    assert other.send("DELETE", f"blobs/{digest}").status == 404
    assert repository.send("HEAD", f"blobs/{digest}").status == 200


def test_tag_deleted_is_pushed_again(repository: Repository, document: Document) -> None:
    repository.send("DELETE", "manifests/1.0")

    assert repository.put_manifest(document, "1.0").status == 201


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """A repository of a server that deletes nothing, with an image."""
    folder = tmp_path_factory.mktemp("keeper")
    env = {"MOORAGE_DELETE_ENABLED": "false"}
    with ServerProcess(folder / "data", "--workers", "1", env=env) as server:
        repository = Repository(Client(server.port), "kept")
        repository.push_manifest(image(b"{}") if repository.push_blob(b"{}") else {}, "1.0")
        yield repository


@pytest.mark.parametrize(
    "rest",
    [
        "manifests/1.0",
        f"manifests/{digest_of(encode(image(b'{}')))}",
        f"blobs/{digest_of(b'{}')}",
        "manifests/absent",
    ],
)
def test_delete_that_is_switched_off_is_405(keeper: Repository, rest: str) -> None:
    reply = keeper.send("DELETE", rest)

    assert (reply.status, reply.codes) == (405, ["UNSUPPORTED"])


def test_delete_that_is_switched_off_leaves_uploads_to_be_cancelled(keeper: Repository) -> None:
    assert keeper.follow(keeper.begin(), "DELETE").status == 204


def test_delete_that_is_switched_off_deletes_nothing(keeper: Repository) -> None:
    keeper.send("DELETE", "manifests/1.0")

    assert keeper.send("GET", "manifests/1.0").status == 200
