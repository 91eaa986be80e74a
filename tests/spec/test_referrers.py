"""Endpoint 12: what refers to a manifest."""

import re
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from tests.content import (
    ABSENT,
    CONFIG,
    MIB,
    OCI_INDEX,
    OCI_MANIFEST,
    Document,
    digest_of,
    encode,
    image,
    index,
    some_bytes,
    subject,
)
from tests.spec.client import Reply, Repository

SIGNATURE = "application/vnd.example.signature"
SBOM = "application/vnd.example.sbom"


@pytest.fixture
def config(repository: Repository) -> bytes:
    content = some_bytes(64)
    repository.push_blob(content)
    return content


@pytest.fixture
def target(repository: Repository) -> Document:
    """An image that is referred to."""
    return repository.push_image("1.0")


def refer(repository: Repository, config: bytes, target: Document, **more: Any) -> str:
    """Push an image that refers to the target; its digest."""
    return repository.push_manifest(image(config, subject=subject(target), **more))


def ask(repository: Repository, target: Document | str, query: str = "") -> Reply:
    digest = target if isinstance(target, str) else digest_of(encode(target))
    return repository.send("GET", f"referrers/{digest}{query}")


def digests(reply: Reply) -> list[str]:
    return [entry["digest"] for entry in reply.json["manifests"]]


def test_referrers_are_an_oci_index(repository: Repository, target: Document) -> None:
    reply = ask(repository, target)

    assert (reply.status, reply["Content-Type"]) == (200, OCI_INDEX)
    assert reply.json == {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}


def test_referrers_in_a_repository_that_does_not_exist_are_none(repository: Repository) -> None:
    """Case 62: a 404 would tell a client that there is no such API."""
    reply = ask(repository, ABSENT)

    assert (reply.status, reply.json["manifests"]) == (200, [])


def test_referrers_of_a_digest_that_does_not_exist_are_none(repository: Repository, config: bytes) -> None:
    """Case 62."""
    assert ask(repository, ABSENT).json["manifests"] == []


@pytest.mark.parametrize(
    "digest", ["sha256:zz", "sha256:", "1.0", "md5:" + "a" * 32, "sha256:" + "A" * 64, "%2F"]
)
def test_referrers_of_a_bad_digest_are_refused(repository: Repository, digest: str) -> None:
    """Case 62."""
    reply = ask(repository, digest)

    assert (reply.status, reply.codes) == (400, ["DIGEST_INVALID"])


def test_referrer_is_described_whole(repository: Repository, config: bytes, target: Document) -> None:
    annotations = {"org.example.a": "b", "c": '\N{SNOWMAN} " \\'}
    document = image(config, subject=subject(target), artifactType=SIGNATURE, annotations=annotations)
    repository.push_manifest(document)

    assert ask(repository, target).json["manifests"] == [
        {
            "mediaType": OCI_MANIFEST,
            "digest": digest_of(encode(document)),
            "size": len(encode(document)),
            "artifactType": SIGNATURE,
            "annotations": annotations,
        }
    ]


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, "application/vnd.docker.distribution.manifest.v2+json"])
def test_type_of_an_image_that_states_none_is_its_configs(
    repository: Repository, config: bytes, target: Document, media_type: str
) -> None:
    refer(repository, config, target, media_type=media_type)

    (entry,) = ask(repository, target).json["manifests"]
    assert (entry["mediaType"], entry["artifactType"]) == (media_type, CONFIG)


def test_type_of_an_index_is_its_own(repository: Repository, target: Document) -> None:
    repository.push_manifest(index(subject=subject(target), artifactType=SBOM))

    assert ask(repository, target).json["manifests"][0]["artifactType"] == SBOM


def test_index_that_states_no_type_is_described_without(repository: Repository, target: Document) -> None:
    repository.push_manifest(index(subject=subject(target)))

    assert "artifactType" not in ask(repository, target).json["manifests"][0]


def test_referrer_to_an_absent_manifest_is_listed(repository: Repository, config: bytes) -> None:
    """Case 33."""
    document = image(config, subject={"mediaType": OCI_MANIFEST, "digest": ABSENT, "size": 7})
    repository.push_manifest(document)

    assert digests(ask(repository, ABSENT)) == [digest_of(encode(document))]


def test_referrers_of_another_repository_are_not_listed(
    repository: Repository, other: Repository, config: bytes, target: Document
) -> None:
    refer(repository, config, target)
    other.push_image()

    assert ask(other, target).json["manifests"] == []


def test_referrers_of_another_manifest_are_not_listed(
    repository: Repository, config: bytes, target: Document
) -> None:
    refer(repository, config, repository.push_image())

    assert ask(repository, target).json["manifests"] == []


@pytest.fixture
def signature(repository: Repository, config: bytes, target: Document) -> str:
    return refer(repository, config, target, artifactType=SIGNATURE)


@pytest.fixture
def sbom(repository: Repository, config: bytes, target: Document) -> str:
    return refer(repository, config, target, artifactType=SBOM)


def test_referrers_of_one_type_are_filtered(
    repository: Repository, target: Document, signature: str, sbom: str
) -> None:
    reply = ask(repository, target, f"?artifactType={quote(SBOM, safe='')}")

    assert digests(reply) == [sbom]
    assert reply["OCI-Filters-Applied"] == "artifactType"


def test_referrers_of_several_types_are_filtered(
    repository: Repository, config: bytes, target: Document, signature: str, sbom: str
) -> None:
    refer(repository, config, target, artifactType="application/vnd.example.other")

    reply = ask(repository, target, f"?artifactType={SBOM}&artifactType={SIGNATURE}")

    assert sorted(digests(reply)) == sorted([signature, sbom])


def test_filter_that_matches_nothing_is_said_to_be_applied(
    repository: Repository, target: Document, signature: str
) -> None:
    """Case 63."""
    reply = ask(repository, target, "?artifactType=application/vnd.example.none")

    assert (reply.status, digests(reply), reply["OCI-Filters-Applied"]) == (200, [], "artifactType")


def test_filter_by_the_type_of_a_config_matches(
    repository: Repository, config: bytes, target: Document
) -> None:
    digest = refer(repository, config, target)

    assert digests(ask(repository, target, f"?artifactType={quote(CONFIG, safe='')}")) == [digest]


def test_referrers_without_a_filter_say_none(repository: Repository, target: Document, sbom: str) -> None:
    assert ask(repository, target).header("OCI-Filters-Applied") is None


def test_referrer_pushed_by_tag_and_by_digest_is_one(
    repository: Repository, config: bytes, target: Document
) -> None:
    """Case 64."""
    document = image(config, subject=subject(target))
    repository.push_manifest(document, "sig")
    digest = repository.push_manifest(document)

    assert digests(ask(repository, target)) == [digest]


def test_referrer_that_lost_its_tag_is_listed(
    repository: Repository, config: bytes, target: Document
) -> None:
    """Case 64."""
    document = image(config, subject=subject(target))
    digest = repository.push_manifest(document, "sig")
    repository.send("DELETE", "manifests/sig")

    assert digests(ask(repository, target)) == [digest]


def test_referrer_that_was_deleted_is_not_listed(
    repository: Repository, target: Document, signature: str, sbom: str
) -> None:
    """Case 64."""
    repository.send("DELETE", f"manifests/{signature}")

    assert digests(ask(repository, target)) == [sbom]


def test_referrers_go_with_their_subject_and_come_back_with_it(
    repository: Repository, target: Document, signature: str
) -> None:
    deleted = repository.send("DELETE", f"manifests/{digest_of(encode(target))}")
    assert signature in deleted.json["digests"]
    assert digests(ask(repository, target)) == []

    repository.push_manifest(target, "again")

    assert digests(ask(repository, target)) == [signature]
    assert repository.send("GET", f"manifests/{signature}").status == 200


def test_referrer_that_is_tagged_outlives_its_subject(
    repository: Repository, target: Document, signature: str
) -> None:
    payload = repository.send("GET", f"manifests/{signature}").body
    repository.push_manifest(payload, "signature")
    repository.send("DELETE", f"manifests/{digest_of(encode(target))}")

    assert digests(ask(repository, target)) == [signature]


def test_tag_that_a_client_keeps_for_referrers_is_a_tag(repository: Repository, config: bytes) -> None:
    """Case 65."""
    target = image(config)
    repository.push_manifest(target)
    tag = digest_of(encode(target)).replace(":", "-")
    listing = index([target])
    repository.push_manifest(listing, tag)

    assert repository.send("GET", f"manifests/{tag}").body == encode(listing)
    assert repository.send("GET", "tags/list").json["tags"] == [tag]
    assert ask(repository, target).json["manifests"] == []


def test_referrers_of_a_manifest_are_found_by_both_its_digests(
    repository: Repository, target: Document, signature: str
) -> None:
    """The subject may be named by the algorithm that it was pushed by or by the other."""
    assert digests(ask(repository, digest_of(encode(target), "sha512"))) == [signature]


def next_page(reply: Reply) -> str:
    match = re.fullmatch(r'<(/[^>]*)>; rel="next"', reply["Link"])
    assert match is not None, reply["Link"]
    return match[1]


def test_pages_of_referrers_have_each_once(repository: Repository, config: bytes, target: Document) -> None:
    pushed = [refer(repository, config, target, annotations={"n": str(n)}) for n in range(5)]
    reply = ask(repository, target, "?n=2")
    found = digests(reply)

    while reply.header("Link") is not None:
        reply = repository.client.send("GET", next_page(reply))
        assert reply.json["mediaType"] == OCI_INDEX
        found += digests(reply)

    assert sorted(found) == sorted(pushed)


@pytest.mark.parametrize("number", [0, 2, 3])
def test_page_of_referrers_that_is_the_last_has_no_link(
    repository: Repository, config: bytes, target: Document, number: int
) -> None:
    for n in range(2):
        refer(repository, config, target, annotations={"n": str(n)})

    assert ask(repository, target, f"?n={number}").header("Link") is None


def test_link_to_the_next_page_of_referrers_keeps_the_filter(
    repository: Repository, config: bytes, target: Document, sbom: str
) -> None:
    """Case 60."""
    for n in range(3):
        refer(repository, config, target, artifactType=SIGNATURE, annotations={"n": str(n)})

    reply = ask(repository, target, f"?n=2&artifactType={SIGNATURE}")
    following = repository.client.send("GET", next_page(reply))

    assert parse_qs(urlsplit(next_page(reply)).query)["artifactType"] == [SIGNATURE]
    assert len(digests(following)) == 1
    assert (sbom in digests(following), following["OCI-Filters-Applied"]) == (False, "artifactType")


def test_page_of_referrers_is_smaller_than_clients_read(
    repository: Repository, config: bytes, target: Document
) -> None:
    pushed = [
        refer(repository, config, target, annotations={"a": str(n) * 1_000_000, "b": "c" * 900_000})
        for n in range(3)
    ]
    replies = [ask(repository, target)]
    while replies[-1].header("Link") is not None:
        replies.append(repository.client.send("GET", next_page(replies[-1])))

    assert max(len(reply.body) for reply in replies) < 4 * MIB
    assert sorted(digest for reply in replies for digest in digests(reply)) == sorted(pushed)


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "%D9%A1", "9" * 30])
def test_page_of_referrers_after_what_no_link_said_is_refused(
    repository: Repository, target: Document, last: str
) -> None:
    assert ask(repository, target, f"?last={last}").status == 400
