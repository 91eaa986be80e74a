"""Pages asked for wrongly, and lists that are long in number or in bytes."""

import concurrent.futures
import json
import re

import pytest

from tests.inputs.registry import (
    MIB,
    OCI_MANIFEST,
    Document,
    Registry,
    check_refused,
    digest_of,
    encode,
    image,
)
from tests.inputs.wire import Reply, ask

PAGE_MAX_BYTES = 4 * MIB
TAGS = ["A", "B", "_", "a", "a0b", "a1b", "a2b", "b"]

LISTS = ["tags/list", "referrers/sha256:" + "0" * 64, "_catalog"]


@pytest.fixture
def tagged(registry: Registry) -> Registry:
    """A repository with a few tags, some of which are wild cards of SQL or prefixes of others."""
    registry.push("a", image())
    for tag in TAGS:
        assert registry.put(tag, image()).status == 201
    return registry


def page(registry: Registry, which: str, query: str) -> Reply:
    """A page of one of the lists."""
    if which == "_catalog":
        return ask(registry.port, "GET", f"/v2/_catalog?{query}")
    return registry.ask("GET", f"{which}?{query}")


@pytest.mark.parametrize("which", LISTS)
@pytest.mark.parametrize(
    "number",
    [
        pytest.param("-1", id="B20-negative"),
        pytest.param("abc", id="B20-letters"),
        pytest.param("1_000", id="B20-underscore"),
        pytest.param("%D9%A1%D9%A2", id="B20-arabic-digits"),
        pytest.param("%EF%BC%91", id="B20-full-width-digit"),
        pytest.param("1e9", id="B20-exponent"),
        pytest.param("%2012%0a", id="B20-blanks"),
        pytest.param("12%0a", id="B20-line-feed-at-the-end"),
        pytest.param("+5", id="B20-space"),
        pytest.param("%2B5", id="B20-plus"),
        pytest.param("5.0", id="B20-float"),
        pytest.param("0x5", id="B20-hex"),
        pytest.param("", id="B20-nothing"),
        pytest.param("9" * 5000, id="B20-5000-digits"),
        pytest.param("%00", id="B20-nul"),
        pytest.param("%ff", id="B20-no-utf-8"),
        pytest.param("NaN", id="B20-nan"),
    ],
)
def test_number_that_is_none_is_refused(tagged: Registry, which: str, number: str) -> None:
    with tagged.watch():
        check_refused(page(tagged, which, f"n={number}"), 400, code="PAGINATION_NUMBER_INVALID")


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(2**31, id="B21-two-to-the-31"),
        pytest.param(2**63, id="B21-two-to-the-63"),
        pytest.param(2**64, id="B21-two-to-the-64"),
        pytest.param(10**19, id="B21-20-digits"),
    ],
)
@pytest.mark.parametrize("which", LISTS)
def test_number_beyond_any_page_is_clamped(tagged: Registry, which: str, number: int) -> None:
    with tagged.watch():
        assert page(tagged, which, f"n={number}").status == 200


def test_page_beyond_the_largest_has_1000_and_a_link(registry: Registry) -> None:
    """B21."""
    registry.push("a", image())
    payload = encode(image(annotations={"many": "tags"}))
    names = [f"t{number:04}" for number in range(1100)]
    for start in range(0, len(names), 100):
        query = "&".join(f"tag={name}" for name in names[start : start + 100])
        assert registry.put(f"{digest_of(payload)}?{query}", payload).status == 201

    first = registry.ask("GET", f"tags/list?n={2**31}")
    target = _next(first)
    second = ask(registry.port, "GET", target)

    assert len(first.json["tags"]) == 1000
    assert first.json["tags"] + second.json["tags"] == sorted([*names, "a"])
    assert second.get("link") is None


@pytest.mark.parametrize("which", LISTS)
def test_page_of_none_is_empty_and_the_last(tagged: Registry, which: str) -> None:
    """B22."""
    reply = page(tagged, which, "n=0")

    assert reply.status == 200
    assert [value for value in reply.json.values() if isinstance(value, list)] == [[]]
    assert reply.get("link") is None


@pytest.mark.parametrize(
    "last",
    [
        pytest.param("%00", id="B23-nul"),
        pytest.param("a%00", id="B23-nul-after-a-tag"),
        pytest.param("%0a", id="B23-line-feed"),
        pytest.param("%1b[31m", id="B23-escape"),
        pytest.param("x" * 5000, id="B23-5000-letters"),
        pytest.param("%ff", id="B23-no-utf-8"),
        pytest.param("%ed%a0%80", id="B23-surrogate"),
    ],
)
@pytest.mark.parametrize("which", LISTS)
def test_last_that_can_be_no_name_is_refused(tagged: Registry, which: str, last: str) -> None:
    with tagged.watch():
        check_refused(page(tagged, which, f"last={last}"), 400)


def test_last_of_ten_kibibytes_is_refused(tagged: Registry) -> None:
    """B23, B7."""
    with tagged.watch():
        check_refused(page(tagged, "tags/list", "last=" + "x" * 10_240), 400, 414)


@pytest.mark.parametrize(
    "last",
    [
        pytest.param("%25", id="B23-percent"),
        pytest.param("_", id="B23-underscore"),
        pytest.param("a", id="B23-prefix"),
        pytest.param("a1", id="B23-between"),
        pytest.param("Z", id="B23-between-the-cases"),
        pytest.param("'", id="B23-quote"),
        pytest.param("\\", id="B23-backslash"),
        pytest.param("%F0%9F%98%80", id="B23-beyond-all"),
        pytest.param("", id="B23-nothing"),
        pytest.param("a'%20OR%20'1'='1", id="B23-sql"),
    ],
)
def test_page_after_a_name_is_exactly_what_follows_it_bytewise(tagged: Registry, last: str) -> None:
    decoded = {"%25": "%", "%F0%9F%98%80": "\U0001f600", "a'%20OR%20'1'='1": "a' OR '1'='1"}.get(last, last)

    reply = page(tagged, "tags/list", f"last={last}")

    assert reply.json["tags"] == [tag for tag in sorted(TAGS) if tag.encode() > decoded.encode()]


@pytest.mark.parametrize(
    "last",
    [
        pytest.param("9" * 20, id="B23-20-digits"),
        pytest.param(str(2**63), id="B23-two-to-the-63"),
        pytest.param("9" * 255, id="B23-255-digits"),
        pytest.param("%D9%A1", id="B23-arabic-digit"),
        pytest.param("-1", id="B23-negative"),
        pytest.param("%C2%B2", id="B23-superscript"),
        pytest.param("abc", id="B23-letters"),
    ],
)
def test_page_of_referrers_after_what_no_link_said_is_refused_or_empty(registry: Registry, last: str) -> None:
    with registry.watch():
        reply = page(registry, LISTS[1], f"last={last}")

    if reply.status == 200:
        assert reply.json["manifests"] == []
    else:
        check_refused(reply, 400)


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("&".join(["artifactType=x"] * 21), id="B24-21-filters"),
        pytest.param("&" * 4000, id="B24-4000-separators"),
        pytest.param("&".join(f"a{number}=b" for number in range(300)), id="B24-300-fields"),
        pytest.param("n=1&n=-1", id="B24-n-twice-the-last-bad"),
        pytest.param("n=-1&n=1", id="B24-n-twice-the-first-bad"),
    ],
)
@pytest.mark.parametrize("which", LISTS[:2])
def test_query_of_too_many_fields_is_refused_or_means_nothing(
    tagged: Registry, which: str, query: str
) -> None:
    with tagged.watch():
        reply = page(tagged, which, query)

    if reply.status != 200:
        check_refused(reply, 400)


def test_link_carries_nothing_that_could_end_it_early(tagged: Registry) -> None:
    reply = page(tagged, "tags/list", "n=1&x=%3E%3B%20rel%3D%22prev%22%0d%0aX:%20y&y=%22")

    target = _next(reply)
    assert re.fullmatch(r"[A-Za-z0-9/_.?&=%+~-]+", target)
    assert ask(tagged.port, "GET", target).status == 200


def _next(reply: Reply) -> str:
    match = re.fullmatch(r'<([^<>"]+)>; rel="next"', reply["link"])
    assert match, reply["link"]
    assert match[1].startswith("/v2/")
    return match[1]


def _refer(registry: Registry, subject: Document, **more: object) -> str:
    document = image(subject=subject, **more)
    payload = _utf8(document)
    reply = registry.put(digest_of(payload), payload)
    assert reply.status == 201, reply
    return digest_of(payload)


def _utf8(document: Document) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()


def _walk(registry: Registry, subject: Document, query: str = "") -> tuple[list[str], list[int]]:
    """All referrers over all pages, and the bytes of each page."""
    target: str | None = registry.path(f"referrers/{subject['digest']}{query}")
    found: list[str] = []
    sizes: list[int] = []
    while target is not None:
        reply = ask(registry.port, "GET", target)
        assert reply.status == 200, reply
        found += [entry["digest"] for entry in reply.json["manifests"]]
        sizes.append(len(reply.body))
        target = _next(reply) if reply.get("link") else None
    return found, sizes


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"annotations": {"a": "x" * 900_000}}, id="B67-annotations"),
        pytest.param(
            {"annotations": {"a": "\u6f22" * 300_000}}, id="B67-annotations-of-three-bytes-a-letter"
        ),
        pytest.param({"annotations": {"a": "\u0001" * 100_000}}, id="B67-annotations-that-are-escaped"),
        pytest.param({"artifactType": "x" * 255}, id="B67-artifact-types"),
    ],
)
def test_page_of_referrers_is_never_larger_than_clients_read(registry: Registry, more: Document) -> None:
    registry.push_blob(b"{}")
    subject = {"mediaType": OCI_MANIFEST, "digest": digest_of(registry.name.encode()), "size": 7}
    pushed = [
        _refer(
            registry, subject, **{**more, "annotations": {**more.get("annotations", {}), "n": str(number)}}
        )
        for number in range(12)
    ]

    found, sizes = _walk(registry, subject)

    assert sorted(found) == sorted(pushed)
    assert max(sizes) <= PAGE_MAX_BYTES, sizes


def test_page_of_referrers_costs_no_more_memory_than_a_page(registry: Registry) -> None:
    """B67: forty referrers of 3.5 MB, of which one fits a page."""
    registry.push_blob(b"{}")
    subject = {"mediaType": OCI_MANIFEST, "digest": digest_of(registry.name.encode()), "size": 7}
    big = {f"a{number}": "x" * 500_000 for number in range(7)}
    for number in range(40):
        _refer(registry, subject, annotations={**big, "n": str(number)})

    with registry.watch():
        reply = registry.ask("GET", f"referrers/{subject['digest']}")

    assert reply.status == 200
    assert len(reply.body) <= PAGE_MAX_BYTES


def test_thousands_of_referrers_are_paged_without_one_missing_or_doubled(registry: Registry) -> None:
    """B67, with 2,500 of the 10,000."""
    registry.push_blob(b"{}")
    subject = {"mediaType": OCI_MANIFEST, "digest": digest_of(registry.name.encode()), "size": 7}

    def push(number: int) -> str:
        return _refer(registry, subject, annotations={"n": str(number)})

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        pushed = list(threads.map(push, range(2500)))
    with registry.watch():
        found, sizes = _walk(registry, subject)

    assert sorted(found) == sorted(pushed)
    assert len(sizes) == 3
