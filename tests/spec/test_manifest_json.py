"""Manifests that two readers would read in two ways, or no reader should read."""

import json
from typing import Any

import pytest

from tests.content import (
    ABSENT,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Document,
    descriptor,
    digest_of,
    encode,
    image,
    index,
    some_bytes,
)
from tests.spec.client import Reply, Repository

CONTENT = b'{"a": "config"}'


@pytest.fixture(autouse=True)
def config(repository: Repository) -> bytes:
    """The config of images to be pushed, which is there."""
    repository.push_blob(CONTENT)
    return CONTENT


def put(repository: Repository, payload: bytes | str | Document, content_type: str = OCI_MANIFEST) -> Reply:
    if isinstance(payload, dict):
        payload = encode(payload)
    return repository.put_manifest(
        payload.encode() if isinstance(payload, str) else payload, "1.0", content_type
    )


def refused(reply: Reply) -> bool:
    return reply.status == 400 and reply.codes == ["MANIFEST_INVALID"]


GOOD = json.dumps(image(CONTENT))


def test_manifest_that_the_bad_ones_are_made_from_is_good(repository: Repository) -> None:
    assert put(repository, GOOD).status == 201


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param("", id="nothing"),
        pytest.param("null", id="null"),
        pytest.param("[]", id="a list"),
        pytest.param('"text"', id="a text"),
        pytest.param("2", id="a number"),
        pytest.param(GOOD[:-1], id="cut"),
        pytest.param(GOOD + GOOD, id="two documents"),
        pytest.param(GOOD + "x", id="bytes behind"),
        pytest.param(GOOD + "\0", id="a NUL behind"),
        pytest.param(GOOD.replace('"', "'"), id="single quotes"),
        pytest.param(GOOD[:-1] + ",}", id="a trailing comma"),
        pytest.param("// x\n" + GOOD, id="a comment"),
        pytest.param("\ufeff" + GOOD, id="case 41: a byte-order mark"),
        pytest.param(GOOD.encode("utf-16"), id="case 41: UTF-16 with a mark"),
        pytest.param(GOOD.encode("utf-16-le"), id="case 41: UTF-16"),
        pytest.param(GOOD.encode("utf-32-be"), id="case 41: UTF-32"),
        pytest.param(GOOD[:-1].encode() + b', "x": "\xff"}', id="case 41: not UTF-8"),
        pytest.param(GOOD[:-1].encode() + b', "x": "\xed\xa0\x80"}', id="case 41: a surrogate in UTF-8"),
        pytest.param(GOOD[:-1] + ', "x": "\\ud800"}', id="case 41: an escaped lone surrogate"),
        pytest.param(GOOD[:-1] + ', "\\udfff": 1}', id="case 41: a lone surrogate as a key"),
        pytest.param(GOOD[:-1] + ', "x": NaN}', id="case 41: NaN"),
        pytest.param(GOOD[:-1] + ', "x": Infinity}', id="case 41: Infinity"),
        pytest.param(GOOD[:-1] + ', "x": -Infinity}', id="case 41: minus Infinity"),
        pytest.param(GOOD[:-1] + ', "x": 1e999}', id="case 41: past every float"),
        pytest.param(GOOD[:-1] + f', "x": {"9" * 5000}}}', id="case 42: 5000 digits"),
        pytest.param("[" * 100_000, id="case 41: 100,000 deep, never closed"),
        pytest.param(GOOD[:-1] + ', "x": ' + "[" * 100_000 + "]" * 100_000 + "}", id="case 41: 100,000 deep"),
        pytest.param('{"a":' * 50_000 + "1" + "}" * 50_000, id="case 41: objects 50,000 deep"),
        pytest.param(GOOD[:-1] + ', "x": ' + "[" * 500 + "]" * 500 + "}", id="case 41: 500 deep"),
        pytest.param(GOOD[:-1] + ', "x": "a\nb"}', id="a bare line end in a text"),
        pytest.param(GOOD[:-1] + ', "x": 01}', id="a leading zero"),
    ],
)
def test_text_that_is_not_json_in_one_way_only_is_refused(
    repository: Repository, payload: bytes | str
) -> None:
    assert refused(put(repository, payload))


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(GOOD[:-1] + ', "layers": []}', id="layers"),
        pytest.param(GOOD[:-1] + ', "subject": null, "subject": null}', id="a null"),
        pytest.param(GOOD[:-1] + ', "x": {"a": 1, "a": 1}}', id="inside a field nobody knows"),
        pytest.param(GOOD[:-1] + ', "l\\u0061yers": []}', id="written with an escape"),
        pytest.param(GOOD[:-1] + ', "annotations": {"a": "1", "a": "2"}}', id="an annotation"),
    ],
)
def test_key_that_appears_twice_is_refused(repository: Repository, payload: str) -> None:
    """Case 39."""
    assert refused(put(repository, payload))


@pytest.mark.parametrize(
    "key",
    [
        "Layers",
        "MANIFESTS",
        "mediatype",
        "SchemaVersion",
        "Subject",
        "Config",
        "ArtifactType",
        "annotationS",
        "\u017fubject",
        "layer\u017f",
    ],
)
def test_known_key_in_another_case_is_refused(repository: Repository, key: str) -> None:
    """Case 40: Go reads it; to Go, even a long s is an s."""
    assert refused(put(repository, image(CONTENT) | {key: None}))


@pytest.mark.parametrize("key", ["Digest", "SIZE", "MediaType", "URLs", "\u017fize"])
@pytest.mark.parametrize("place", ["config", "layers", "subject"])
def test_known_key_of_a_descriptor_in_another_case_is_refused(
    repository: Repository, place: str, key: str
) -> None:
    """Case 40."""
    wrong = descriptor(CONTENT) | {key: 1}
    document = image(CONTENT) | {place: [wrong] if place == "layers" else wrong}

    assert refused(put(repository, document))


@pytest.mark.parametrize(
    "size",
    [
        "-1",
        "1.5",
        "15.0",
        "true",
        "false",
        "null",
        '"15"',
        "1e3",
        "9223372036854775808",
        "-0.0",
        "[]",
        "{}",
        "NaN",
        "1" + "0" * 40,
    ],
)
@pytest.mark.parametrize("place", ["config", "layers", "subject"])
def test_size_that_is_no_count_of_bytes_is_refused(repository: Repository, place: str, size: str) -> None:
    """Case 42."""
    wrong = descriptor(CONTENT) | {"size": "SIZE"}
    document = image(CONTENT) | {place: [wrong] if place == "layers" else wrong}

    assert refused(put(repository, json.dumps(document).replace('"SIZE"', size)))


def test_size_of_a_child_that_is_no_count_of_bytes_is_refused(repository: Repository) -> None:
    """Case 42."""
    document = index() | {"manifests": [descriptor(CONTENT) | {"size": True}]}

    assert refused(put(repository, document, OCI_INDEX))


@pytest.mark.parametrize("difference", [-1, 1, 1_000_000])
@pytest.mark.parametrize("place", ["config", "layers"])
def test_size_that_is_not_that_of_the_stored_blob_is_refused(
    repository: Repository, place: str, difference: int
) -> None:
    """Case 43: containerd could not pull the image."""
    wrong = descriptor(CONTENT) | {"size": len(CONTENT) + difference}
    document = image(CONTENT) | {place: [wrong] if place == "layers" else wrong}

    assert refused(put(repository, document))


def test_size_that_is_not_that_of_the_stored_child_is_refused(repository: Repository) -> None:
    """Case 43."""
    child = encode(repository.push_image())
    document = index() | {"manifests": [descriptor(child, OCI_MANIFEST) | {"size": len(child) + 1}]}

    assert refused(put(repository, document, OCI_INDEX))


def test_size_of_an_absent_subject_is_not_checked(repository: Repository) -> None:
    """Case 43 is of stored blobs only."""
    document = image(CONTENT, subject={"mediaType": OCI_MANIFEST, "digest": ABSENT, "size": 0})

    assert put(repository, document).status == 201


@pytest.mark.parametrize("version", ["1", "3", "0", "-2", "2.0", '"2"', "true", "null", "[2]"])
def test_schema_version_other_than_2_is_refused(repository: Repository, version: str) -> None:
    """Case 44."""
    text = json.dumps(image(CONTENT) | {"schemaVersion": "VERSION"}).replace('"VERSION"', version)

    assert refused(put(repository, text))


def test_schema_version_is_needed(repository: Repository) -> None:
    """Case 44."""
    document = image(CONTENT)
    del document["schemaVersion"]

    assert refused(put(repository, document))


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/vnd.oci.artifact.manifest.v1+json",
        "application/vnd.oci.image.config.v1+json",
        "text/plain",
        "nonsense",
    ],
)
def test_type_that_is_no_manifest_is_refused(repository: Repository, media_type: str) -> None:
    """Case 44."""
    document = image(CONTENT, media_type=media_type)

    assert refused(put(repository, document, media_type))


@pytest.mark.parametrize(
    ("stated", "sent"),
    [
        (OCI_MANIFEST, DOCKER_MANIFEST),
        (DOCKER_MANIFEST, OCI_MANIFEST),
        (OCI_MANIFEST, OCI_INDEX),
        ("a/b", OCI_MANIFEST),
    ],
)
def test_type_that_is_not_the_headers_is_refused(repository: Repository, stated: str, sent: str) -> None:
    """Case 37."""
    assert refused(put(repository, image(CONTENT, media_type=stated), sent))


@pytest.mark.parametrize("media_type", [1, [], {}, True])
def test_type_that_is_no_text_is_refused(repository: Repository, media_type: object) -> None:
    assert refused(put(repository, image(CONTENT) | {"mediaType": media_type}))


@pytest.mark.parametrize(
    "more", [{"manifests": []}, {"manifests": None}, {"manifests": [descriptor(CONTENT)]}]
)
def test_image_that_is_an_index_too_is_refused(repository: Repository, more: Document) -> None:
    """Case 36: CVE-2021-41190."""
    assert refused(put(repository, image(CONTENT) | more))


@pytest.mark.parametrize("more", [{"layers": []}, {"config": descriptor(CONTENT)}, {"config": None}])
def test_index_that_is_an_image_too_is_refused(repository: Repository, more: Document) -> None:
    """Case 36."""
    assert refused(put(repository, index() | more, OCI_INDEX))


@pytest.mark.parametrize("more", [{"layers": []}, {"config": descriptor(CONTENT)}])
def test_document_of_two_shapes_and_no_type_is_refused(repository: Repository, more: Document) -> None:
    """Case 36."""
    document = index() | more
    del document["mediaType"]

    assert refused(put(repository, document, "application/json"))


def test_index_that_is_called_an_image_is_refused(repository: Repository) -> None:
    assert refused(put(repository, index(media_type=OCI_MANIFEST)))


def test_document_of_no_shape_and_no_type_is_refused(repository: Repository) -> None:
    assert refused(put(repository, {"schemaVersion": 2}, "application/json"))


@pytest.mark.parametrize("key", ["config", "layers"])
@pytest.mark.parametrize("value", [None, 1, "text", True, {}], ids=repr)
def test_part_of_an_image_of_a_wrong_kind_is_refused(repository: Repository, key: str, value: Any) -> None:
    assert refused(put(repository, image(CONTENT) | {key: value}))


@pytest.mark.parametrize("key", ["config", "layers"])
def test_part_of_an_image_that_is_not_there_is_refused(repository: Repository, key: str) -> None:
    document = image(CONTENT)
    del document[key]

    assert refused(put(repository, document))


@pytest.mark.parametrize("value", [None, 1, {}, [1], [None], [[]]], ids=repr)
def test_manifests_of_a_wrong_kind_are_refused(repository: Repository, value: object) -> None:
    assert refused(put(repository, index() | {"manifests": value}, OCI_INDEX))


@pytest.mark.parametrize(
    "digest",
    [
        None,
        1,
        "",
        "sha256:",
        "sha256:zz",
        digest_of(CONTENT).upper(),
        "md5:" + "a" * 32,
        [],
        digest_of(CONTENT) + "\n",
    ],
)
def test_descriptor_with_a_bad_digest_is_refused(repository: Repository, digest: object) -> None:
    assert refused(put(repository, image(CONTENT) | {"config": descriptor(CONTENT) | {"digest": digest}}))


@pytest.mark.parametrize("key", ["mediaType", "digest", "size"])
def test_descriptor_lacking_what_it_needs_is_refused(repository: Repository, key: str) -> None:
    config = descriptor(CONTENT)
    del config[key]

    assert refused(put(repository, image(CONTENT) | {"config": config}))


@pytest.mark.parametrize("annotations", [[], "text", {"a": 1}, {"a": None}, {"a": ["b"]}], ids=repr)
def test_annotations_that_are_no_texts_are_refused(repository: Repository, annotations: object) -> None:
    assert refused(put(repository, image(CONTENT, annotations=annotations)))


def test_error_says_where_and_why(repository: Repository) -> None:
    reply = put(repository, image(CONTENT) | {"config": descriptor(CONTENT) | {"size": -1}})

    assert "config.size" in json.dumps(reply.json)


def test_index_nested_deeper_than_any_client_makes_is_refused(repository: Repository) -> None:
    document = repository.push_image()
    for _ in range(8):
        document = index([document])
        repository.push_manifest(document)

    assert refused(repository.put_manifest(index([document])))


def test_more_children_than_any_client_makes_are_refused(repository: Repository) -> None:
    child = descriptor(CONTENT)

    assert refused(put(repository, index() | {"manifests": [child] * 10_001}, OCI_INDEX))


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "http://169.254.169.254/x",
        "http://127.0.0.1/",
        "ftp://example.com",
        "https://[::1]/x",
    ],
)
def test_layer_that_sends_clients_into_a_network_is_refused(repository: Repository, url: str) -> None:
    media_type = "application/vnd.oci.image.layer.nondistributable.v1.tar"
    layer = descriptor(some_bytes(), media_type, urls=[url])

    assert refused(put(repository, image(CONTENT) | {"layers": [layer]}))
