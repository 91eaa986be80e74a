"""Everyone, by every operation of the API: each cell as the table says. No operation may lack its row."""

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import pytest

from moorage.api.manage.table import TABLE
from tests.api.client import ADMIN, PASSWORD, Person, basic, person
from tests.registry.in_process import InProcess

# nobody has not signed in; bearer is what docker has, for the administrator; the owner is alice;
# the narrow ones are tokens that may only pull, hers and the administrator's
CALLERS: Final = ("nobody", "bearer", "stranger", "owner", "narrow", "auditor", "admin", "narrow-admin")


def make_grant(owner: Person) -> str:
    made = owner.post("/grants", to="everyone", pattern="alice/*", actions=["pull"])
    return f"/grants/{made['id']}"


def make_token(owner: Person) -> str:
    return f"/tokens/{owner.post('/tokens', name='laptop')['id']}"


def make_repository(owner: Person) -> str:
    assert owner.ask("POST", "/repositories", {"name": "alice/app"}).status in {201, 409}
    return "/repositories/alice/app"


class Row(NamedTuple):
    """What each caller but the first two is answered. Where one is let in, little or nothing is changed."""

    answers: str
    path: str | Callable[[Person], str]
    body: dict[str, Any] | None = None


ADMINS_ONLY: Final = "403 403 403 403 {} 403"
ALL: Final = "200 200 200 200 200 200"
ROWS: Final[dict[tuple[str, str], Row]] = {
    ("GET", "/whoami"): Row(ALL, "/whoami"),
    ("GET", "/accounts"): Row("403 403 403 200 200 403", "/accounts"),
    ("POST", "/accounts"): Row(ADMINS_ONLY.format(409), "/accounts", {"name": "alice"}),
    ("GET", "/accounts/{name}"): Row("404 200 200 200 200 404", "/accounts/alice"),
    ("PATCH", "/accounts/{name}"): Row(ADMINS_ONLY.format(200), "/accounts/alice", {"role": "member"}),
    ("DELETE", "/accounts/{name}"): Row(ADMINS_ONLY.format(409), f"/accounts/{ADMIN}"),
    ("PUT", "/accounts/{name}/password"): Row(
        "404 400 400 403 400 404", "/accounts/alice/password", {"password": "short"}
    ),
    ("GET", "/groups"): Row(ALL, "/groups"),
    ("POST", "/groups"): Row(ADMINS_ONLY.format(409), "/groups", {"name": "ops"}),
    ("GET", "/groups/{name}"): Row("404 200 200 200 200 404", "/groups/ops"),
    ("DELETE", "/groups/{name}"): Row(ADMINS_ONLY.format(404), "/groups/none"),
    ("PUT", "/groups/{name}/members/{account}"): Row(ADMINS_ONLY.format(404), "/groups/ops/members/none"),
    ("DELETE", "/groups/{name}/members/{account}"): Row(ADMINS_ONLY.format(404), "/groups/ops/members/none"),
    ("GET", "/namespaces"): Row(ALL, "/namespaces"),
    ("POST", "/namespaces"): Row(ADMINS_ONLY.format(409), "/namespaces", {"name": "alice"}),
    ("GET", "/namespaces/{name}"): Row("404 200 404 200 200 404", "/namespaces/alice"),
    ("PATCH", "/namespaces/{name}"): Row(
        "404 200 404 403 200 404", "/namespaces/alice", {"visibility": "private"}
    ),
    ("DELETE", "/namespaces/{name}"): Row(ADMINS_ONLY.format(404), "/namespaces/none"),
    ("GET", "/repositories"): Row(ALL, "/repositories"),
    ("POST", "/repositories"): Row("403 409 403 403 409 403", "/repositories", {"name": "alice/kept"}),
    ("GET", "/repositories/{name...}"): Row("404 200 200 200 200 200", make_repository),
    ("DELETE", "/repositories/{name...}"): Row("404 200 403 403 200 403", make_repository),
    ("GET", "/grants"): Row(ALL, "/grants"),
    ("POST", "/grants"): Row(
        "403 404 403 403 404 403",
        "/grants",
        {"to": "account none", "pattern": "alice/*", "actions": ["pull"]},
    ),
    ("GET", "/grants/{id}"): Row("404 200 404 200 200 404", make_grant),
    ("DELETE", "/grants/{id}"): Row("404 204 404 403 204 404", make_grant),
    ("GET", "/tokens"): Row(ALL, "/tokens"),
    ("POST", "/tokens"): Row("400 400 400 400 400 400", "/tokens", {"name": "x", "expires_in_days": 36_000}),
    ("GET", "/tokens/{id}"): Row("404 200 404 200 200 404", make_token),
    ("DELETE", "/tokens/{id}"): Row("404 204 404 403 204 404", make_token),
    ("GET", "/audit"): Row("403 403 403 200 200 403", "/audit"),
    ("GET", "/keys"): Row("403 403 403 200 200 403", "/keys"),
    ("POST", "/keys"): Row(ADMINS_ONLY.format(201), "/keys"),
    ("GET", "/access/explain"): Row(
        "404 200 200 200 200 404", "/access/explain?account=alice&action=pull&repository=alice/app"
    ),
    ("GET", "/openapi.json"): Row(ALL, "/openapi.json"),
}


class Bearer(Person):
    """Someone who asks with what the token endpoint gave for their password."""

    def headers(self) -> list[tuple[str, str]]:
        assert self.secret is not None
        path = "/token?service=moorage&scope=repository:alice/app:pull"
        given = self.registry.send("GET", path, headers=[basic(self.name, self.secret)])
        return [("Authorization", f"Bearer {given.json['token']}")]


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Person]]:
    """One of each, on one registry."""
    running = InProcess(tmp_path_factory.mktemp("matrix") / "data")
    running.open()
    Person(running, secret=None).post("/accounts", name=ADMIN, password=PASSWORD)
    admin = Person(running, ADMIN)
    owner = person(admin, "alice")
    admin.post("/groups", name="ops")
    admin.do("PUT", "/groups/ops/members/alice")
    owner.post("/repositories", name="alice/kept")
    pull = [{"pattern": "*", "actions": ["pull"]}]
    yield {
        "nobody": Person(running, secret=None),
        "bearer": Bearer(running, ADMIN),
        "stranger": person(admin, "bob"),
        "owner": owner,
        "narrow": owner.token(scopes=pull),
        "auditor": person(admin, "watch", role="auditor"),
        "admin": admin,
        "narrow-admin": admin.token(scopes=pull),
    }
    running.end()


def test_every_operation_has_a_row() -> None:
    assert {(route.method, route.path) for route in TABLE} == set(ROWS)


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize(("operation", "row"), ROWS.items(), ids=[" ".join(each) for each in ROWS])
def test_cell_is_as_the_table_says(
    town: dict[str, Person], operation: tuple[str, str], row: Row, caller: str
) -> None:
    first = "200 200" if operation[1] == "/openapi.json" else "401 403"
    expected = f"{first} {row.answers}".split()[CALLERS.index(caller)]
    path = row.path if isinstance(row.path, str) else row.path(town["owner"])

    reply = town[caller].ask(operation[0], path, row.body)

    assert str(reply.status) == expected, reply
    if reply.status == 401:
        assert reply["www-authenticate"].startswith("Basic ")
