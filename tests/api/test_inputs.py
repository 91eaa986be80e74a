"""What is sent to the API and is not as it is described; what must not be shown."""

import pytest

from moorage.api.gate import Needs
from moorage.api.manage.table import TABLE
from tests.api.client import ADMIN, PASSWORD, Person, basic, codes, person
from tests.registry.in_process import InProcess


@pytest.mark.parametrize("field", ["is_admin", "id", "name", "password", "created_by", "kind", "__class__"])
def test_field_that_is_not_to_be_changed_is_refused(admin: Person, alice: Person, field: str) -> None:
    """B92."""
    refused = admin.ask("PATCH", "/accounts/alice", {field: True, "description": "x"})

    assert (refused.status, codes(refused)) == (400, ["FIELD_INVALID"])
    assert refused.json["errors"][0]["detail"]["field"] == field
    assert admin.get("/accounts/alice")["description"] == ""


def test_member_cannot_raise_themselves(alice: Person) -> None:
    """B92."""
    assert alice.ask("PATCH", "/accounts/alice", {"role": "admin"}).status == 403
    assert alice.ask("POST", "/accounts", {"name": "eve", "role": "admin"}).status == 403
    assert alice.get("/whoami")["role"] == "member"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"[]", "body"),
        (b"null", "body"),
        (b'{"name":"x"', "body"),
        (b'{"name":"x","name":"y"}', "body"),
        (b'{"name":NaN}', "body"),
        (b'\xef\xbb\xbf{"name":"x"}', "body"),
        (b'{"name":"\xff"}', "body"),
        (b'{"name":"\\ud800"}', "body"),
        (b'{"name":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "body"),
        (b'{"name":' + b"[" * 65 + b"]" * 65 + b"}", "body"),
        (b"{}", "name"),
        (b'{"name":1}', "name"),
        (b'{"name":null}', "name"),
        (b'{"name":"x","role":"owner"}', "role"),
        (b'{"name":"x","kind":["robot"]}', "kind"),
        (b'{"name":"x","description":"a\\u001b[2J"}', "description"),
        (b'{"name":"x","description":"a\\u202eb"}', "description"),
        (b'{"name":"x","description":"' + b"a" * 501 + b'"}', "description"),
        (b'{"name":"x","extra":1}', "extra"),
    ],
)
def test_document_that_is_not_as_described_is_refused_by_field(
    admin: Person, body: bytes, field: str
) -> None:
    refused = admin.ask("POST", "/accounts", body)

    assert (refused.status, codes(refused)) == (400, ["FIELD_INVALID"])
    assert refused.json["errors"][0]["detail"]["field"] == field
    assert len(admin.get("/accounts")["items"]) == 1


def test_field_deep_in_a_document_is_named(admin: Person) -> None:
    body = {"name": "x", "scopes": [{"pattern": "a/*", "actions": ["pull", "own"]}]}

    refused = admin.ask("POST", "/tokens", body)

    assert refused.json["errors"][0]["detail"]["field"] == "scopes[0].actions[1]"


@pytest.mark.parametrize(
    "name", ["Alice", "a b", "alice ", "\u0430lice", "admin\u200b", "a/b", "..", "everyone", ""]
)
def test_name_that_is_not_plain_is_refused(admin: Person, name: str) -> None:
    assert admin.ask("POST", "/accounts", {"name": name}).status == 400
    assert admin.ask("POST", "/groups", {"name": name}).status == 400
    assert admin.ask("POST", "/namespaces", {"name": name}).status == 400


def test_document_of_more_than_a_mebibyte_is_refused(admin: Person) -> None:
    refused = admin.ask("POST", "/groups", b'{"name":"' + b"a" * (1 << 20) + b'"}')

    assert (refused.status, codes(refused)) == (413, ["SIZE_INVALID"])


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/whoami/x.css",
        "/whoami/",
        "/whoami.json",
        "/accounts/alice/x.css",
        "/tokens/01",
        "/tokens/-1",
        "/tokens/x",
        "/tokens/1/",
        "/accounts/a%2Fb",
        "/accounts/%00",
        "/accounts/%ff",
        "//whoami",
        "/openapixjson",
        f"/tokens/{10**18}",
        "/%77hoami/x",
        "/groups/x/members",
    ],
)
def test_path_that_is_none_is_not_there_and_not_kept(alice: Person, path: str) -> None:
    """B103: nothing of the caller's is shown at a path that a cache takes for a picture or a style."""
    refused = alice.ask("GET", path)

    assert (refused.status, refused["cache-control"]) == (404, "private, no-store")
    assert b"alice" not in refused.body


def test_method_that_a_path_does_not_take_is_refused_with_those_it_does(alice: Person) -> None:
    for method in ("HEAD", "PUT", "OPTIONS", "TRACE"):
        refused = alice.ask(method, "/accounts")
        assert (refused.status, refused["allow"]) == (405, "GET, POST")
    assert alice.ask("POST", "/tokens/1")["allow"] == "GET, DELETE"


def test_change_from_another_site_is_refused(registry: InProcess, admin: Person) -> None:
    assert admin.secret is not None
    headers = [basic(ADMIN, admin.secret), ("Origin", "https://evil.example"), ("Host", "127.0.0.1:5000")]
    refused = registry.send("POST", "/api/v1/groups", b'{"name":"ops"}', headers)

    assert refused.status == 403
    assert refused.header("access-control-allow-origin") is None


def test_read_only_administrator_is_shown_no_secret(admin: Person, alice: Person, auditor: Person) -> None:
    """B95: no reply holds a password, a hash, a key or a token's secret."""
    secrets = [alice.token().secret or "", PASSWORD, "argon2", "PRIVATE", '"d"', '"secret"', '"password"']
    person(admin, "bob", description="x")
    auditor.bodies.clear()

    for route in TABLE:
        path = route.path.replace("{id}", "1").replace("{name...}", "alice/app").replace("{account}", "alice")
        if route.method == "GET" and route.needs is not Needs.NOTHING:
            query = "?account=alice" if path == "/tokens" else ""
            auditor.ask("GET", path.replace("{name}", "alice") + query)

    shown = b"".join(auditor.bodies).decode()
    assert len(auditor.bodies) > 15
    assert [each for each in secrets if each in shown] == []
