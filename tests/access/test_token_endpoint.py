"""The token endpoint, in every shape that a client asks it.

Source: Docker's token authentication; RFC 6749. The clients' shapes are those of docker, podman, containerd
and go-containerregistry.
"""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest

from moorage.identity.tokens.bearer import Bearer, KeyRing
from tests.access.people import PASSWORD, People, basic, bearer
from tests.inputs.wire import Fields, Reply

FORM = ("Content-Type", "application/x-www-form-urlencoded")
MINE = "repository:team/app:pull"


def post(town: People, fields: Fields = (), /, **form: Any) -> Reply:
    body = urlencode({"service": "moorage", **form}, doseq=True).encode()
    return town.ask("POST", "/token", [FORM, *fields], body)


def read(town: People, answer: dict[str, Any]) -> Bearer:
    return KeyRing([town.signing_key()]).read(answer["token"])


def rights(town: People, answer: dict[str, Any]) -> dict[str, str]:
    return {name: " ".join(sorted(actions)) for name, actions in read(town, answer).access.items()}


def test_a_get_with_basic_gives_a_token_for_what_is_asked(town: People) -> None:
    reply = town.ask("GET", f"/token?service=moorage&account=reader&scope={MINE}", basic("reader"))
    answer = reply.json

    assert reply.status == 200
    assert reply["content-type"] == "application/json"
    assert reply["cache-control"] == "no-store"
    assert answer["token"] == answer["access_token"]
    assert answer["expires_in"] == 300
    assert set(answer) == {"token", "access_token", "expires_in", "issued_at"}
    issued = datetime.strptime(answer["issued_at"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - issued).total_seconds()) < 5
    assert rights(town, answer) == {"team/app": "pull"}
    assert town.ask("GET", "/v2/team/app/manifests/v1", bearer(answer["token"])).status == 200


def test_less_than_was_asked_for_is_no_error(town: People) -> None:
    asked = ["repository:team/app:pull,push,delete", "repository:alien/app:pull", "repository:ghost/x:pull"]

    assert rights(town, town.fetch(basic("reader"), *asked)) == {
        "team/app": "pull",
        "alien/app": "",
        "ghost/x": "",
    }


def test_several_scopes_come_in_one_parameter_or_in_many(town: People) -> None:
    expected = {"team/app": "pull", "open/app": "pull"}
    one = town.fetch(basic("reader"), f"{MINE}%20repository:open/app:pull")
    many = town.fetch(basic("reader"), MINE, "repository:open/app:pull")

    assert rights(town, one) == rights(town, many) == expected


def test_no_scope_gives_a_token_for_nothing_which_is_a_log_in(town: People) -> None:
    answer = town.fetch(basic("reader"), query="&client_id=docker&offline_token=true")

    assert rights(town, answer) == {}
    assert town.ask("GET", "/v2/", bearer(answer["token"])).status == 200


@pytest.mark.parametrize(
    "fields",
    [
        basic("reader", "wrong horse battery"),
        basic("nobody-here"),
        basic("reader", ""),
        basic("", PASSWORD),
        basic("Reader"),
        basic("reader", "moor_" + "a" * 43),
        [("Authorization", "Bearer x.y.z")],
        [("Authorization", "Digest x")],
    ],
)
def test_bad_credentials_are_told_to_try_basic(town: People, fields: Fields) -> None:
    reply = town.ask("GET", f"/token?service=moorage&scope={MINE}", fields)

    assert reply.status == 401
    assert reply["www-authenticate"].startswith("Basic ")
    assert reply.codes == ["UNAUTHORIZED"]


@pytest.mark.parametrize("fields", [[], basic("", ""), [("Authorization", "Basic Og==")]])
def test_who_says_nothing_gets_a_token_for_what_is_public(town: People, fields: Fields) -> None:
    answer = town.fetch(fields, "repository:open/app:pull,push", MINE)

    assert rights(town, answer) == {"open/app": "pull", "team/app": ""}
    assert read(town, answer).account_id is None
    assert town.ask("GET", "/v2/open/app/manifests/v1", bearer(answer["token"])).status == 200


@pytest.mark.parametrize("service", ["another", "Moorage", "", "moorage%20", "moorage&service=another"])
def test_b85_a_service_or_audience_of_the_callers_choice_is_refused(town: People, service: str) -> None:
    reply = town.ask("GET", f"/token?service={service}&scope={MINE}", basic("reader"))

    assert reply.status == 400
    assert post(town, grant_type="password", username="reader", password=PASSWORD, service="x").status == 400


def test_b85_an_audience_parameter_changes_nothing(town: People) -> None:
    answer = town.fetch(basic("reader"), MINE, query="&audience=another&aud=another&iss=another")

    assert rights(town, answer) == {"team/app": "pull"}


def test_the_service_may_be_left_out(town: People) -> None:
    assert town.ask("GET", f"/token?scope={MINE}", basic("reader")).status == 200


def test_the_account_parameter_says_nothing(town: People) -> None:
    answer = town.fetch(basic("reader"), "repository:team/app:push", query="&account=admin")

    assert rights(town, answer) == {"team/app": ""}


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("repository:*:*", {}),
        ("repository:team/*:pull", {}),
        ("registry:catalog:*", {"registry:catalog": "*"}),
        ("repository:team/app:pull,push,delete", {"team/app": "pull"}),
        ("repository:team/app:*", {"team/app": "pull"}),
        ("repository:team/app:admin", {"team/app": ""}),
        ("repository(image):team/app:pull", {"team/app": "pull"}),
        ("repository:host:5000/team/app:pull", {}),
        ("image:team/app:pull", {}),
    ],
)
def test_b83_a_reader_gets_no_more_than_is_held(town: People, scope: str, expected: dict[str, str]) -> None:
    assert rights(town, town.fetch(basic("reader"), scope)) == expected


def test_b83_the_catalogs_scope_shows_only_what_may_be_pulled(town: People) -> None:
    for fields, expected in (
        ([], ["open/app"]),
        (basic("reader"), ["open/app", "team/app"]),
        (basic("stranger"), ["alien/app", "open/app"]),
    ):
        reply = town.ask("GET", "/v2/_catalog", town.bearer(fields, "registry:catalog:*"))
        shown = [name for name in reply.json["repositories"] if name.endswith("/app")]
        assert shown == expected


def test_b83_more_than_a_hundred_scopes_are_refused(town: People) -> None:
    query = "".join(f"&scope=repository:team/r{number}:pull" for number in range(101))

    assert town.ask("GET", f"/token?service=moorage{query}", basic("reader")).status == 400
    joined = "%20".join(f"repository:r{number}:pull" for number in range(101))
    assert town.ask("GET", f"/token?service=moorage&scope={joined}", basic("reader")).status == 400


def test_docker_keeps_a_refresh_token_and_comes_back_with_it(town: People, newcomer: str) -> None:
    query = "&account=x&client_id=docker&offline_token=true"
    kept = town.fetch(basic(newcomer), query=query)["refresh_token"]
    scope = f"repository:{newcomer}/app:pull,push"
    reply = post(town, grant_type="refresh_token", refresh_token=kept, client_id="docker", scope=scope)

    assert reply.status == 200
    assert rights(town, reply.json) == {f"{newcomer}/app": "pull push"}
    assert reply.json["refresh_token"] == kept
    location = town.begin(f"{newcomer}/app", bearer(reply.json["access_token"]))
    assert location.startswith(f"/v2/{newcomer}/app/blobs/uploads/")


def test_a_refresh_token_opens_nothing_but_the_token_endpoint(town: People, newcomer: str) -> None:
    kept = town.fetch(basic(newcomer), query="&offline_token=true")["refresh_token"]

    for fields in (basic(newcomer, kept), bearer(kept)):
        assert town.ask("GET", "/v2/", fields).status == 401
    assert town.ask("GET", "/token", basic(newcomer, kept)).status == 401


def test_no_refresh_token_is_given_unasked_or_to_no_one_or_for_a_token(town: People, newcomer: str) -> None:
    _, secret = town.make_token(newcomer, (f"{newcomer}/*", "pull"))

    assert "refresh_token" not in town.fetch(basic(newcomer))
    assert "refresh_token" not in town.fetch(basic(newcomer), query="&offline_token=false")
    assert "refresh_token" not in town.fetch([], query="&offline_token=true")
    assert "refresh_token" not in town.fetch(basic(newcomer, secret), query="&offline_token=true")


def test_a_token_may_stand_for_a_refresh_token_and_is_worth_no_more_than_it_is(
    town: People, newcomer: str
) -> None:
    _, secret = town.make_token(newcomer, (f"{newcomer}/*", "pull"))
    scope = f"repository:{newcomer}/app:pull,push"
    reply = post(town, grant_type="refresh_token", refresh_token=secret, scope=scope)

    assert rights(town, reply.json) == {f"{newcomer}/app": "pull"}


def test_containerd_posts_a_password_first(town: People) -> None:
    reply = post(
        town,
        grant_type="password",
        client_id="containerd-client",
        scope=f"{MINE} repository:open/app:pull",
        username="reader",
        password=PASSWORD,
    )

    assert rights(town, reply.json) == {"team/app": "pull", "open/app": "pull"}
    assert "refresh_token" not in reply.json


def test_podman_posts_each_scope_in_a_field_of_its_own(town: People, newcomer: str) -> None:
    reply = post(
        town,
        grant_type="password",
        access_type="offline",
        client_id="containers/image",
        scope=[f"repository:{newcomer}/app:pull", "repository:open/app:pull"],
        username=newcomer,
        password=PASSWORD,
    )

    assert rights(town, reply.json) == {f"{newcomer}/app": "pull", "open/app": "pull"}
    assert reply.json["refresh_token"].startswith("moor_")


def test_a_tokens_secret_may_be_posted_as_the_password(town: People) -> None:
    _, secret = town.make_token("reader", ("team/*", "pull"))

    reply = post(town, grant_type="password", username="reader", password=secret, scope=MINE)
    assert rights(town, reply.json) == {"team/app": "pull"}
    assert post(town, grant_type="password", username="writer", password=secret).status == 401


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({}, 400),
        ({"grant_type": "authorization_code"}, 400),
        ({"grant_type": "client_credentials"}, 400),
        ({"grant_type": "password"}, 401),
        ({"grant_type": "password", "username": "reader"}, 401),
        ({"grant_type": "password", "username": "reader", "password": "wrong horse battery"}, 401),
        ({"grant_type": "password", "username": "reader\0", "password": PASSWORD}, 401),
        ({"grant_type": "password", "username": "x" * 5000, "password": PASSWORD}, 401),
        ({"grant_type": "password", "username": "reader", "password": "x" * 5000}, 401),
        ({"grant_type": "password", "username": "reader", "password": PASSWORD + "\0"}, 401),
        ({"grant_type": "refresh_token"}, 401),
        ({"grant_type": "refresh_token", "refresh_token": "moor_no"}, 401),
        ({"grant_type": "refresh_token", "refresh_token": PASSWORD}, 401),
    ],
)
def test_a_form_that_says_nothing_good_is_refused(town: People, form: dict[str, str], status: int) -> None:
    reply = post(town, **form)

    assert reply.status == status
    assert reply.codes


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"grant_type=%ff", b"a" * 70_000, b"&" * 60_000, b"{}"])
def test_what_is_no_form_is_refused(town: People, body: bytes) -> None:
    reply = town.ask("POST", "/token", [FORM], body)

    assert reply.status in {400, 413}
    assert reply.codes


def test_other_methods_are_not_allowed(town: People) -> None:
    for method in ("PUT", "DELETE", "PATCH"):
        reply = town.ask(method, "/token")
        assert (reply.status, reply["allow"]) == (405, "GET, POST")


def test_a_basic_header_beside_a_form_does_not_count(town: People) -> None:
    reply = post(town, basic("admin"), grant_type="password", username="reader", password="x" * 12)

    assert reply.status == 401
