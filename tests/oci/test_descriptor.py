from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import ManifestInvalid
from moorage.oci.descriptor import SIZE_MAX_BYTES, Descriptor, parse_descriptor
from moorage.oci.digest import Digest

DIGEST = Digest("sha256:" + "a" * 64)
GOOD: dict[str, Any] = {"mediaType": "application/octet-stream", "digest": DIGEST, "size": 7}


def test_descriptor_is_read() -> None:
    assert parse_descriptor(GOOD, "config") == Descriptor("application/octet-stream", DIGEST, 7)


@pytest.mark.parametrize(
    "more",
    [
        {"annotations": {"a": "b"}},
        {"data": "e30="},
        {"platform": {"os": "linux", "architecture": "amd64"}},
        {"artifactType": "a/b"},
        {"urls": ["https://example.com/layer"]},
        {"urls": []},
        {"urls": None},
        {"x-unknown": [1]},
        {"mediaType": "nothing/known+at-all"},
        {"size": 0},
        {"size": SIZE_MAX_BYTES},
        {"digest": "sha512:" + "a" * 128},
    ],
)
def test_descriptor_with_what_may_be_there_is_read(more: dict[str, Any]) -> None:
    assert parse_descriptor(GOOD | more, "config").digest == (GOOD | more)["digest"]


@pytest.mark.parametrize("size", [-1, True, False, 1.0, 1.5, "7", None, [], 2**63, float("nan")])
def test_size_that_is_no_count_of_bytes_is_refused(size: object) -> None:
    """True is an int in Python."""
    with pytest.raises(ManifestInvalid) as refusal:
        parse_descriptor(GOOD | {"size": size}, "layers[3]")

    assert refusal.value.detail["where"] == "layers[3].size"


@pytest.mark.parametrize(
    "digest", [None, 1, "", "sha256:zz", DIGEST.upper(), DIGEST + "\n", "md5:" + "a" * 32, [DIGEST]]
)
def test_bad_digest_is_refused(digest: object) -> None:
    with pytest.raises(ManifestInvalid) as refusal:
        parse_descriptor(GOOD | {"digest": digest}, "config")

    assert refusal.value.detail["where"] == "config.digest"


@pytest.mark.parametrize("media_type", [None, 1, "", [], True])
def test_bad_media_type_is_refused(media_type: object) -> None:
    with pytest.raises(ManifestInvalid) as refusal:
        parse_descriptor(GOOD | {"mediaType": media_type}, "config")

    assert refusal.value.detail["where"] == "config.mediaType"


@pytest.mark.parametrize("key", ["mediaType", "digest", "size"])
def test_missing_key_is_refused(key: str) -> None:
    with pytest.raises(ManifestInvalid):
        parse_descriptor({name: value for name, value in GOOD.items() if name != key}, "config")


@pytest.mark.parametrize(
    "key",
    [
        "Size",
        "DIGEST",
        "mediatype",
        "URLs",
        "Data",
        "ArtifactType",
        "PLATFORM",
        "\u017fize",
        "annotation\u017f",
    ],
)
def test_known_key_in_another_case_is_refused(key: str) -> None:
    """Go reads it, and folds a long s to an s."""
    with pytest.raises(ManifestInvalid):
        parse_descriptor(GOOD | {key: None}, "config")


@pytest.mark.parametrize("value", [None, [], "text", 1, True])
def test_descriptor_that_is_no_object_is_refused(value: object) -> None:
    with pytest.raises(ManifestInvalid):
        parse_descriptor(value, "config")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a?b=c",
        "http://example.com:8080/",
        "https://mcr.microsoft.com/v2/windows/blobs/x",
        "https://8.8.8.8/",
        "https://[2606:4700::1111]/",
        "https://0x7f.example.com/",
    ],
)
def test_url_that_everybody_can_reach_is_kept(url: str) -> None:
    assert parse_descriptor(GOOD | {"urls": [url]}, "layers[0]").urls == (url,)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "file:///etc/passwd",
        "ftp://example.com/",
        "gopher://example.com/",
        "javascript:alert(1)",
        "//example.com/",
        "example.com",
        "https://",
        "https:///path",
        "http://127.0.0.1/",
        "http://127.1/",
        "http://0x7f.1/",
        "http://2130706433/",
        "http://017700000001/",
        "http://localhost/",
        "http://localhost./",
        "http://LOCALHOST/",
        "http://127.0.0.1./",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:169.254.169.254]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[fec0::1]/",
        "http://[2002:7f00:1::]/",
        "http://[fe80::1]/",
        "http://[fd00::1]/",
        "http://192.0.0.8/",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/",
        "http://192.168.1.1/",
        "http://172.16.0.1/",
        "http://100.64.0.1/",
        "http://0.0.0.0/",
        "http://224.0.0.1/",
        "https://user:password@example.com/",
        "https://good.example\\@evil.example/",
        "https://good.example@evil.example/",
        "https://[::1",
        "http://foo.localhost/",
    ],
)
def test_url_that_leads_into_someones_network_is_refused(url: str) -> None:
    """Python calls some of these addresses global, and none of the numbers an address."""
    with pytest.raises(ManifestInvalid):
        parse_descriptor(GOOD | {"urls": [url]}, "layers[0]")


@pytest.mark.parametrize("urls", ["https://example.com/", [1], [None], {}, True, [["https://example.com/"]]])
def test_urls_that_are_no_list_of_texts_are_refused(urls: object) -> None:
    with pytest.raises(ManifestInvalid):
        parse_descriptor(GOOD | {"urls": urls}, "layers[0]")


@given(st.text(max_size=40))
def test_any_url_is_kept_or_refused(url: str) -> None:
    try:
        descriptor = parse_descriptor(GOOD | {"urls": [url]}, "layers[0]")
    except ManifestInvalid:
        return
    assert descriptor.urls == (url,)
