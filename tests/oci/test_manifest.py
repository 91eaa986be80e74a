import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import ManifestInvalid
from moorage.oci.descriptor import ANNOTATION_MAX_BYTES, ANNOTATIONS_MAX
from moorage.oci.manifest import (
    CHILDREN_MAX,
    Kind,
    Manifest,
    parse_manifest,
)
from moorage.oci.media_types import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    IMAGES,
    INDEXES,
    MANIFESTS,
    OCI_INDEX,
    OCI_MANIFEST,
    bare,
)

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"


def descriptor(digit: str = "a", media_type: str = "application/octet-stream") -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{digit * 64}", "size": 7}


IMAGE: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": OCI_MANIFEST,
    "config": descriptor("a", CONFIG_TYPE),
    "layers": [descriptor("b"), descriptor("c")],
}
INDEX: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor("d")]}


def read(document: object, content_type: str | None = None) -> Manifest:
    return parse_manifest(json.dumps(document).encode(), content_type)


def without(document: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != key}


def test_image_points_at_its_config_and_layers_in_order() -> None:
    references = read(IMAGE).references

    assert [(each.kind, each.target.digest[7]) for each in references] == [
        (Kind.CONFIG, "a"),
        (Kind.LAYER, "b"),
        (Kind.LAYER, "c"),
    ]


def test_index_points_at_its_children() -> None:
    references = read(INDEX).references

    assert [(each.kind, each.target.digest[7]) for each in references] == [(Kind.MANIFEST, "d")]


@pytest.mark.parametrize("media_type", sorted(IMAGES))
def test_image_of_either_family_is_no_index(media_type: str) -> None:
    assert not read(IMAGE | {"mediaType": media_type}).is_index


@pytest.mark.parametrize("media_type", sorted(INDEXES))
def test_index_of_either_family_is_one(media_type: str) -> None:
    assert read(INDEX | {"mediaType": media_type}).is_index


@pytest.mark.parametrize(
    ("stated", "content_type", "found"),
    [
        (OCI_MANIFEST, OCI_MANIFEST, OCI_MANIFEST),
        (DOCKER_MANIFEST, None, DOCKER_MANIFEST),
        (DOCKER_MANIFEST, "application/json", DOCKER_MANIFEST),
        (DOCKER_MANIFEST, "application/json; charset=utf-8", DOCKER_MANIFEST),
        (None, DOCKER_MANIFEST, DOCKER_MANIFEST),
        (None, None, OCI_MANIFEST),
        (None, "application/json", OCI_MANIFEST),
        (OCI_MANIFEST, f"{OCI_MANIFEST}; charset=utf-8", OCI_MANIFEST),
        (OCI_MANIFEST, f" {OCI_MANIFEST.upper()} ", OCI_MANIFEST),
        (OCI_MANIFEST, "", OCI_MANIFEST),
    ],
)
def test_type_is_what_header_body_and_shape_agree_on(
    stated: str | None, content_type: str | None, found: str
) -> None:
    assert read(IMAGE | {"mediaType": stated}, content_type).media_type == found


def test_type_of_a_bare_index_is_its_shape() -> None:
    assert read(without(INDEX, "mediaType")).media_type == OCI_INDEX


@pytest.mark.parametrize(
    ("document", "content_type"),
    [
        (IMAGE, DOCKER_MANIFEST),
        (IMAGE, OCI_INDEX),
        (IMAGE | {"mediaType": "a/b"}, OCI_MANIFEST),
        (IMAGE | {"mediaType": "a/b"}, None),
        (IMAGE, "text/plain"),
        (IMAGE | {"mediaType": OCI_MANIFEST.upper()}, OCI_MANIFEST),
        (IMAGE | {"mediaType": 1}, None),
        (IMAGE | {"mediaType": f"{OCI_MANIFEST}; charset=utf-8"}, OCI_MANIFEST),
        ({"schemaVersion": 2}, None),
        (IMAGE | {"mediaType": "application/vnd.docker.distribution.manifest.v1+json"}, None),
    ],
)
def test_type_that_header_body_and_shape_do_not_agree_on_is_refused(
    document: dict[str, Any], content_type: str | None
) -> None:
    with pytest.raises(ManifestInvalid):
        read(document, content_type)


@pytest.mark.parametrize("media_type", sorted(MANIFESTS))
@pytest.mark.parametrize("key", ["config", "layers", "manifests"])
def test_document_that_is_image_and_index_is_refused(media_type: str, key: str) -> None:
    """CVE-2021-41190."""
    document = (IMAGE if media_type in INDEXES else INDEX) | {"mediaType": media_type, key: None}

    with pytest.raises(ManifestInvalid):
        read(document)


@pytest.mark.parametrize("version", [None, 1, 3, -2, "2", 2.0, True, [2]])
def test_schema_version_other_than_2_is_refused(version: object) -> None:
    with pytest.raises(ManifestInvalid) as refusal:
        read(IMAGE | {"schemaVersion": version})

    assert refusal.value.detail["where"] == "schemaVersion"


@pytest.mark.parametrize(
    "key",
    [
        "Layers",
        "CONFIG",
        "mediatype",
        "Subject",
        "SchemaVersion",
        "Annotations",
        "layer\u017f",
        "\u017fubject",
    ],
)
def test_known_key_in_another_case_is_refused(key: str) -> None:
    with pytest.raises(ManifestInvalid):
        read(IMAGE | {key: None})


@pytest.mark.parametrize("key", ["x", "layers2", "layer", "mediaTypes", "org.example.Layers"])
def test_unknown_key_is_taken(key: str) -> None:
    assert read(IMAGE | {key: {"Layers": 1}}) == read(IMAGE)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"2",
        b'"a"',
        b"{",
        b"{}{}",
        b"\xff",
        b"[" * 100_000,
        b'{"schemaVersion":2,"schemaVersion":2}',
    ],
)
def test_payload_that_is_no_object_is_refused(payload: bytes) -> None:
    with pytest.raises(ManifestInvalid):
        parse_manifest(payload, OCI_MANIFEST)


@pytest.mark.parametrize("key", ["config", "layers"])
@pytest.mark.parametrize("value", [None, 1, "a", True, [1], {"a": 1}], ids=repr)
def test_part_of_a_wrong_kind_is_refused(key: str, value: object) -> None:
    with pytest.raises(ManifestInvalid):
        read(IMAGE | {key: value})


def test_legal_extremes_are_read() -> None:
    assert read(IMAGE | {"layers": []}).references[0].kind is Kind.CONFIG
    assert read(INDEX | {"manifests": []}).references == ()


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({}, CONFIG_TYPE),
        ({"artifactType": "a/b"}, "a/b"),
        ({"artifactType": ""}, CONFIG_TYPE),
        ({"artifactType": None}, CONFIG_TYPE),
    ],
)
def test_artifact_type_of_an_image_is_its_own_or_its_configs(more: dict[str, Any], found: str) -> None:
    assert read(IMAGE | more).artifact_type == found


@pytest.mark.parametrize(("more", "found"), [({}, None), ({"artifactType": "a/b"}, "a/b")])
def test_artifact_type_of_an_index_is_its_own_or_none(more: dict[str, Any], found: str | None) -> None:
    assert read(INDEX | more).artifact_type == found


@pytest.mark.parametrize("artifact_type", [1, [], {}, True])
def test_artifact_type_that_is_no_text_is_refused(artifact_type: object) -> None:
    with pytest.raises(ManifestInvalid):
        read(IMAGE | {"artifactType": artifact_type})


@pytest.mark.parametrize(
    "document", [IMAGE, INDEX, IMAGE | {"mediaType": DOCKER_MANIFEST}, INDEX | {"mediaType": DOCKER_LIST}]
)
def test_subject_is_read_on_every_type(document: dict[str, Any]) -> None:
    subject = read(document | {"subject": descriptor("e")}).subject

    assert subject is not None
    assert subject.digest == f"sha256:{'e' * 64}"


def test_subject_null_is_none() -> None:
    assert read(IMAGE | {"subject": None}).subject is None


@pytest.mark.parametrize("subject", [{}, [], "a", 1, False, without(descriptor(), "digest")])
def test_malformed_subject_is_refused(subject: object) -> None:
    with pytest.raises(ManifestInvalid):
        read(IMAGE | {"subject": subject})


def test_subject_is_no_reference() -> None:
    assert len(read(INDEX | {"manifests": [], "subject": descriptor()}).references) == 0


@pytest.mark.parametrize("annotations", [None, {}])
def test_annotations_may_be_absent(annotations: object) -> None:
    assert read(IMAGE | {"annotations": annotations}).annotations == {}


@pytest.mark.parametrize("annotations", [[], "a", {"a": 1}, {"a": None}, {"a": {}}])
def test_annotations_that_are_no_texts_are_refused(annotations: object) -> None:
    with pytest.raises(ManifestInvalid):
        read(IMAGE | {"annotations": annotations})


@pytest.mark.parametrize(
    "annotations",
    [{str(n): "" for n in range(ANNOTATIONS_MAX + 1)}, {"a": "a" * (ANNOTATION_MAX_BYTES + 1)}],
    ids=["too many", "too long"],
)
def test_annotations_past_the_limits_are_refused(annotations: dict[str, str]) -> None:
    with pytest.raises(ManifestInvalid):
        read(IMAGE | {"annotations": annotations})


@pytest.mark.parametrize("document", [IMAGE, INDEX])
def test_more_children_than_the_limit_are_refused(document: dict[str, Any]) -> None:
    key = "layers" if "layers" in document else "manifests"

    with pytest.raises(ManifestInvalid):
        read(document | {key: [descriptor()] * (CHILDREN_MAX + 1)})


@pytest.mark.parametrize(
    ("media_type", "absent"),
    [
        (FOREIGN, True),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", True),
        ("application/vnd.oci.image.layer.v1.tar+gzip", False),
        ("application/vnd.oci.image.layer.nondistributable", False),
        (FOREIGN.upper(), False),
    ],
)
def test_only_a_foreign_layer_may_be_absent(media_type: str, absent: object) -> None:
    layer = read(IMAGE | {"layers": [descriptor("b", media_type)]}).references[1]

    assert layer.may_be_absent == absent


@pytest.mark.parametrize("place", ["config", "manifests"])
def test_config_or_child_that_says_it_is_foreign_may_not_be_absent(place: str) -> None:
    foreign = descriptor("b", FOREIGN)
    document = IMAGE | {"config": foreign} if place == "config" else INDEX | {"manifests": [foreign]}

    assert not read(document).references[0].may_be_absent


@pytest.mark.parametrize(
    ("sent", "found"), [("A/B", "a/b"), ("a/b;c=d", "a/b"), (" a/b ; c", "a/b"), ("", ""), (";", "")]
)
def test_content_type_is_bared(sent: str, found: str) -> None:
    assert bare(sent) == found


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from([descriptor(), OCI_MANIFEST]),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3)
    ),
    max_leaves=6,
)


@given(
    st.sampled_from([IMAGE, INDEX]),
    st.sampled_from([*IMAGE, *INDEX, "subject", "annotations", "artifactType"]),
    VALUES,
)
def test_document_with_any_one_value_is_read_or_refused(
    document: dict[str, Any], key: str, value: object
) -> None:
    try:
        manifest = read(document | {key: value})
    except ManifestInvalid:
        return
    assert manifest.media_type in MANIFESTS
