"""Endpoints 7a and 7b: push a manifest by tag, by digest, by digest with tags."""

import json
from typing import Any

import pytest

from tests.content import (
    ABSENT,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    IMAGES,
    INDEXES,
    LAYER,
    MIB,
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
from tests.spec.client import Framing, Repository

LIMIT = 4 * MIB


@pytest.fixture
def config(repository: Repository) -> bytes:
    """The config of images to be pushed."""
    content = some_bytes(64)
    repository.push_blob(content)
    return content


@pytest.mark.parametrize("by", ["tag", "digest"])
@pytest.mark.parametrize("media_type", IMAGES)
def test_image_pushed_is_201_with_a_place_to_pull_it_from(
    repository: Repository, config: bytes, media_type: str, by: str
) -> None:
    document = image(config, media_type=media_type)
    digest = digest_of(encode(document))

    reply = repository.put_manifest(document, "1.0" if by == "tag" else digest)

    assert (reply.status, reply["Docker-Content-Digest"]) == (201, digest)
    assert repository.client.send("GET", reply["Location"]).body == encode(document)


@pytest.mark.parametrize("media_type", INDEXES)
def test_index_pushed_is_201(repository: Repository, media_type: str) -> None:
    children = [repository.push_image(), repository.push_image()]

    assert repository.put_manifest(index(children, media_type=media_type), "1.0").status == 201


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_manifest_is_pushed_by_a_digest_of_either_algorithm(
    repository: Repository, config: bytes, algorithm: str
) -> None:
    document = image(config)
    digest = digest_of(encode(document), algorithm)

    reply = repository.put_manifest(document, digest)

    assert (reply.status, reply["Docker-Content-Digest"]) == (201, digest)
    assert reply["Location"] == repository.path(f"manifests/{digest}")


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_manifest_is_pushed_with_any_framing(repository: Repository, config: bytes, framing: Framing) -> None:
    headers = [("Content-Type", OCI_MANIFEST)]

    reply = repository.send("PUT", "manifests/1.0", encode(image(config)), headers, framing=framing)

    assert reply.status == 201


@pytest.mark.parametrize(("before", "after"), [("  ", "\n"), ("", "\r\n"), ("\t", "")])
def test_blanks_in_a_manifest_are_kept(
    repository: Repository, config: bytes, before: str, after: str
) -> None:
    """Case 45."""
    payload = f"{before}{json.dumps(image(config), indent=3)}{after}".encode()
    repository.push_manifest(payload, "1.0")

    assert repository.send("GET", "manifests/1.0").body == payload


def test_escapes_and_order_in_a_manifest_are_kept(repository: Repository, config: bytes) -> None:
    """Case 45."""
    document = dict(reversed(image(config, annotations={"a": "\N{SNOWMAN} \\ / \x7f"}).items()))
    payload = json.dumps(document, ensure_ascii=False).replace("/", "\\/").encode()
    repository.push_manifest(payload, "1.0")

    assert repository.send("GET", "manifests/1.0").body == payload


@pytest.mark.parametrize("ending", [b" ", b"  ", b"\n"])
def test_manifest_that_is_not_what_its_digest_says_is_refused(
    repository: Repository, config: bytes, ending: bytes
) -> None:
    payload = encode(image(config))

    reply = repository.put_manifest(payload + ending, digest_of(payload), OCI_MANIFEST)

    assert (reply.status, reply.codes) == (400, ["DIGEST_INVALID"])


BAD_DIGESTS = [
    "sha256:baddigeststring",
    "sha256:" + "A" * 64,
    "sha256:" + "a" * 63,
    "md5:d41d8cd98f00b204e9800998ecf8427e",
    "sha256:",
    ":",
    "sha256%3Azz",
]


@pytest.mark.parametrize("reference", BAD_DIGESTS)
def test_manifest_pushed_by_a_bad_digest_is_refused(
    repository: Repository, config: bytes, reference: str
) -> None:
    """Cases 20 and 21."""
    reply = repository.put_manifest(encode(image(config)), reference, OCI_MANIFEST)

    assert (reply.status, reply.codes) == (400, ["DIGEST_INVALID"])


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
@pytest.mark.parametrize("reference", BAD_DIGESTS)
def test_manifest_asked_for_by_a_bad_digest_is_refused(
    repository: Repository, method: str, reference: str
) -> None:
    assert repository.send(method, f"manifests/{reference}").status in {400, 404}


@pytest.mark.parametrize(
    "content_type",
    [
        pytest.param(f"{OCI_MANIFEST}; charset=utf-8", id="case 38: a parameter"),
        pytest.param(f"{OCI_MANIFEST};charset=utf-8", id="case 38: a parameter without a blank"),
        pytest.param(OCI_MANIFEST.replace("vnd.oci", "Vnd.OCI"), id="case 38: odd case"),
    ],
)
def test_type_of_a_manifest_is_kept_bare(repository: Repository, config: bytes, content_type: str) -> None:
    repository.put_manifest(encode(image(config)), "1.0", content_type)

    assert repository.send("GET", "manifests/1.0")["Content-Type"] == OCI_MANIFEST


@pytest.mark.parametrize("content_type", [None, "application/json", "application/json; charset=utf-8"])
@pytest.mark.parametrize("media_type", [OCI_MANIFEST, DOCKER_MANIFEST])
def test_type_of_a_manifest_without_a_telling_header_is_its_own(
    repository: Repository, config: bytes, content_type: str | None, media_type: str
) -> None:
    repository.put_manifest(encode(image(config, media_type=media_type)), "1.0", content_type)

    assert repository.send("GET", "manifests/1.0")["Content-Type"] == media_type


@pytest.mark.parametrize("content_type", [None, "application/json"])
@pytest.mark.parametrize("shape", [OCI_MANIFEST, OCI_INDEX])
def test_type_of_a_manifest_that_nobody_tells_is_its_shape(
    repository: Repository, config: bytes, content_type: str | None, shape: str
) -> None:
    document = image(config) if shape == OCI_MANIFEST else index()
    del document["mediaType"]
    repository.put_manifest(encode(document), "1.0", content_type)

    assert repository.send("GET", "manifests/1.0")["Content-Type"] == shape


def test_image_without_a_media_type_is_what_its_header_says(repository: Repository, config: bytes) -> None:
    document = image(config)
    del document["mediaType"]
    repository.put_manifest(encode(document), "1.0", DOCKER_MANIFEST)

    assert repository.send("GET", "manifests/1.0")["Content-Type"] == DOCKER_MANIFEST


def test_image_with_missing_content_is_refused_with_an_entry_for_each(
    repository: Repository, config: bytes
) -> None:
    """Case 30."""
    absent = [some_bytes(), some_bytes()]

    reply = repository.put_manifest(image(config, [config, *absent]))

    assert (reply.status, reply.codes) == (400, ["MANIFEST_BLOB_UNKNOWN"] * 2)
    assert [entry["detail"]["digest"] for entry in reply.json["errors"]] == list(map(digest_of, absent))


def test_image_with_missing_config_is_refused(repository: Repository) -> None:
    """Case 30."""
    reply = repository.put_manifest(image(some_bytes()))

    assert (reply.status, reply.codes) == (400, ["MANIFEST_BLOB_UNKNOWN"])


def test_content_missing_twice_is_told_once(repository: Repository, config: bytes) -> None:
    layer = some_bytes()

    assert len(repository.put_manifest(image(config, [layer, layer])).codes) == 1


def test_index_with_a_missing_child_is_refused(repository: Repository, config: bytes) -> None:
    """Case 31."""
    reply = repository.put_manifest(index([image(config)]))

    assert (reply.status, reply.codes) == (400, ["MANIFEST_BLOB_UNKNOWN"])


def test_image_whose_content_is_in_another_repository_is_refused(
    repository: Repository, other: Repository, config: bytes
) -> None:
    """Case 27."""
    reply = other.put_manifest(image(config))

    assert (reply.status, reply.codes) == (400, ["MANIFEST_BLOB_UNKNOWN"])


def test_index_whose_child_is_in_another_repository_is_refused(
    repository: Repository, other: Repository
) -> None:
    """Case 27."""
    reply = other.put_manifest(index([repository.push_image()]))

    assert (reply.status, reply.codes) == (400, ["MANIFEST_BLOB_UNKNOWN"])


def test_refused_manifest_is_not_kept(repository: Repository) -> None:
    document = image(some_bytes())
    repository.put_manifest(document, "1.0")

    assert repository.send("GET", f"manifests/{digest_of(encode(document))}").status == 404
    assert repository.send("GET", "manifests/1.0").status == 404


@pytest.mark.parametrize(
    "media_type",
    ["application/vnd.oci.image.layer.v1.tar+gzip", "application/octet-stream", "application/vnd.example"],
)
def test_index_may_list_blobs(repository: Repository, media_type: str) -> None:
    """Case 32: BuildKit's cache is an index of layers."""
    layer, config = some_bytes(), some_bytes()
    for content in (layer, config):
        repository.push_blob(content)
    document = index() | {
        "manifests": [
            descriptor(layer, media_type),
            descriptor(config, "application/vnd.buildkit.cacheconfig.v0"),
        ]
    }

    assert repository.put_manifest(document, "cache").status == 201


def test_index_may_call_its_children_what_it_likes(repository: Repository) -> None:
    """Case 32."""
    child = encode(repository.push_image())
    document = index() | {"manifests": [descriptor(child, "application/vnd.example.unheard-of")]}

    assert repository.put_manifest(document).status == 201


@pytest.mark.parametrize(
    "layer_type",
    [
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
    ],
)
def test_layer_that_may_not_be_distributed_need_not_be_here(
    repository: Repository, config: bytes, layer_type: str
) -> None:
    layer = descriptor(some_bytes(), layer_type, urls=["https://example.com/layer"])

    assert repository.put_manifest(image(config) | {"layers": [layer]}).status == 201


@pytest.mark.parametrize("more", [{"x-unknown": {"a": [1]}}, {"annotations": {}}, {"artifactType": "a/b"}])
def test_field_nobody_knows_is_taken(repository: Repository, config: bytes, more: dict[str, Any]) -> None:
    assert repository.put_manifest(image(config, **more)).status == 201


@pytest.mark.parametrize(
    "config_type", ["application/vnd.cncf.helm.config.v1+json", "application/vnd.oci.empty.v1+json", "a/b"]
)
def test_config_and_layers_of_any_type_are_taken(
    repository: Repository, config: bytes, config_type: str
) -> None:
    document = image(config) | {
        "config": descriptor(config, config_type),
        "layers": [descriptor(config, "application/vnd.in-toto+json")],
    }

    assert repository.put_manifest(document).status == 201


def test_descriptor_may_carry_its_content(repository: Repository) -> None:
    repository.push_blob(b"{}")
    document = image(b"{}") | {"config": descriptor(b"{}", "application/vnd.oci.empty.v1+json", data="e30=")}

    assert repository.put_manifest(document).status == 201


def nested(repository: Repository) -> Document:
    inner = index([repository.push_image()])
    repository.push_manifest(inner)
    return index([inner])


@pytest.mark.parametrize("shape", ["nested index", "empty index", "no layers"])
def test_legal_shape_is_taken(repository: Repository, config: bytes, shape: str) -> None:
    """Case 35."""
    documents = {"nested index": nested(repository), "empty index": index(), "no layers": image(config)}

    assert repository.put_manifest(documents[shape], "1.0").status == 201


def test_manifest_whose_subject_is_absent_is_taken(repository: Repository, config: bytes) -> None:
    """Case 33."""
    document = image(config, subject={"mediaType": OCI_MANIFEST, "digest": ABSENT, "size": 7})

    reply = repository.put_manifest(document)

    assert (reply.status, reply["OCI-Subject"]) == (201, ABSENT)


@pytest.mark.parametrize("by", ["tag", "digest"])
@pytest.mark.parametrize("media_type", [*IMAGES, *INDEXES])
def test_manifest_with_a_subject_is_answered_with_it(
    repository: Repository, config: bytes, media_type: str, by: str
) -> None:
    subject = {"mediaType": OCI_MANIFEST, "digest": ABSENT, "size": 7}
    if media_type in IMAGES:
        document = image(config, media_type=media_type, subject=subject)
    else:
        document = index(media_type=media_type, subject=subject)

    reply = repository.put_manifest(document, "1.0" if by == "tag" else None)

    assert reply["OCI-Subject"] == ABSENT


@pytest.mark.parametrize("more", [{}, {"subject": None}], ids=["none", "case 34: null"])
def test_manifest_without_a_subject_is_answered_without_one(
    repository: Repository, config: bytes, more: dict[str, Any]
) -> None:
    reply = repository.put_manifest(image(config, **more))

    assert (reply.status, reply.header("OCI-Subject")) == (201, None)


@pytest.mark.parametrize(
    "subject",
    [
        {},
        {"mediaType": OCI_MANIFEST, "size": 7},
        {"mediaType": OCI_MANIFEST, "digest": "sha256:zz", "size": 7},
        {"mediaType": OCI_MANIFEST, "digest": ABSENT},
        ABSENT,
        [],
        False,
    ],
)
def test_malformed_subject_is_refused(repository: Repository, config: bytes, subject: object) -> None:
    """Case 34."""
    reply = repository.put_manifest(image(config, subject=subject))

    assert (reply.status, reply.codes) == (400, ["MANIFEST_INVALID"])


def padded(config: bytes, size: int) -> bytes:
    """An image manifest of exactly this many bytes."""
    annotations = {f"a{number}": "" for number in range(5)}
    room = size - len(encode(image(config, annotations=annotations)))
    for name in annotations:
        length = min(room, 1_000_000)
        annotations[name], room = "a" * length, room - length
    payload = encode(image(config, annotations=annotations))
    assert len(payload) == size
    return payload


def test_manifest_of_4_mib_is_taken(repository: Repository, config: bytes) -> None:
    assert repository.put_manifest(padded(config, LIMIT), "1.0", OCI_MANIFEST).status == 201


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_manifest_of_more_than_4_mib_is_413(repository: Repository, config: bytes, framing: Framing) -> None:
    """Case 46."""
    headers = [("Content-Type", OCI_MANIFEST)]

    reply = repository.send("PUT", "manifests/1.0", padded(config, LIMIT + 1), headers, framing=framing)

    assert (reply.status, reply.codes) == (413, ["MANIFEST_INVALID"])


def test_manifest_without_an_end_is_413_before_it_ends(repository: Repository) -> None:
    """Case 46: the registry stops reading at its limit."""
    with repository.client.open() as connection:
        head = f"PUT {repository.path('manifests/1.0')} HTTP/1.1\r\nHost: x\r\n"
        connection.sendall(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(5):
            connection.sendall(b"%x\r\n%b\r\n" % (MIB, b" " * MIB))
        received = connection.recv(65536)

    assert received.startswith(b"HTTP/1.1 413")


TAG_PUSHES = [
    pytest.param(["1.2"], id="one"),
    pytest.param(["1.2", "1", "latest"], id="three"),
    pytest.param([f"t{number}" for number in range(10)], id="ten"),
]


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("tags", TAG_PUSHES)
def test_manifest_pushed_by_digest_takes_tags_along(
    repository: Repository, config: bytes, algorithm: str, tags: list[str]
) -> None:
    digest = digest_of(encode(image(config)), algorithm)
    query = "&".join(f"tag={tag}" for tag in tags)

    reply = repository.put_manifest(image(config), f"{digest}?{query}")

    assert reply.status == 201
    found = [repository.send("HEAD", f"manifests/{tag}")["Docker-Content-Digest"] for tag in tags]
    assert found == [digest] * len(tags)


@pytest.mark.parametrize("tags", TAG_PUSHES)
def test_manifest_pushed_with_tags_is_answered_with_each(
    repository: Repository, config: bytes, tags: list[str]
) -> None:
    query = "&".join(f"tag={tag}" for tag in tags)

    reply = repository.put_manifest(image(config), f"{digest_of(encode(image(config)))}?{query}")

    named = [
        tag.strip() for key, value in reply.fields if key.lower() == "oci-tag" for tag in value.split(",")
    ]
    assert sorted(named) == sorted(tags)


def test_tag_given_twice_is_taken_once(repository: Repository, config: bytes) -> None:
    """Case 80."""
    reply = repository.put_manifest(image(config), f"{digest_of(encode(image(config)))}?tag=a&tag=b&tag=a")

    assert (reply.status, reply["OCI-Tag"]) == (201, "a, b")


BAD_TAGS = [
    pytest.param("", id="empty"),
    pytest.param(".x", id="a dot first"),
    pytest.param("-x", id="a hyphen first"),
    pytest.param("a%20b", id="a blank"),
    pytest.param("a%0A", id="a newline behind"),
    pytest.param("a" * 129, id="129 characters"),
    pytest.param("a%2Fb", id="a slash"),
    pytest.param("%C3%A9", id="another letter"),
    pytest.param("%FF", id="not UTF-8"),
]


@pytest.mark.parametrize("bad", BAD_TAGS)
def test_one_bad_tag_among_good_ones_is_refused(repository: Repository, config: bytes, bad: str) -> None:
    """Case 80."""
    digest = digest_of(encode(image(config)))

    reply = repository.put_manifest(image(config), f"{digest}?tag=good&tag={bad}")

    assert (reply.status, reply.codes) == (400, ["TAG_INVALID"])


@pytest.mark.parametrize("bad", BAD_TAGS)
def test_one_bad_tag_among_good_ones_leaves_all_as_it_was(
    repository: Repository, config: bytes, bad: str
) -> None:
    """Case 80."""
    digest = digest_of(encode(image(config)))
    repository.put_manifest(image(config), f"{digest}?tag=good&tag={bad}")

    assert repository.send("GET", "manifests/good").status == 404
    assert repository.send("GET", f"manifests/{digest}").status == 404


def test_more_tags_than_one_request_may_carry_is_414(repository: Repository, config: bytes) -> None:
    """Case 80."""
    query = "&".join(f"tag=t{number}" for number in range(200))

    reply = repository.put_manifest(image(config), f"{digest_of(encode(image(config)))}?{query}")

    assert reply.status == 414


def test_missing_content_leaves_every_tag_as_it_was(repository: Repository) -> None:
    document = image(some_bytes())
    repository.put_manifest(document, f"{digest_of(encode(document))}?tag=a&tag=b")

    assert [repository.send("GET", f"manifests/{tag}").status for tag in ("a", "b")] == [404, 404]


def test_tags_do_not_go_with_a_push_by_tag(repository: Repository, config: bytes) -> None:
    assert repository.put_manifest(image(config), "1.0?tag=latest").status == 400


def test_docker_list_of_docker_images_is_taken(repository: Repository) -> None:
    child = repository.push_image(media_type=DOCKER_MANIFEST)

    assert repository.put_manifest(index([child], media_type=DOCKER_LIST), "1.0").status == 201


def test_repository_begins_with_its_first_manifest(repository: Repository) -> None:
    repository.push_manifest(index(), "1.0")

    assert repository.send("GET", "tags/list").json["tags"] == ["1.0"]


def test_layers_of_an_image_may_repeat(repository: Repository, config: bytes) -> None:
    document = image(config) | {"layers": [descriptor(config, LAYER), descriptor(config, LAYER)]}

    assert repository.put_manifest(document).status == 201
