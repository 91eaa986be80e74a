"""Accounts: who may make, see and change them."""

import pytest

from tests.api.client import ADMIN, PASSWORD, Person, codes, person
from tests.registry.in_process import InProcess


def test_first_account_administers_and_ends_the_open_registry(registry: InProcess) -> None:
    anyone = Person(registry, secret=None)
    assert anyone.get("/whoami")["means"] == "open"

    made = anyone.post("/accounts", name=ADMIN, password=PASSWORD, role="member")

    assert made["role"] == "admin"
    refused = anyone.ask("GET", "/whoami")
    assert (refused.status, refused["www-authenticate"]) == (401, 'Basic realm="Moorage", charset="UTF-8"')
    assert Person(registry, ADMIN).get("/whoami") == {
        "name": ADMIN,
        "kind": "person",
        "role": "admin",
        "groups": [],
        "means": "basic",
        "token": None,
    }


@pytest.mark.parametrize("fields", [{"kind": "robot"}, {}])
def test_first_account_is_someone_who_can_sign_in(registry: InProcess, fields: dict[str, str]) -> None:
    refused = Person(registry, secret=None).ask("POST", "/accounts", {"name": "root", **fields})

    assert (refused.status, codes(refused)) == (400, ["FIELD_INVALID"])
    assert Person(registry, secret=None).get("/accounts")["items"] == []


def test_person_gets_a_namespace_of_their_own(admin: Person, alice: Person) -> None:
    assert alice.get("/namespaces/alice")["owner"] == "account alice"
    admin.post("/accounts", name="bot.ci", kind="robot")
    assert admin.ask("GET", "/namespaces/bot.ci").status == 404


def test_person_is_not_made_where_a_namespace_has_the_name(admin: Person) -> None:
    admin.post("/namespaces", name="team")

    refused = admin.ask("POST", "/accounts", {"name": "team", "password": PASSWORD})

    assert (refused.status, codes(refused)) == (409, ["NAME_TAKEN"])
    assert admin.ask("GET", "/accounts/team").status == 404


def test_member_sees_themselves_and_no_one_else(alice: Person, bob: Person) -> None:
    assert alice.get("/accounts/alice")["name"] == "alice"
    there, missing = alice.ask("GET", "/accounts/bob"), alice.ask("GET", "/accounts/zoe")
    assert (there.status, missing.status) == (404, 404)
    assert there.body.replace(b"bob", b"zoe") == missing.body
    assert alice.ask("GET", "/accounts").status == 403


def test_pages_follow_each_other_by_name(admin: Person) -> None:
    for name in ("a_b", "axb", "a-c"):
        admin.post("/accounts", name=name, kind="robot")

    seen, after = [], ""
    while after is not None:
        page = admin.get(f"/accounts?n=1&after={after}")
        seen += [each["name"] for each in page["items"]]
        after = page["next"]

    assert seen == ["a-c", "a_b", "axb", ADMIN]


def test_last_administrator_stays_one(admin: Person) -> None:
    for method, body in (("PATCH", {"role": "member"}), ("PATCH", {"is_disabled": True}), ("DELETE", None)):
        refused = admin.ask(method, f"/accounts/{ADMIN}", body)
        assert (refused.status, codes(refused)) == (409, ["LAST_ADMIN"])

    person(admin, "carol", role="admin")
    assert admin.do("PATCH", f"/accounts/{ADMIN}", {"role": "member"})["role"] == "member"


def test_disabled_account_is_out_at_once(admin: Person, alice: Person) -> None:
    token = alice.token()
    assert token.get("/whoami")["token"]["name"] == "ci"

    admin.do("PATCH", "/accounts/alice", {"is_disabled": True})

    assert alice.ask("GET", "/whoami").status == token.ask("GET", "/whoami").status == 401


def test_own_password_needs_the_current_one(alice: Person) -> None:
    path, new = "/accounts/alice/password", "another good password"
    assert codes(alice.ask("PUT", path, {"password": new})) == ["FIELD_INVALID"]
    assert alice.ask("PUT", path, {"password": new, "current_password": "wrong"}).status == 403
    token = alice.token()
    assert token.ask("PUT", path, {"password": new, "current_password": token.secret}).status == 403

    alice.do("PUT", path, {"password": new, "current_password": PASSWORD})

    assert alice.ask("GET", "/whoami").status == 401
    alice.secret = new
    assert alice.ask("GET", "/whoami").status == 200


def test_administrator_sets_others_passwords_and_no_one_else_does(
    admin: Person, alice: Person, bob: Person, auditor: Person
) -> None:
    body = {"password": "another good password", "current_password": PASSWORD}
    assert bob.ask("PUT", "/accounts/alice/password", body).status == 404
    assert auditor.ask("PUT", "/accounts/alice/password", body).status == 403
    admin.do("PUT", "/accounts/alice/password", {"password": "another good password"})
    alice.secret = "another good password"
    assert alice.ask("GET", "/whoami").status == 200


def test_robot_has_no_password(admin: Person) -> None:
    assert (
        admin.ask("POST", "/accounts", {"name": "bot", "kind": "robot", "password": PASSWORD}).status == 400
    )
    admin.post("/accounts", name="bot", kind="robot")
    assert admin.ask("PUT", "/accounts/bot/password", {"password": PASSWORD}).status == 400


def test_removed_account_leaves_its_namespace_to_the_administrators(admin: Person, alice: Person) -> None:
    admin.do("DELETE", "/accounts/alice")

    assert admin.get("/namespaces/alice")["owner"] is None
    assert alice.ask("GET", "/whoami").status == 401
