"""What was done, the keys, and why something is allowed."""

from typing import Any

import pytest

from tests.api.client import ADMIN, PASSWORD, Person, codes
from tests.registry.in_process import InProcess


def actions(rows: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(each["actor"], each["action"], each["target"]) for each in rows]


def test_each_change_is_in_the_audit(admin: Person, alice: Person) -> None:
    admin.post("/groups", name="ops")
    admin.do("PUT", "/groups/ops/members/alice")
    admin.do("DELETE", "/groups/ops/members/alice")
    admin.do("DELETE", "/groups/ops")
    admin.post("/namespaces", name="team")
    admin.do("PATCH", "/namespaces/team", {"visibility": "public"})
    admin.do("DELETE", "/namespaces/team")
    grant = alice.post("/grants", to="everyone", pattern="alice/*", actions=["pull"])
    alice.do("DELETE", f"/grants/{grant['id']}")
    token = alice.post("/tokens", name="laptop")
    alice.do("DELETE", f"/tokens/{token['id']}")
    alice.do("DELETE", f"/tokens/{token['id']}")
    alice.post("/repositories", name="alice/app")
    alice.do("DELETE", "/repositories/alice/app")
    admin.do("PATCH", "/accounts/alice", {"role": "auditor"})
    admin.do("PUT", "/accounts/alice/password", {"password": PASSWORD})
    admin.do("DELETE", "/accounts/alice")
    key = admin.post("/keys")

    done = admin.get("/audit?after=0&n=1000")["items"]

    assert [each for each in actions(done) if each[1] != "sign-in"] == [
        ("anonymous", "account.create", ADMIN),
        (ADMIN, "account.create", "alice"),
        (ADMIN, "group.create", "ops"),
        (ADMIN, "group.add", "ops"),
        (ADMIN, "group.remove", "ops"),
        (ADMIN, "group.delete", "ops"),
        (ADMIN, "namespace.create", "team"),
        (ADMIN, "namespace.update", "team"),
        (ADMIN, "namespace.delete", "team"),
        ("alice", "grant.create", "alice/*"),
        ("alice", "grant.delete", "alice/*"),
        ("alice", "token.create", "laptop"),
        ("alice", "token.revoke", "laptop"),
        ("alice", "repository.create", "alice/app"),
        ("alice", "repository.delete", "alice/app"),
        (ADMIN, "account.update", "alice"),
        (ADMIN, "account.password", "alice"),
        (ADMIN, "account.delete", "alice"),
        (ADMIN, "key.rotate", key["kid"]),
    ]
    assert {each["address"] for each in done} == {"127.0.0.1"}


def test_refused_change_leaves_no_row(admin: Person) -> None:
    before = admin.get("/audit")["items"][0]["id"]

    admin.ask("DELETE", f"/accounts/{ADMIN}")
    admin.ask("POST", "/accounts", {"name": ADMIN})

    assert admin.get("/audit")["items"][0]["id"] == before


def test_audit_is_paged_and_filtered(admin: Person) -> None:
    for name in ("g1", "g2", "g3"):
        admin.post("/groups", name=name)

    newest = admin.get("/audit?action=group.create&n=2")
    assert [each["target"] for each in newest["items"]] == ["g3", "g2"]
    older = admin.get(f"/audit?action=group.create&n=2&before={newest['next']}")
    assert ([each["target"] for each in older["items"]], older["next"]) == (["g1"], None)
    later = admin.get(f"/audit?target=g*&after={older['items'][0]['id']}")["items"]
    assert [each["target"] for each in later] == ["g2", "g3"]
    assert admin.get("/audit?since=2100-01-01T00:00:00Z")["items"] == []
    assert admin.get(f"/audit?until=2100-01-01T00:00:00%2B01:00&actor={ADMIN}&token=1")["items"] == []
    for query in ("since=now", "since=2100-01-01T00:00:00", "outcome=maybe", "n=0", "n=1001", "n=+1", "x=1"):
        assert codes(admin.ask("GET", f"/audit?{query}")) == ["FIELD_INVALID"], query
    assert codes(admin.ask("GET", "/audit?n=1&n=2")) == ["FIELD_INVALID"]
    assert codes(admin.ask("GET", "/audit?actor=%ff")) == ["FIELD_INVALID"]


def test_token_is_named_where_it_acted(admin: Person) -> None:
    token = admin.token()
    token.post("/groups", name="ops")

    row = admin.get("/audit?action=group.create")["items"][0]

    assert row["token"] == token.get("/whoami")["token"]["id"]


def test_records_are_the_auditors(alice: Person, auditor: Person) -> None:
    for path in ("/audit", "/keys", "/accounts"):
        assert alice.ask("GET", path).status == 403
        assert auditor.ask("GET", path).status == 200
    assert auditor.ask("POST", "/keys").status == 403


def test_new_key_comes_first_and_the_old_one_stays(admin: Person) -> None:
    before = admin.get("/keys")["keys"]

    made = admin.post("/keys")

    assert [each["kid"] for each in admin.get("/keys")["keys"]] == [
        made["kid"],
        *(each["kid"] for each in before),
    ]
    assert {"d", "p", "private"}.isdisjoint(made)


@pytest.mark.parametrize(
    ("account", "action", "repository", "answer", "rule"),
    [
        (ADMIN, "delete", "any/thing", "yes", "root is an administrator"),
        ("alice", "push", "alice/app", "yes", "alice owns the namespace alice"),
        ("bob", "pull", "alice/app", "yes", "grant 1: account bob has pull on alice/*"),
        ("bob", "push", "alice/app", "no", "no grant gives bob push on alice/app; the namespace alice is"),
        ("anonymous", "pull", "alice/app", "no", "no grant gives someone who has not signed in pull"),
    ],
)
def test_decision_is_explained(
    admin: Person,
    alice: Person,
    bob: Person,
    account: str,
    action: str,
    repository: str,
    answer: str,
    rule: str,
) -> None:
    alice.post("/grants", to="account bob", pattern="alice/*", actions=["pull"])

    said = admin.get(f"/access/explain?account={account}&action={action}&repository={repository}")

    assert said["is_allowed"] is (answer == "yes")
    assert said["rule"].startswith(rule)


def test_member_asks_about_themselves_and_learns_nothing_of_others(alice: Person, bob: Person) -> None:
    own = alice.get("/access/explain?account=alice&action=push&repository=alice/app")
    assert own == {"is_allowed": True, "rule": "alice owns the namespace alice"}
    there = alice.get("/access/explain?account=alice&action=push&repository=bob/app")
    missing = alice.get("/access/explain?account=alice&action=push&repository=zoe/app")
    assert there["rule"].replace("bob", "zoe") == missing["rule"]
    for account in ("bob", "zoe", "anonymous"):
        refused = alice.ask("GET", f"/access/explain?account={account}&action=push&repository=bob/app")
        assert codes(refused) == ["ACCOUNT_UNKNOWN"]


def test_disabled_account_may_do_nothing(admin: Person, alice: Person) -> None:
    admin.do("PATCH", "/accounts/alice", {"is_disabled": True})

    said = admin.get("/access/explain?account=alice&action=pull&repository=alice/app")

    assert said == {"is_allowed": False, "rule": "the account alice is disabled"}


def test_document_is_shown_to_anyone(registry: InProcess, admin: Person) -> None:
    assert Person(registry, secret=None).get("/openapi.json")["openapi"] == "3.1.1"
