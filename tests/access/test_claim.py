"""/claim, by which the first administrator comes in, for those who have no link and those who had one."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.access.people import PASSWORD, People, basic
from tests.inputs.wire import Fields, Reply
from tests.servers import ServerProcess

FORM = ("Content-Type", "application/x-www-form-urlencoded")
EVIL = '"><script>alert(1)</script>{{7*7}}'


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[People]:
    """A registry with no one in it."""
    with ServerProcess(tmp_path / "data", "--workers", "2") as server:
        yield People(server.data_dir, server.port)


@pytest.fixture(scope="module")
def unclaimed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    """One for the tests after which still no one is in it."""
    with ServerProcess(tmp_path_factory.mktemp("unclaimed") / "data", "--workers", "2") as server:
        yield People(server.data_dir, server.port)


def claim(people: People, fields: Fields = (), /, **form: str) -> Reply:
    whole = {"name": "alice", "password": PASSWORD, "again": form.get("password", PASSWORD), **form}
    return people.ask("POST", "/claim", [FORM, *fields], urlencode(whole).encode())


def test_a_link_is_good_once_and_for_the_first_account_only(empty: People) -> None:
    code = empty.make_claim()
    assert code is not None
    assert empty.ask("GET", f"/claim?code={code}").status == 200
    assert claim(empty, code=code).status == 200

    assert empty.ask("GET", "/v2/", basic("alice")).status == 200
    assert empty.account("alice").role == "admin"
    assert claim(empty, code=code, name="mallory").status == 403
    assert empty.ask("GET", f"/claim?code={code}").status == 403
    assert empty.make_claim() is None


def test_a_later_link_ends_the_earlier(empty: People) -> None:
    first, second = empty.make_claim(), empty.make_claim()
    assert first is not None
    assert second is not None

    assert claim(empty, code=first).status == 403
    assert claim(empty, code=second).status == 200


@pytest.mark.parametrize("code", ["", "moor_", "x" * 5000, "' OR 1=1 --", "\0", "moor_" + "a" * 43])
def test_nothing_but_the_link_is_good(unclaimed: People, code: str) -> None:
    assert unclaimed.make_claim()

    assert claim(unclaimed, code=code).status == 403
    assert unclaimed.ask("GET", f"/claim?{urlencode({'code': code})}").status == 403
    assert unclaimed.ask("GET", "/claim?code=%ff&code").status == 403


MISTAKES = [
    {"name": "Alice"},
    {"name": "anonymous"},
    {"name": "admin\u200b"},
    {"name": EVIL},
    {"password": "short"},
    {"again": "another horse battery"},
    {"password": "x" * 2000},
]


def test_a_mistake_does_not_use_the_link_up(empty: People) -> None:
    """One after the other, with the same link: had one used it up, the next would be refused otherwise."""
    code = empty.make_claim()
    assert code is not None
    for form in MISTAKES:
        refused = claim(empty, code=code, **form)

        assert refused.status == 400, form
        assert b"<script>" not in refused.body, form
        assert b"49" not in refused.body.replace(code.encode(), b""), form
        assert form.get("password", PASSWORD).encode() not in refused.body, form
        assert empty.ask("GET", f"/claim?code={code}").status == 200, form

    assert claim(empty, code=code).status == 200


def test_b99_no_page_may_be_framed_or_run_anything(unclaimed: People) -> None:
    code = unclaimed.make_claim()
    for reply in (
        unclaimed.ask("GET", f"/claim?code={code}"),
        unclaimed.ask("GET", "/claim"),
        unclaimed.ask("GET", f"/claim?{urlencode({'code': EVIL})}"),
        claim(unclaimed, code=code or "", name=EVIL),
    ):
        policy = reply["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert reply["x-content-type-options"] == "nosniff"
        assert reply["cache-control"] == "no-store"
        assert reply["referrer-policy"] == "no-referrer"
        assert b"<script" not in reply.body
        assert b" style=" not in reply.body


def test_b98_another_sites_page_claims_nothing(empty: People) -> None:
    code = empty.make_claim()
    assert code is not None

    assert claim(empty, [("Origin", "https://evil.example")], code=code).status == 403
    assert claim(empty, [("Origin", "null")], code=code).status == 403
    # by a name that is not this machine's whatever a resolver says, no page reaches an open registry
    assert claim(empty, [("Origin", "http://registry.test")], code=code).status == 403
    assert claim(empty, code=code).status == 200


def test_two_that_claim_at_once_are_one_administrator(empty: People) -> None:
    code = empty.make_claim()
    assert code is not None
    statuses = [claim(empty, code=code, name=name).status for name in ("alice", "bob", "carol")]

    assert sorted(statuses) == [200, 403, 403]
    assert empty.change(lambda tx: tx.one("SELECT count(*) FROM account")) == (1,)


def test_an_account_made_otherwise_ends_the_link(empty: People) -> None:
    code = empty.make_claim()
    assert code is not None
    empty.add("bob", role="admin")

    assert empty.ask("GET", f"/claim?code={code}").status == 403
    assert claim(empty, code=code).status == 403
