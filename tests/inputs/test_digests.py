"""Digests that are none, and content that is not what its digest says."""

import os

import pytest

from tests.inputs.registry import Registry, check_refused, descriptor, digest_of, encode, image

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
BAD_DIGESTS = [
    pytest.param("sha256:" + "0" * 63, id="B35-63-digits"),
    pytest.param("sha256:" + "0" * 65, id="B35-65-digits"),
    pytest.param("sha256:" + "A" * 64, id="B35-upper-case"),
    pytest.param("sha256:" + "g" * 64, id="B35-no-hex"),
    pytest.param("sha256:" + "%D9%A1" * 64, id="B35-arabic-digits"),
    pytest.param("sha256:" + "0" * 64 + "%0a", id="B35-line-feed-at-the-end"),
    pytest.param("sha256:" + "0" * 63 + "%00", id="B35-nul"),
    pytest.param("%20sha256:" + "0" * 64, id="B35-space-first"),
    pytest.param("SHA256:" + "0" * 64, id="B35-upper-case-algorithm"),
    pytest.param("sha512:" + "0" * 64, id="B35-sha512-of-64-digits"),
    pytest.param("sha256:" + "0" * 128, id="B35-sha256-of-128-digits"),
    pytest.param("md5:" + "0" * 32, id="B36-md5"),
    pytest.param("sha1:" + "0" * 40, id="B36-sha1"),
    pytest.param("sha384:" + "0" * 96, id="B36-sha384"),
    pytest.param("sha256:", id="B36-nothing-after"),
    pytest.param(":", id="B36-colon"),
    pytest.param(":" + "0" * 64, id="B36-nothing-before"),
    pytest.param("sha256:sha256:" + "0" * 64, id="B36-twice"),
    pytest.param("sha256:..%2F..%2Fx", id="B36-climbs"),
    pytest.param("sha256+b64u:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564", id="B36-registered-form"),
    pytest.param("sha256:" + "0" * 7000, id="B36-7000-digits"),
]


@pytest.mark.parametrize("digest", BAD_DIGESTS)
def test_what_is_no_digest_is_invalid_wherever_a_digest_is_due(registry: Registry, digest: str) -> None:
    location = registry.begin()

    with registry.watch():
        for method in ("GET", "DELETE"):
            check_refused(registry.ask(method, f"blobs/{digest}"), 400, code="DIGEST_INVALID")
        assert registry.ask("HEAD", f"blobs/{digest}").status == 400
        check_refused(registry.ask("GET", f"referrers/{digest}"), 400, code="DIGEST_INVALID")
        check_refused(registry.put(digest, image()), 400)
        check_refused(registry.ask("GET", f"manifests/{digest}"), 400, 404)
        check_refused(registry.ask("DELETE", f"manifests/{digest}"), 400, 404)
        check_refused(
            registry.ask("POST", f"blobs/uploads/?digest={digest}", (), b"x"), 400, code="DIGEST_INVALID"
        )
        check_refused(registry.follow("PUT", f"{location}?digest={digest}"), 400, code="DIGEST_INVALID")
    assert registry.follow("GET", location).status == 204


@pytest.mark.parametrize(
    "digest", [pytest.param("", id="B36-empty"), pytest.param("sha256:../../x", id="B36-climbs-raw")]
)
def test_closing_an_upload_by_what_is_no_digest_leaves_it_open(registry: Registry, digest: str) -> None:
    location = registry.begin()

    with registry.watch():
        check_refused(registry.follow("PUT", f"{location}?digest={digest}"), 400, code="DIGEST_INVALID")

    assert registry.follow("GET", location).status == 204


def test_digest_too_long_for_any_target_is_refused(registry: Registry) -> None:
    """B36 with 10 KiB: the target is too long before it is a digest."""
    with registry.watch():
        check_refused(registry.ask("GET", "blobs/sha256:" + "0" * 10_000), 414)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("way", ["whole", "put", "chunks"])
def test_blob_that_is_not_what_its_digest_says_is_refused_and_forgotten(
    registry: Registry, way: str, algorithm: str
) -> None:
    """B37, B39."""
    content, digest = os.urandom(1000), digest_of(os.urandom(1000), algorithm)

    with registry.watch():
        if way == "whole":
            reply = registry.ask("POST", f"blobs/uploads/?digest={digest}", (), content)
        else:
            location, rest = registry.begin(), content
            if way == "chunks":
                assert registry.follow("PATCH", location, (), content[:500]).status == 202
                rest = content[500:]
            reply = registry.follow("PUT", f"{location}?digest={digest}", (), rest)
            check_refused(registry.follow("GET", location), 404, code="BLOB_UPLOAD_UNKNOWN")
        for named in (digest, digest_of(content), digest_of(content, "sha512")):
            assert registry.ask("HEAD", f"blobs/{named}").status == 404

    check_refused(reply, 400, code="DIGEST_INVALID")


@pytest.mark.parametrize("way", ["whole", "put", "patch"])
def test_empty_blob_is_a_blob(registry: Registry, way: str) -> None:
    """B38."""
    if way == "whole":
        reply = registry.ask("POST", f"blobs/uploads/?digest={EMPTY}")
    else:
        location = registry.begin()
        if way == "patch":
            assert registry.follow("PATCH", location).status == 202
        reply = registry.follow("PUT", f"{location}?digest={EMPTY}")
    head, get = registry.ask("HEAD", f"blobs/{EMPTY}"), registry.ask("GET", f"blobs/{EMPTY}")

    assert reply.status == 201
    assert [head.status, head["content-length"]] == [200, "0"]
    assert [get.status, get["content-length"], get.body] == [200, "0", b""]
    check_refused(registry.ask("GET", f"blobs/{EMPTY}", [("Range", "bytes=0-0")]), 416)
    check_refused(registry.ask("GET", f"blobs/{EMPTY}", [("Range", "bytes=-1")]), 416)


def test_sha512_is_verified_and_serves_the_same_bytes(registry: Registry) -> None:
    """B39."""
    content = os.urandom(5000)
    digest = digest_of(content, "sha512")

    reply = registry.ask("POST", f"blobs/uploads/?digest={digest}", (), content)

    assert reply.status == 201
    assert reply["docker-content-digest"] == digest
    assert registry.ask("GET", f"blobs/{digest}").body == content
    assert registry.ask("GET", f"blobs/{digest_of(content)}").body == content


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_manifest_by_a_digest_of_other_bytes_is_refused(registry: Registry, algorithm: str) -> None:
    """B40."""
    registry.push_blob(b"{}")
    document = image()
    wrong = digest_of(encode(document) + b" ", algorithm)

    with registry.watch():
        check_refused(registry.put(wrong, document), 400, code="DIGEST_INVALID")
        check_refused(registry.put(f"{wrong}?tag=x", document), 400, code="DIGEST_INVALID")
        check_refused(registry.ask("GET", "manifests/x"), 404, code="MANIFEST_UNKNOWN")


def test_manifest_by_the_digest_of_a_blob_is_not_found(registry: Registry) -> None:
    """A blob is no manifest, whatever its bytes are, until it is pushed as one."""
    registry.push_blob(b"{}")
    payload = encode(image())
    registry.push_blob(payload)

    check_refused(registry.ask("GET", f"manifests/{digest_of(payload)}"), 404, code="MANIFEST_UNKNOWN")


def test_blob_of_another_repository_is_unknown_here(registry: Registry) -> None:
    """B51, B52: existence is asked of a repository, for blobs and for what manifests name."""
    elsewhere = Registry(registry.server)
    content = os.urandom(100)
    digest = elsewhere.push_blob(content)
    elsewhere.push("tag", image())
    registry.push_blob(b"{}")

    with registry.watch():
        assert registry.ask("HEAD", f"blobs/{digest}").status == 404
        check_refused(registry.ask("GET", f"blobs/{digest}"), 404, code="BLOB_UNKNOWN")
        check_refused(registry.ask("DELETE", f"blobs/{digest}"), 404, code="BLOB_UNKNOWN")
        reply = registry.put("x", image(layers=[descriptor(content)]))
        check_refused(registry.ask("GET", f"manifests/{digest_of(encode(image()))}"), 404)

    check_refused(reply, 400, code="MANIFEST_BLOB_UNKNOWN")
    assert [entry["detail"]["digest"] for entry in reply.json["errors"]] == [digest]


def test_error_never_echoes_more_than_a_line_of_what_was_sent(registry: Registry) -> None:
    with registry.watch():
        for rest in ("blobs/" + "x" * 7000, "manifests/" + "x" * 7000, "blobs/uploads/" + "x" * 7000):
            assert len(registry.ask("GET", rest).body) < 1000
        assert len(registry.ask("POST", "blobs/uploads/?digest=" + "x" * 7000).body) < 1000
