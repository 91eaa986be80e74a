"""Conditional requests: RFC 9110 section 13 on pulls, and on pushes of tags."""

import pytest

from tests.content import ABSENT, OCI_MANIFEST, digest_of, encode, image
from tests.spec.client import Repository

OTHER = f'"{ABSENT}"'


@pytest.fixture
def blob(repository: Repository, content: bytes) -> str:
    return repository.push_blob(content)


@pytest.fixture
def manifest(repository: Repository) -> str:
    """The digest of what tag 1.0 names."""
    return digest_of(encode(repository.push_image("1.0")))


FORMS = [
    pytest.param('"{}"', id="quoted"),
    pytest.param('W/"{}"', id="weak"),
    pytest.param(f'{OTHER}, "{{}}"', id="list"),
    pytest.param("*", id="any"),
]


@pytest.mark.parametrize("form", FORMS)
def test_blob_the_client_has_is_304(repository: Repository, blob: str, form: str) -> None:
    """Case 57."""
    reply = repository.send("GET", f"blobs/{blob}", headers=[("If-None-Match", form.format(blob))])

    assert (reply.status, reply.body) == (304, b"")
    assert (reply["ETag"], reply["Docker-Content-Digest"]) == (f'"{blob}"', blob)


@pytest.mark.parametrize("form", FORMS)
def test_head_of_a_blob_the_client_has_is_304(repository: Repository, blob: str, form: str) -> None:
    """Case 57; the matrix names GET and HEAD."""
    reply = repository.send("HEAD", f"blobs/{blob}", headers=[("If-None-Match", form.format(blob))])

    assert reply.status == 304


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("form", FORMS)
def test_manifest_the_client_has_is_304(
    repository: Repository, manifest: str, method: str, form: str
) -> None:
    """Case 57."""
    headers = [("If-None-Match", form.format(manifest))]

    reply = repository.send(method, "manifests/1.0", headers=headers)

    assert (reply.status, reply.body) == (304, b"")
    assert (reply["ETag"], reply["Docker-Content-Digest"]) == (f'"{manifest}"', manifest)


@pytest.mark.parametrize("header", [OTHER, "unquoted", '""', ""])
def test_content_the_client_has_not_is_sent(repository: Repository, manifest: str, header: str) -> None:
    reply = repository.send("GET", "manifests/1.0", headers=[("If-None-Match", header)])

    assert reply.status == 200


def test_condition_on_several_header_lines_is_one_list(repository: Repository, manifest: str) -> None:
    headers = [("If-None-Match", f'"{manifest}"'), ("If-None-Match", OTHER)]

    assert repository.send("GET", "manifests/1.0", headers=headers).status == 304


def test_absent_content_is_404_whatever_the_client_has(repository: Repository) -> None:
    assert repository.send("GET", f"blobs/{ABSENT}", headers=[("If-None-Match", "*")]).status == 404


def test_part_of_the_blob_the_client_began_with_is_sent(
    repository: Repository, content: bytes, blob: str
) -> None:
    headers = [("Range", "bytes=0-9"), ("If-Range", f'"{blob}"')]

    reply = repository.send("GET", f"blobs/{blob}", headers=headers)

    assert (reply.status, reply.body) == (206, content[:10])


@pytest.mark.parametrize("validator", [OTHER, 'W/"{}"', "Sun, 06 Nov 1994 08:49:37 GMT"])
def test_part_of_another_blob_is_answered_with_the_whole(
    repository: Repository, content: bytes, blob: str, validator: str
) -> None:
    """Case 57; RFC 9110 wants If-Range to match strongly."""
    headers = [("Range", "bytes=0-9"), ("If-Range", validator.format(blob))]

    reply = repository.send("GET", f"blobs/{blob}", headers=headers)

    assert (reply.status, reply.body) == (200, content)


def put_tag(repository: Repository, tag: str, condition: tuple[str, str]) -> int:
    """The status of pushing some image under a tag."""
    config = b"{}"
    repository.push_blob(config)
    document = image(config)
    headers = [("Content-Type", document["mediaType"]), condition]
    return repository.send("PUT", f"manifests/{tag}", encode(document), headers).status


def test_tag_that_is_as_the_client_saw_it_is_moved(repository: Repository, manifest: str) -> None:
    assert put_tag(repository, "1.0", ("If-Match", f'"{manifest}"')) == 201


def test_tag_that_moved_meanwhile_is_412(repository: Repository, manifest: str) -> None:
    assert put_tag(repository, "1.0", ("If-Match", OTHER)) == 412


def test_tag_that_moved_meanwhile_is_left_alone(repository: Repository, manifest: str) -> None:
    put_tag(repository, "1.0", ("If-Match", OTHER))

    assert repository.send("GET", "manifests/1.0")["Docker-Content-Digest"] == manifest


def test_tag_that_must_exist_and_does_not_is_412(repository: Repository) -> None:
    assert put_tag(repository, "absent", ("If-Match", "*")) == 412


def test_tag_that_must_not_exist_is_made(repository: Repository) -> None:
    assert put_tag(repository, "new", ("If-None-Match", "*")) == 201


def test_tag_that_must_not_exist_and_does_is_412(repository: Repository, manifest: str) -> None:
    assert put_tag(repository, "1.0", ("If-None-Match", "*")) == 412


def test_refused_condition_leaves_no_manifest_behind(repository: Repository, manifest: str) -> None:
    put_tag(repository, "1.0", ("If-None-Match", "*"))

    refused = digest_of(encode(image(b"{}")))
    assert repository.send("GET", f"manifests/{refused}").status == 404


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_tag_pushed_by_sha512_is_known_by_either_digest(repository: Repository, algorithm: str) -> None:
    """The tag's ETag is the sha512 digest, a HEAD by sha256 gave the other."""
    repository.push_blob(b"{}")
    seen = encode(image(b"{}", annotations={"a": "seen"}))
    typed = [("Content-Type", OCI_MANIFEST)]
    target = f"manifests/{digest_of(seen, 'sha512')}?tag=1.0"
    assert repository.send("PUT", target, seen, typed).status == 201
    entity_tag = f'"{digest_of(seen, algorithm)}"'

    assert put_tag(repository, "1.0", ("If-None-Match", entity_tag)) == 412
    assert put_tag(repository, "1.0", ("If-Match", entity_tag)) == 201
