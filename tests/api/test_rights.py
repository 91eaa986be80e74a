"""Groups, namespaces, grants and tokens: what is another's is not there, what is one's own is no wider."""

from typing import Any

import pytest

from tests.api.client import ADMIN, Person, codes, person


def test_group_is_seen_by_its_members(admin: Person, alice: Person, bob: Person) -> None:
    admin.post("/groups", name="ops")
    admin.do("PUT", "/groups/ops/members/alice")
    admin.do("PUT", "/groups/ops/members/alice")

    assert alice.get("/groups/ops")["members"] == ["alice"]
    assert [each["name"] for each in alice.get("/groups")["items"]] == ["ops"]
    assert alice.get("/whoami")["groups"] == ["ops"]
    assert bob.get("/groups") == {"items": [], "next": None}
    assert bob.ask("GET", "/groups/ops").status == bob.ask("GET", "/groups/none").status == 404
    admin.do("DELETE", "/groups/ops/members/alice")
    assert admin.ask("DELETE", "/groups/ops/members/alice").status == 404
    assert alice.ask("GET", "/groups/ops").status == 404


def test_only_administrators_make_groups_and_namespaces(alice: Person, auditor: Person) -> None:
    for caller in (alice, auditor):
        assert caller.ask("POST", "/groups", {"name": "ops"}).status == 403
        assert caller.ask("POST", "/namespaces", {"name": "team"}).status == 403
        assert caller.ask("DELETE", "/namespaces/alice").status == 403


def test_namespace_is_opened_by_its_owner_and_given_away_by_administrators(
    admin: Person, alice: Person, bob: Person
) -> None:
    assert bob.ask("PATCH", "/namespaces/alice", {"visibility": "public"}).status == 404
    assert alice.do("PATCH", "/namespaces/alice", {"visibility": "public"})["visibility"] == "public"
    assert bob.get("/namespaces/alice")["owner"] == "account alice"
    assert bob.ask("PATCH", "/namespaces/alice", {"visibility": "private"}).status == 403
    assert alice.ask("PATCH", "/namespaces/alice", {"owner": "account bob"}).status == 403

    assert admin.do("PATCH", "/namespaces/alice", {"owner": None})["owner"] is None
    assert alice.ask("PATCH", "/namespaces/alice", {"visibility": "private"}).status == 403


def test_change_of_a_namespace_is_all_or_nothing(admin: Person, alice: Person) -> None:
    changes = {"visibility": "public", "owner": "account nobody"}
    assert admin.ask("PATCH", "/namespaces/alice", changes).status == 404

    assert admin.get("/namespaces/alice")["visibility"] == "private"


def test_group_owns_a_namespace_for_all_in_it(admin: Person, alice: Person, bob: Person) -> None:
    admin.post("/groups", name="ops")
    admin.post("/namespaces", name="team", owner="group ops")
    admin.do("PUT", "/groups/ops/members/alice")

    assert alice.post("/grants", to="account bob", pattern="team/app", actions=["push"])["actions"] == [
        "pull",
        "push",
    ]
    assert bob.ask("GET", "/namespaces/team").status == 404


def test_grant_is_given_by_whoever_administers_all_it_names(
    admin: Person, alice: Person, bob: Person
) -> None:
    for pattern in ("bob/*", "*", "alice*/x", "bob/app"):
        refused = alice.ask("POST", "/grants", {"to": "everyone", "pattern": pattern, "actions": ["pull"]})
        assert refused.status == 403, pattern
    made = alice.post("/grants", to="account bob", pattern="alice/web-*", actions=["admin"])

    # bob may pass on what he was given, and no more
    bob.post("/grants", to="everyone", pattern="alice/web-1", actions=["pull"])
    assert (
        bob.ask("POST", "/grants", {"to": "everyone", "pattern": "alice/*", "actions": ["pull"]}).status
        == 403
    )
    assert bob.ask("DELETE", f"/grants/{made['id']}").status == 204
    assert bob.ask("GET", f"/grants/{made['id']}").status == 404
    assert admin.get("/grants")["items"][0]["to"] == "everyone"


def test_grant_on_anothers_repositories_is_not_there(admin: Person, alice: Person, bob: Person) -> None:
    made = alice.post("/grants", to="everyone", pattern="alice/*", actions=["pull"])

    for method in ("GET", "DELETE"):
        there, missing = bob.ask(method, f"/grants/{made['id']}"), bob.ask(method, "/grants/999999")
        assert (there.status, missing.status) == (404, 404)
        assert there.body.replace(str(made["id"]).encode(), b"999999") == missing.body
    assert bob.get("/grants")["items"] == []


@pytest.mark.parametrize("to", ["alice", "account", "robot alice", "account  alice", "everyone else", ""])
def test_grant_to_what_is_no_receiver_is_refused(admin: Person, alice: Person, to: str) -> None:
    refused = admin.ask("POST", "/grants", {"to": to, "pattern": "team/*", "actions": ["pull"]})

    assert refused.status in {400, 404}


def test_token_is_shown_once(alice: Person) -> None:
    made = alice.post("/tokens", name="laptop")

    assert made["secret"].startswith("moor_")
    assert made["scopes"] is None
    again = alice.get(f"/tokens/{made['id']}")
    assert again == {key: value for key, value in made.items() if key != "secret"}
    assert alice.get("/tokens")["items"] == [again]


def test_token_of_another_is_not_there(admin: Person, alice: Person, bob: Person) -> None:
    made = alice.post("/tokens", name="laptop")

    for method in ("GET", "DELETE"):
        there, missing = bob.ask(method, f"/tokens/{made['id']}"), bob.ask(method, "/tokens/999999")
        assert (there.status, missing.status) == (404, 404)
        assert there.body.replace(f":{made['id']}}}".encode(), b":999999}") == missing.body
    assert bob.get("/tokens")["items"] == []
    assert bob.ask("GET", "/tokens?account=alice").status == 404
    assert [each["name"] for each in admin.get("/tokens?account=alice")["items"]] == ["laptop"]


def test_revoked_token_is_out_at_once(admin: Person, alice: Person) -> None:
    token = alice.token()
    made = token.get("/whoami")["token"]["id"]

    alice.do("DELETE", f"/tokens/{made}")

    assert token.ask("GET", "/whoami").status == 401
    assert alice.get(f"/tokens/{made}")["revoked_at"] is not None


def test_administrator_makes_tokens_for_robots_only(admin: Person, alice: Person) -> None:
    admin.post("/accounts", name="bot.ci", kind="robot")

    assert admin.token(account="bot.ci").get("/whoami")["kind"] == "robot"
    assert admin.ask("POST", "/tokens", {"name": "x", "account": "alice"}).status == 403
    assert alice.ask("POST", "/tokens", {"name": "x", "account": "bot.ci"}).status == 403


NARROW: dict[str, Any] = {"scopes": [{"pattern": "alice/app-*", "actions": ["push"]}]}


def test_token_makes_none_that_is_wider_than_itself(alice: Person) -> None:
    narrow = alice.token(**NARROW)

    for scope in (
        {"pattern": "alice/*", "actions": ["pull"]},
        {"pattern": "alice/app-1", "actions": ["delete"]},
    ):
        assert narrow.ask("POST", "/tokens", {"name": "x", "scopes": [scope]}).status == 403
    inherited = narrow.post("/tokens", name="x", expires_in_days=300)
    assert inherited["scopes"] == [{"pattern": "alice/app-*", "actions": ["pull", "push"]}]
    assert inherited["expires_at"] == narrow.get("/whoami")["token"]["expires_at"]
    narrow.post("/tokens", name="x", scopes=[{"pattern": "alice/app-1", "actions": ["pull"]}])


def test_token_with_scopes_is_not_the_account(admin: Person, alice: Person) -> None:
    other = alice.post("/tokens", name="other")["id"]
    narrow = alice.token(**NARROW)

    assert narrow.ask("DELETE", f"/tokens/{other}").status == 404
    assert [each["id"] for each in narrow.get("/tokens")["items"]] == [other + 1]
    assert narrow.ask("PATCH", "/namespaces/alice", {"visibility": "public"}).status == 404
    grant = {"to": "everyone", "pattern": "alice/app-1", "actions": ["pull"]}
    assert narrow.ask("POST", "/grants", grant).status == 403
    whole = admin.token(scopes=[{"pattern": "*", "actions": ["admin"]}])
    assert whole.ask("GET", "/accounts").status == 403
    assert whole.ask("POST", "/accounts", {"name": "eve"}).status == 403


def test_token_lasts_no_longer_than_the_settings_allow(alice: Person) -> None:
    refused = alice.ask("POST", "/tokens", {"name": "x", "expires_in_days": 366})

    assert (refused.status, codes(refused)) == (400, ["FIELD_INVALID"])


def test_names_are_exact_everywhere(admin: Person) -> None:
    """B94: `_` stands for itself."""
    person(admin, "a_b")
    admin.post("/accounts", name="axb", kind="robot")
    admin.post("/tokens", name="other", account="axb")
    admin.post("/grants", to="account axb", pattern="axb/*", actions=["pull"])

    assert admin.get("/tokens?account=a_b")["items"] == []
    assert admin.ask("GET", "/namespaces/a%5Fb").status == 200
    assert admin.ask("GET", "/namespaces/axb").status == 404
    assert Person(admin.registry, "a_b").get("/grants")["items"] == []
    assert admin.ask("GET", "/accounts/a%25b").status == 404
    assert admin.ask("GET", f"/accounts/{ADMIN.upper()}").status == 404
