"""Endpoint 8, and tags as they are pushed, moved and listed."""

import concurrent.futures
import re
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.content import digest_of, encode, image, index, some_bytes
from tests.spec.client import Reply, Repository


@pytest.fixture
def config(repository: Repository) -> bytes:
    content = some_bytes(64)
    repository.push_blob(content)
    return content


def push_tags(repository: Repository, *tags: str) -> None:
    """Put some manifest under these tags."""
    document = index()
    for start in range(0, len(tags), 100):
        query = "&".join(f"tag={tag}" for tag in tags[start : start + 100])
        reply = repository.put_manifest(document, f"{digest_of(encode(document))}?{query}")
        assert reply.status == 201


def next_page(reply: Reply) -> str:
    """The target of a Link header."""
    match = re.fullmatch(r'<([^>]*)>; rel="next"', reply["Link"])
    assert match is not None, reply["Link"]
    return match[1]


def test_tags_are_listed_with_the_repository(repository: Repository) -> None:
    push_tags(repository, "1.0", "latest")

    reply = repository.send("GET", "tags/list")

    assert (reply.status, reply["Content-Type"]) == (200, "application/json")
    assert reply.json == {"name": repository.name, "tags": ["1.0", "latest"]}


def test_tags_are_sorted_bytewise(repository: Repository) -> None:
    tags = ["b", "a", "B", "A", "_", "10", "9", "a-", "a.", "a_", "a0", "aa", "Z"]
    push_tags(repository, *tags)

    assert repository.send("GET", "tags/list").json["tags"] == sorted(tags)


@pytest.mark.parametrize(
    "tag", ["a", "A", "_x", "0", "v1.0.0-rc.1_2", "a" * 128, "_", "sha256-" + "a" * 64, "__--.."]
)
def test_tag_that_follows_the_grammar_is_taken(repository: Repository, config: bytes, tag: str) -> None:
    repository.push_manifest(image(config), tag)

    assert repository.send("GET", f"manifests/{tag}").status == 200


BAD_TAGS = [
    pytest.param("a" * 129, id="129 characters"),
    pytest.param(".x", id="a dot first"),
    pytest.param("-x", id="a hyphen first"),
    pytest.param("a%20", id="a blank"),
    pytest.param("a%0A", id="a newline behind"),
    pytest.param("a+b", id="a plus"),
    pytest.param("%C3%A9", id="another letter"),
    pytest.param("a%00", id="a NUL"),
    pytest.param("a,b", id="a comma"),
    pytest.param("a@b", id="an at"),
    pytest.param("a~", id="a tilde"),
    pytest.param("%2e%2e", id="dots"),
    pytest.param("a;x=1", id="a path parameter"),
]


@pytest.mark.parametrize("tag", BAD_TAGS)
def test_tag_that_breaks_the_grammar_is_refused(repository: Repository, config: bytes, tag: str) -> None:
    reply = repository.put_manifest(image(config), tag)

    assert reply.status in {400, 404}
    assert repository.send("GET", "tags/list").json["tags"] == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
@pytest.mark.parametrize("tag", BAD_TAGS)
def test_tag_that_breaks_the_grammar_is_never_there(repository: Repository, method: str, tag: str) -> None:
    assert repository.send(method, f"manifests/{tag}").status == 404


def test_tags_in_two_cases_are_two_tags(repository: Repository, config: bytes) -> None:
    upper, lower = image(config), image(config, annotations={"a": "b"})
    repository.push_manifest(upper, "A")
    repository.push_manifest(lower, "a")

    assert repository.send("GET", "manifests/A").body == encode(upper)
    assert repository.send("GET", "manifests/a").body == encode(lower)


def test_tag_moved_is_at_its_new_digest(repository: Repository, config: bytes) -> None:
    """Case 47."""
    old, new = image(config), image(config, annotations={"a": "b"})
    repository.push_manifest(old, "1.0")
    repository.push_manifest(new, "1.0")

    assert repository.send("GET", "manifests/1.0").body == encode(new)


def test_manifest_that_lost_its_tag_is_pulled_by_digest(repository: Repository, config: bytes) -> None:
    """Case 47."""
    old, new = image(config), image(config, annotations={"a": "b"})
    repository.push_manifest(old, "1.0")
    repository.push_manifest(new, "1.0")

    assert repository.send("GET", f"manifests/{digest_of(encode(old))}").body == encode(old)


def test_tag_pushed_again_is_where_it_was(repository: Repository, config: bytes) -> None:
    """Case 47."""
    statuses = [repository.put_manifest(image(config), "1.0").status for _ in range(3)]

    assert statuses == [201] * 3
    assert repository.send("GET", "tags/list").json["tags"] == ["1.0"]


def test_tag_pushed_by_many_at_once_is_at_one_of_them(repository: Repository, config: bytes) -> None:
    documents = [image(config, annotations={"number": str(number)}) for number in range(12)]

    with concurrent.futures.ThreadPoolExecutor(len(documents)) as threads:
        replies = list(threads.map(lambda each: repository.put_manifest(each, "1.0"), documents))

    assert [reply.status for reply in replies] == [201] * len(documents)
    assert repository.send("GET", "manifests/1.0").body in list(map(encode, documents))


def test_manifest_pushed_by_digest_has_no_tag(repository: Repository, config: bytes) -> None:
    """Case 48."""
    digest = repository.push_manifest(image(config))

    assert repository.send("GET", f"manifests/{digest}").status == 200
    assert repository.send("GET", "tags/list").json["tags"] == []


def test_tags_of_an_unknown_repository_are_404(repository: Repository) -> None:
    """Case 61."""
    reply = repository.send("GET", "tags/list")

    assert (reply.status, reply.codes) == (404, ["NAME_UNKNOWN"])


def test_repository_without_tags_has_an_empty_list(repository: Repository, config: bytes) -> None:
    """Case 61."""
    assert repository.send("GET", "tags/list").json["tags"] == []


def test_repository_stays_when_its_last_tag_goes(repository: Repository) -> None:
    """Case 61."""
    push_tags(repository, "1.0")
    repository.send("DELETE", "manifests/1.0")

    reply = repository.send("GET", "tags/list")

    assert (reply.status, reply.json["tags"]) == (200, [])


def test_upload_that_is_not_closed_makes_no_repository(repository: Repository) -> None:
    repository.follow(repository.begin(), "PATCH", b"some bytes")

    assert repository.send("GET", "tags/list").status == 404


TAGS = ["a", "ab", "abc", "b", "c"]


@pytest.mark.parametrize(
    ("query", "tags", "is_more"),
    [
        ("n=2", ["a", "ab"], True),
        ("n=4", TAGS[:4], True),
        pytest.param("n=5", TAGS, False, id="case 59: the last page is full"),
        ("n=6", TAGS, False),
        pytest.param("n=0", [], False, id="case 59: none asked"),
        pytest.param("n=99999999", TAGS, False, id="case 59: huge"),
        pytest.param("n=2147483648", TAGS, False, id="case 59: past 31 bits"),
        pytest.param("n=18446744073709551616", TAGS, False, id="case 59: past 64 bits"),
        ("last=ab", ["abc", "b", "c"], False),
        pytest.param("last=aa", TAGS[1:], False, id="case 59: after a tag that is not there"),
        ("last=c", [], False),
        ("last=zzz", [], False),
        ("n=2&last=ab", ["abc", "b"], True),
        pytest.param("n=2&last=abc", ["b", "c"], False, id="case 59: exactly the rest"),
        ("n=0&last=a", [], False),
        ("last=", TAGS, False),
        ("x=y", TAGS, False),
    ],
)
def test_page_of_tags_has_its_part_of_them(
    repository: Repository, query: str, tags: list[str], is_more: object
) -> None:
    push_tags(repository, *TAGS)

    reply = repository.send("GET", f"tags/list?{query}")

    assert (reply.status, reply.json["tags"]) == (200, tags)
    assert (reply.header("Link") is not None) == is_more


@pytest.mark.parametrize(
    "number",
    ["-1", "abc", "", "1.5", "1_000", "%D9%A1%D9%A2", "%2012", "12%0A", "1e9", "0x10", "%2B1", "NaN"],
)
@pytest.mark.parametrize("path", ["tags/list", "referrers/sha256:" + "0" * 64])
def test_page_of_no_whole_number_of_entries_is_refused(
    repository: Repository, path: str, number: str
) -> None:
    """Case 59."""
    push_tags(repository, "1.0")

    reply = repository.send("GET", f"{path}?n={number}")

    assert (reply.status, reply.codes) == (400, ["PAGINATION_NUMBER_INVALID"])


def test_pages_of_tags_have_each_tag_once(repository: Repository) -> None:
    tags = sorted(f"t{number}" for number in range(23))
    push_tags(repository, *tags)
    reply = repository.send("GET", "tags/list?n=5")
    found = [reply.json["tags"]]

    while reply.header("Link") is not None:
        reply = repository.client.send("GET", next_page(reply))
        found.append(reply.json["tags"])

    assert [len(page) for page in found] == [5, 5, 5, 5, 3]
    assert [tag for page in found for tag in page] == tags


def test_link_to_the_next_page_is_a_path(repository: Repository) -> None:
    """Case 60: clients refuse to be sent to another host."""
    push_tags(repository, *TAGS)

    target = urlsplit(next_page(repository.send("GET", "tags/list?n=2")))

    assert (target.scheme, target.netloc, target.path) == ("", "", repository.path("tags/list"))


def test_link_to_the_next_page_keeps_the_number(repository: Repository) -> None:
    """Case 60."""
    push_tags(repository, *TAGS)

    query = parse_qs(urlsplit(next_page(repository.send("GET", "tags/list?n=2&x=a%26b"))).query)

    assert query == {"n": ["2"], "last": ["ab"], "x": ["a&b"]}


def test_more_tags_than_a_page_may_have_are_cut_and_linked(repository: Repository) -> None:
    """Case 59."""
    push_tags(repository, *(f"t{number:04}" for number in range(1001)))

    reply = repository.send("GET", "tags/list?n=5000")

    assert len(reply.json["tags"]) == 1000
    assert repository.client.send("GET", next_page(reply)).json["tags"] == ["t1000"]


@pytest.mark.parametrize("last", ["%00", "a%0A", "x" * 10_000, "%FF"])
def test_page_after_what_can_be_no_tag_is_refused(repository: Repository, last: str) -> None:
    push_tags(repository, "1.0")

    assert repository.send("GET", f"tags/list?last={last}").status in {400, 414}


@pytest.mark.parametrize("last", ["%25", "_", "%27", "a%25"])
def test_page_after_a_sign_with_a_meaning_elsewhere_is_exact(repository: Repository, last: str) -> None:
    push_tags(repository, "a", "b")

    found = repository.send("GET", f"tags/list?last={last}").json["tags"]

    text = {"%25": "%", "%27": "'", "a%25": "a%"}.get(last, last)
    assert found == [tag for tag in ("a", "b") if tag > text]


def test_list_is_as_new_as_the_last_push(repository: Repository) -> None:
    for number in range(5):
        push_tags(repository, f"t{number}")
        assert f"t{number}" in repository.send("GET", "tags/list").json["tags"]
