"""Manifests that are no JSON, JSON in two ways, no manifest, too large or too deep."""

import json
import os
from typing import Any

import pytest

from tests.inputs.registry import (
    ABSENT,
    MIB,
    OCI_INDEX,
    OCI_MANIFEST,
    Document,
    Registry,
    check_refused,
    descriptor,
    digest_of,
    encode,
    image,
    index,
)
from tests.inputs.wire import Wire, ask, chunked, request

LIMIT_BYTES = 4 * MIB
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


@pytest.fixture
def ready(registry: Registry) -> Registry:
    """A repository with the config that `image` names, so that nothing but the input is wrong."""
    registry.push("ready", image(annotations={"is": "ready"}))
    return registry


def text(document: Document | None = None) -> str:
    return json.dumps(document or image())


def refused(
    registry: Registry, payload: bytes, media_type: str | None = OCI_MANIFEST, code: str = "MANIFEST_INVALID"
) -> None:
    """By tag and by digest; neither is there afterwards."""
    with registry.watch():
        for reference in ("bad", digest_of(payload)):
            check_refused(registry.put(reference, payload, media_type), 400, code=code)
            check_refused(registry.ask("GET", f"manifests/{reference}"), 404, code="MANIFEST_UNKNOWN")


@pytest.mark.parametrize(
    "is_chunked", [pytest.param(False, id="B54-length"), pytest.param(True, id="B54-chunked")]
)
def test_manifest_over_four_mebibytes_is_too_large(ready: Registry, *, is_chunked: bool) -> None:
    payload = b" " * (LIMIT_BYTES + 1)
    fields = [("Content-Type", OCI_MANIFEST)]

    with ready.watch(), Wire(ready.port) as wire:
        if is_chunked:
            wire.send(request("PUT", ready.path("manifests/x"), [*fields, ("Transfer-Encoding", "chunked")]))
            pieces = [payload[start : start + 65536] for start in range(0, len(payload), 65536)]
            wire.send(chunked(*pieces))
        else:
            wire.send(request("PUT", ready.path("manifests/x"), fields, payload))
        reply = wire.read()

    check_refused(reply, 413, code="MANIFEST_INVALID")


def test_manifest_of_exactly_four_mebibytes_is_taken(ready: Registry) -> None:
    """B54."""
    payload = encode(image())
    payload += b" " * (LIMIT_BYTES - len(payload))

    with ready.watch(changes=True, rss_growth_max_bytes=64 * MIB):
        assert ready.put("x", payload).status == 201

    assert ready.ask("GET", "manifests/x").body == payload


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"[" * 100_000, id="B55-arrays"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, id="B55-arrays-closed"),
        pytest.param(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, id="B55-objects"),
        pytest.param(b"[" * 2_000_000, id="B55-two-million-arrays"),
        pytest.param(text().replace("[]", "[" * 65 + "]" * 65).encode(), id="B55-65-deep"),
        pytest.param(b"", id="B58-nothing"),
        pytest.param(b"null", id="B58-null"),
        pytest.param(b"[]", id="B58-list"),
        pytest.param(b"1", id="B58-number"),
        pytest.param(b'"x"', id="B58-string"),
        pytest.param(b"{}", id="B58-empty-object"),
        pytest.param(b"{", id="B58-cut"),
        pytest.param(b"{'a':1}", id="B58-single-quotes"),
        pytest.param(b"// x\n{}", id="B58-comment"),
        pytest.param(text().encode("utf-16"), id="B58-utf-16"),
        pytest.param(text().encode("utf-16-le"), id="B58-utf-16-without-mark"),
        pytest.param(text().encode("utf-32"), id="B58-utf-32"),
        pytest.param(text().encode("utf-8-sig"), id="B58-byte-order-mark"),
        pytest.param(text().encode() + b"\xff", id="B58-byte-after"),
        pytest.param(text().encode() + b"{}", id="B58-second-value"),
        pytest.param(text().encode() + b"\0", id="B58-nul-after"),
        pytest.param(
            text(image(annotations={"a": "?"})).replace("?", "\\ud800").encode(), id="B58-lone-surrogate"
        ),
        pytest.param(
            text(image(annotations={"?": ""})).replace("?", "\\udfff").encode(), id="B58-lone-surrogate-key"
        ),
        pytest.param(
            text(image(annotations={"a": "?"})).encode().replace(b"?", b"\xed\xa0\x80"),
            id="B58-surrogate-in-utf-8",
        ),
        pytest.param(
            text(image(annotations={"a": "?"})).encode().replace(b"?", b"\xc0\xaf"), id="B58-overlong"
        ),
        pytest.param(
            text(image(annotations={"a": "?"})).encode().replace(b"?", b"\n"), id="B58-control-character"
        ),
        pytest.param(text(image(annotations={"a": "?"})).encode().replace(b"?", b"\xe9"), id="B58-latin-1"),
    ],
)
def test_what_is_not_one_json_object_in_utf8_is_invalid(ready: Registry, payload: bytes) -> None:
    refused(ready, payload)


@pytest.mark.parametrize(
    "number",
    [
        pytest.param("-1", id="B56-negative"),
        pytest.param("-0.0", id="B56-minus-nothing"),
        pytest.param("true", id="B56-true"),
        pytest.param('"12"', id="B56-text"),
        pytest.param("1.5", id="B56-half"),
        pytest.param("2.0", id="B56-float"),
        pytest.param("2e0", id="B56-exponent"),
        pytest.param("NaN", id="B56-nan"),
        pytest.param("Infinity", id="B56-infinity"),
        pytest.param("-Infinity", id="B56-minus-infinity"),
        pytest.param("1e999", id="B56-1e999"),
        pytest.param("1" * 5000, id="B56-5000-digits"),
        pytest.param("1e" + "9" * 5000, id="B56-5000-digits-of-exponent"),
        pytest.param(str(2**63), id="B56-two-to-the-63"),
        pytest.param(str(2**63 - 1), id="B63-largest"),
        pytest.param("3", id="B63-one-more-than-stored"),
        pytest.param("0", id="B63-nothing"),
        pytest.param("null", id="B56-null"),
        pytest.param("[2]", id="B56-list"),
        pytest.param("02", id="B56-leading-zero"),
        pytest.param("0x2", id="B56-hex"),
        pytest.param("+2", id="B56-plus"),
        pytest.param("2_0", id="B56-underscore"),
        pytest.param("\u0662", id="B56-arabic-digit"),
    ],
)
def test_size_that_is_not_the_stored_number_is_invalid(ready: Registry, number: str) -> None:
    refused(ready, text().replace('"size": 2', f'"size": {number}').encode())


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(text().replace('"layers": []', '"layers": [], "layers": []'), id="B57-layers"),
        pytest.param(text().replace('"size": 2', '"size": 2, "size": 2'), id="B57-size"),
        pytest.param(text().replace('"layers": []', '"layers": [], "l\\u0061yers": []'), id="B57-escaped"),
        pytest.param(
            text(image(annotations={"a": "1", "b": "2"})).replace('"b"', '"a"'), id="B57-annotations"
        ),
        pytest.param(text().replace('"layers"', '"Layers"'), id="B57-other-case"),
        pytest.param(text().replace('"layers": []', '"layers": [], "LAYERS": []'), id="B57-both-cases"),
        pytest.param(text().replace('"layers": []', '"layers": [], "layer\u017f": []'), id="B57-long-s"),
        pytest.param(text().replace('"digest"', '"Digest"'), id="B57-other-case-in-a-descriptor"),
        pytest.param(text().replace('"mediaType"', '"mediatype"', 1), id="B57-other-case-of-the-type"),
        pytest.param(
            text().replace('"layers": []', '"layers": [], "MANIFESTS": []'), id="B59-manifests-in-other-case"
        ),
    ],
)
def test_key_that_readers_would_understand_in_two_ways_is_invalid(ready: Registry, payload: str) -> None:
    refused(ready, payload.encode())


def _config() -> Document:
    config: Document = image()["config"]
    return config


@pytest.mark.parametrize(
    ("document", "media_type"),
    [
        pytest.param(image(manifests=[]), OCI_MANIFEST, id="B59-image-with-manifests"),
        pytest.param(index(layers=[]), OCI_INDEX, id="B59-index-with-layers"),
        pytest.param(index(config=_config()), OCI_INDEX, id="B59-index-with-config"),
        pytest.param({**image(), **index()}, OCI_MANIFEST, id="B59-both"),
        pytest.param({**image(), **index()}, OCI_INDEX, id="B59-both-as-index"),
        pytest.param(image(), OCI_INDEX, id="B60-image-as-index"),
        pytest.param(index(), OCI_MANIFEST, id="B60-index-as-image"),
        pytest.param(image(), DOCKER_MANIFEST, id="B60-oci-as-docker"),
        pytest.param(index(), DOCKER_LIST, id="B60-index-as-list"),
        pytest.param(image(mediaType=1), OCI_MANIFEST, id="B60-type-no-text"),
        pytest.param(image(mediaType=""), OCI_MANIFEST, id="B60-type-empty"),
        pytest.param(image(schemaVersion=1), OCI_MANIFEST, id="B61-version-1"),
        pytest.param(image(schemaVersion="2"), OCI_MANIFEST, id="B61-version-text"),
        pytest.param(image(schemaVersion=2.0), OCI_MANIFEST, id="B61-version-float"),
        pytest.param(image(schemaVersion=True), OCI_MANIFEST, id="B61-version-true"),
        pytest.param(
            {"schemaVersion": 1, "name": "x", "tag": "x", "fsLayers": [], "history": []},
            "application/vnd.docker.distribution.manifest.v1+json",
            id="B61-schema-1",
        ),
        pytest.param(
            {"schemaVersion": 1, "signatures": [], "fsLayers": []},
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            id="B61-schema-1-signed",
        ),
        pytest.param(image(mediaType="text/html"), "text/html", id="B62-html"),
        pytest.param(image(mediaType="application/x"), "application/x", id="B62-unknown"),
        pytest.param(image(mediaType="application/x"), None, id="B62-unknown-in-the-body"),
        pytest.param({"schemaVersion": 2}, None, id="B62-no-type-no-shape"),
        pytest.param({"schemaVersion": 2}, "application/json", id="B62-json"),
        pytest.param(image(config=None), OCI_MANIFEST, id="B62-no-config"),
        pytest.param(image(config=[]), OCI_MANIFEST, id="B62-config-a-list"),
        pytest.param(image(layers={}), OCI_MANIFEST, id="B62-layers-an-object"),
        pytest.param(image(layers=None), OCI_MANIFEST, id="B62-layers-null"),
        pytest.param(image(layers=[1]), OCI_MANIFEST, id="B62-layer-a-number"),
        pytest.param(image(layers=[None]), OCI_MANIFEST, id="B62-layer-null"),
        pytest.param(image(layers=[{}]), OCI_MANIFEST, id="B62-layer-empty"),
        pytest.param(
            image(config={**_config(), "digest": "sha256:../../x"}), OCI_MANIFEST, id="B36-config-climbs"
        ),
        pytest.param(
            image(config={**_config(), "digest": "md5:" + "0" * 32}), OCI_MANIFEST, id="B36-config-md5"
        ),
        pytest.param(image(config={**_config(), "digest": None}), OCI_MANIFEST, id="B36-config-no-digest"),
        pytest.param(
            image(config={**_config(), "digest": ABSENT + "\n"}), OCI_MANIFEST, id="B36-config-line-feed"
        ),
        pytest.param(image(config={**_config(), "mediaType": None}), OCI_MANIFEST, id="B62-config-no-type"),
        pytest.param(image(subject={}), OCI_MANIFEST, id="B68-subject-empty"),
        pytest.param(image(subject="x"), OCI_MANIFEST, id="B68-subject-text"),
        pytest.param(
            image(subject={"digest": "x", "size": 1, "mediaType": "x"}),
            OCI_MANIFEST,
            id="B68-subject-no-digest",
        ),
        pytest.param(image(artifactType=1), OCI_MANIFEST, id="B62-artifact-type-a-number"),
        pytest.param(image(annotations=[]), OCI_MANIFEST, id="B69-annotations-a-list"),
        pytest.param(image(annotations={"a": 1}), OCI_MANIFEST, id="B69-annotation-a-number"),
        pytest.param(image(annotations={"a": None}), OCI_MANIFEST, id="B69-annotation-null"),
        pytest.param(image(annotations={"a": "x" * MIB}), OCI_MANIFEST, id="B69-annotation-of-1-MiB"),
        pytest.param(image(annotations={"x" * MIB: "a"}), OCI_MANIFEST, id="B69-annotation-name-of-1-MiB"),
        pytest.param(
            image(annotations={"a": "\u6f22" * (MIB // 2)}),
            OCI_MANIFEST,
            id="B69-annotation-of-1.5-MiB-in-utf-8",
        ),
        pytest.param(
            image(annotations={str(key): "" for key in range(10_000)}),
            OCI_MANIFEST,
            id="B69-10000-annotations",
        ),
        pytest.param(
            image(config={**_config(), "annotations": {str(key): "" for key in range(10_000)}}),
            OCI_MANIFEST,
            id="B69-10000-annotations-on-a-descriptor",
        ),
        pytest.param(
            image(config={**_config(), "annotations": {"a": "x" * MIB}}),
            OCI_MANIFEST,
            id="B69-annotation-of-1-MiB-on-a-descriptor",
        ),
    ],
)
def test_document_that_is_no_manifest_of_its_type_is_invalid(
    ready: Registry, document: Any, media_type: str | None
) -> None:
    refused(ready, json.dumps(document, ensure_ascii=False).encode(), media_type)


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://169.254.169.254/latest/meta-data/", id="B66-metadata"),
        pytest.param("file:///etc/passwd", id="B66-file"),
        pytest.param("FILE:///etc/passwd", id="B66-file-in-upper-case"),
        pytest.param("//169.254.169.254/", id="B66-no-scheme"),
        pytest.param("gopher://evil.test/", id="B66-gopher"),
        pytest.param("http://127.0.0.1/", id="B66-loopback"),
        pytest.param("http://localhost/", id="B66-localhost"),
        pytest.param("http://LOCALHOST./", id="B66-localhost-with-a-dot"),
        pytest.param("http://127.1/", id="B66-short-loopback"),
        pytest.param("http://0x7f.1/", id="B66-hex-loopback"),
        pytest.param("http://2130706433/", id="B66-loopback-as-a-number"),
        pytest.param("http://[::1]/", id="B66-loopback-6"),
        pytest.param("http://[::ffff:127.0.0.1]/", id="B66-mapped-loopback"),
        pytest.param("http://[64:ff9b::7f00:1]/", id="B66-translated-loopback"),
        pytest.param("http://[2002:7f00:1::]/", id="B66-6to4-loopback"),
        pytest.param("http://[fec0::1]/", id="B66-site-local"),
        pytest.param("http://10.0.0.1/", id="B66-private"),
        pytest.param("http://100.64.0.1/", id="B66-carrier"),
        pytest.param("http://0.0.0.0/", id="B66-nowhere"),
        pytest.param("http://192.0.0.8/", id="B66-dummy"),
        pytest.param("http://user:secret@evil.test/", id="B66-credentials"),
        pytest.param("http://good.test\\@evil.test/", id="B66-backslash"),
        pytest.param("http://", id="B66-no-host"),
        pytest.param("http://[", id="B66-half-an-address"),
        pytest.param("http://a\n.test/", id="B66-line-feed"),
    ],
)
def test_foreign_layer_that_leads_into_someones_network_is_invalid(ready: Registry, url: str) -> None:
    layer = {
        "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "digest": ABSENT,
        "size": 1,
        "urls": [url],
    }

    refused(ready, encode(image(layers=[layer])))


@pytest.mark.parametrize("key", ["layers", "manifests"])
def test_manifest_with_10001_children_is_invalid(ready: Registry, key: str) -> None:
    """B64."""
    children = [_config()] * 10_001
    document = index(*children) if key == "manifests" else image(layers=children)

    refused(ready, encode(document), document["mediaType"])


def test_index_nested_deeper_than_eight_is_invalid(ready: Registry) -> None:
    """B64: eight levels of index are taken, a ninth is not."""
    child = ready.push("level", image())
    for level in range(8):
        child = ready.push("level", index(child, annotations={"level": str(level)}))

    refused(ready, encode(index(child)), OCI_INDEX)


def test_diamond_of_20_levels_is_answered_at_once(ready: Registry) -> None:
    """B65: two parents each, so a million ways through it; each child is looked at once."""
    children = [ready.push(f"leaf-{side}", image(annotations={"side": side})) for side in "ab"]
    statuses = []
    for level in range(20):
        made = []
        for side in "ab":
            document = index(*children, annotations={"at": f"{level}{side}"})
            statuses.append(ready.put("diamond", document, OCI_INDEX).status)
            made.append(descriptor(encode(document), OCI_INDEX))
        if statuses[-1] != 201:
            break
        children = made

    assert set(statuses) <= {201, 400}
    assert ask(ready.port, "GET", "/v2/").status == 200


def test_manifest_that_names_itself_cannot_be(ready: Registry) -> None:
    refused(
        ready,
        encode(index({"mediaType": OCI_INDEX, "digest": ABSENT, "size": 2})),
        OCI_INDEX,
        "MANIFEST_BLOB_UNKNOWN",
    )


def test_10000_missing_layers_are_refused_within_bounds(ready: Registry) -> None:
    """One entry for each missing digest, and no more of the registry's time than a short write."""
    layers = [{**_config(), "digest": digest_of(b"%d" % number)} for number in range(10_000)]

    with ready.watch():
        reply = ready.put("x", image(layers=layers))

    check_refused(reply, 400, code="MANIFEST_BLOB_UNKNOWN")


def test_unknown_subject_is_taken_and_named(ready: Registry) -> None:
    """B68."""
    subject = {"mediaType": OCI_MANIFEST, "digest": digest_of(os.urandom(8)), "size": 7}

    reply = ready.put("x", image(subject=subject))

    assert reply.status == 201
    assert reply["oci-subject"] == subject["digest"]
    listed = ready.ask("GET", f"referrers/{subject['digest']}").json["manifests"]
    assert [entry["digest"] for entry in listed] == [digest_of(encode(image(subject=subject)))]


@pytest.mark.parametrize(
    "filling",
    [
        pytest.param(b"[],", id="B55-empty-arrays"),
        pytest.param(b'{"":0},', id="B55-small-objects"),
        pytest.param(b'{"":' * 50 + b"0" + b"}" * 50 + b",", id="B55-nested-objects"),
        pytest.param(b'"",', id="B55-empty-strings"),
        pytest.param(b"999,", id="B55-numbers"),
        pytest.param(b"1e1,", id="B55-floats"),
    ],
)
def test_json_that_swells_in_memory_costs_no_more_than_the_bound(ready: Registry, filling: bytes) -> None:
    head = text().replace('"layers": []', '"layers": [], "x": [').removesuffix("}").encode()
    payload = head + filling * ((LIMIT_BYTES - len(head) - 10) // len(filling)) + b"0]}"

    with ready.watch(changes=True):
        reply = ready.put("x", payload)

    assert reply.status in {201, 400}


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("tag=-x", id="B32-bad"),
        pytest.param("tag=ok&tag=.x", id="B32-one-bad-of-two"),
        pytest.param("tag=ok&tag=", id="B32-one-empty"),
        pytest.param("tag=ok&tag=a%0a", id="B32-line-feed"),
        pytest.param("&".join(f"tag=t{number}" for number in range(101)), id="B72-101-tags"),
        pytest.param("&".join(f"tag=t{number}" for number in range(300)), id="B72-300-tags"),
        pytest.param("tag=%ff", id="B32-no-utf-8"),
    ],
)
def test_one_bad_tag_among_several_moves_none(ready: Registry, query: str) -> None:
    document = image(annotations={"several": "tags"})
    reference = digest_of(encode(document))

    with ready.watch():
        check_refused(ready.put(f"{reference}?{query}", document), 400, 414)
        assert ready.ask("GET", "tags/list").json["tags"] == ["ready"]
        check_refused(ready.ask("GET", f"manifests/{reference}"), 404)


def test_tag_parameters_beside_a_tag_are_refused(ready: Registry) -> None:
    with ready.watch():
        check_refused(ready.put("x?tag=y", image(annotations={"a": "b"})), 400)
