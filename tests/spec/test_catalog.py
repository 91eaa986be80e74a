"""`/v2/_catalog`: the registry's repositories, as Docker's registry lists them."""

import re
import secrets
from collections.abc import Sequence

import pytest

from tests.spec.client import Client, Reply, Repository


@pytest.fixture(scope="module")
def prefix(client: Client) -> str:
    """Five repositories begin with it, and no other."""
    prefix = f"catalog{secrets.token_hex(6)}"
    for name in ("a", "a-b", "a/b", "ab", "b"):
        Repository(client, prefix + name).push_blob(b"{}")
    return prefix


def get(client: Client, query: str) -> Reply:
    return client.send("GET", f"/v2/_catalog?{query}")


def ours(reply: Reply, prefix: str) -> list[str]:
    names: Sequence[str] = reply.json["repositories"]
    return [name.removeprefix(prefix) for name in names if name.startswith(prefix)]


def test_repositories_are_listed_bytewise(client: Client, prefix: str) -> None:
    reply = get(client, f"last={prefix}")

    assert (reply.status, reply["Content-Type"]) == (200, "application/json")
    assert ours(reply, prefix) == ["a", "a-b", "a/b", "ab", "b"]


def test_page_of_repositories_has_its_part_of_them(client: Client, prefix: str) -> None:
    assert ours(get(client, f"n=2&last={prefix}a"), prefix) == ["a-b", "a/b"]


def test_pages_of_repositories_have_each_once(client: Client, prefix: str) -> None:
    reply = get(client, f"n=2&last={prefix}")
    found = ours(reply, prefix)
    for _ in range(2):
        match = re.fullmatch(r'<(/v2/_catalog\?[^>]*)>; rel="next"', reply["Link"])
        assert match is not None
        reply = client.send("GET", match[1])
        found += ours(reply, prefix)

    assert found == ["a", "a-b", "a/b", "ab", "b"]


def test_page_of_no_repositories_is_empty(client: Client, prefix: str) -> None:
    reply = get(client, "n=0")

    assert (reply.json, reply.header("Link")) == ({"repositories": []}, None)


def test_page_that_is_the_last_has_no_link(client: Client) -> None:
    assert get(client, "n=5&last=zzzz").header("Link") is None


@pytest.mark.parametrize("number", ["-1", "x", "", "1.5", "1_0", "%D9%A1"])
def test_page_of_no_whole_number_of_repositories_is_refused(client: Client, number: str) -> None:
    reply = get(client, f"n={number}")

    assert (reply.status, reply.codes) == (400, ["PAGINATION_NUMBER_INVALID"])


def test_more_repositories_than_a_page_may_have_are_clamped(client: Client, prefix: str) -> None:
    assert get(client, "n=99999999999").status == 200


def test_repository_of_an_upload_that_is_not_closed_is_not_listed(client: Client) -> None:
    name = f"unclosed{secrets.token_hex(6)}"
    Repository(client, name).begin()

    assert name not in get(client, f"n=1&last={name[:-1]}").json["repositories"]
