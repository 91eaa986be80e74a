"""Everyone, by every operation of the API: each cell as the table says. No operation may lack its row."""

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import pytest

from moorage.api.manage.table import TABLE
from moorage.database import Transaction
from moorage.records.jobs import rows
from tests.api.client import ADMIN, PASSWORD, Person, basic, person
from tests.content import OCI_MANIFEST, digest_of, encode, image
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


def make_job(tx: Transaction) -> None:
    """Job 1, done for alice."""
    job = rows.enqueue(tx, "errand", {}, "alice")
    rows.take(tx, ["errand"], "a worker", 1000)
    rows.end(tx, job, "a worker", "done")


def make_tag(owner: Person) -> str:
    """A tag that is there, in the form of the paths' ends."""
    name = make_repository(owner).removeprefix("/repositories/")
    config = b"{}"
    secret = [basic(owner.name, owner.secret or "")]
    digest = digest_of(config)
    owner.registry.send("POST", f"/v2/{name}/blobs/uploads/?digest={digest}", config, secret)
    payload = encode(image(config))
    headers = [*secret, ("Content-Type", OCI_MANIFEST)]
    assert owner.registry.send("PUT", f"/v2/{name}/manifests/1.0", payload, headers).status == 201
    return f"{name}?tag=1.0"


def make_manifest(owner: Person) -> str:
    """What the tag points to, by its digest."""
    name = make_tag(owner).removesuffix("?tag=1.0")
    found = owner.registry.send(
        "HEAD", f"/v2/{name}/manifests/1.0", b"", [basic(owner.name, owner.secret or "")]
    )
    return f"/manifests/{name}?digest={found['Docker-Content-Digest']}"


def make_deletion(owner: Person) -> str:
    return f"/trash/{owner.do('DELETE', make_manifest(owner))['deletion']}"


def make_deleted_repository(owner: Person) -> str:
    """A repository whose name is free again."""
    make_repository(owner)
    deleted = owner.do("DELETE", "/repositories/alice/app")["deletion"]
    return f"/deleted-repositories/{deleted}"


def make_pin(owner: Person) -> str:
    path = f"/pins/{make_tag(owner)}"
    owner.do("PUT", path)
    return path


def make_immutability(owner: Person) -> str:
    made = owner.post("/immutability", scope="alice/fixed", pattern="1.*")
    return f"/immutability/{made['id']}"


def make_retention_rule(owner: Person) -> str:
    made = owner.post("/retention/rules", scope="alice/*", pattern="x", keep_newest=1)
    return f"/retention/rules/{made['id']}"


def make_upstream(owner: Person) -> str:
    """One that is not asked: there is no such address."""
    admin = Person(owner.registry, ADMIN)
    assert admin.ask("POST", "/upstreams", {"name": "mirror.example"}).status in {201, 409}
    return "/upstreams/mirror.example"


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
    ("PATCH", "/repositories/{name...}"): Row(
        "404 409 403 403 409 403", make_repository, {"name": "alice/kept"}
    ),
    ("DELETE", "/repositories/{name...}"): Row("404 200 403 403 200 403", make_repository),
    ("GET", "/tags/{name...}"): Row("404 200 200 200 200 200", lambda owner: f"/tags/{make_tag(owner)[:9]}"),
    ("DELETE", "/tags/{name...}"): Row("404 200 403 403 200 403", lambda owner: f"/tags/{make_tag(owner)}"),
    ("GET", "/history/{name...}"): Row(
        "404 200 200 200 200 200", lambda owner: f"/history/{make_tag(owner)}"
    ),
    ("POST", "/history/{name...}"): Row(
        "404 409 403 403 409 403",
        lambda owner: f"/history/{make_tag(owner)[:9]}",
        {"tag": "1.0", "at": "2000-01-01T00:00:00Z"},
    ),
    ("PUT", "/pins/{name...}"): Row("404 204 403 403 204 403", lambda owner: f"/pins/{make_tag(owner)}"),
    ("DELETE", "/pins/{name...}"): Row("404 204 403 403 204 403", make_pin),
    ("GET", "/immutability"): Row(ALL, "/immutability"),
    ("POST", "/immutability"): Row(
        "403 201 403 403 201 403", "/immutability", {"scope": "alice/fixed", "pattern": "1.*"}
    ),
    ("GET", "/immutability/{id}"): Row("404 200 404 200 200 404", make_immutability),
    ("DELETE", "/immutability/{id}"): Row("404 204 404 403 204 404", make_immutability),
    ("GET", "/retention/plan"): Row("404 200 200 200 200 200", "/retention/plan?scope=alice/kept"),
    ("DELETE", "/manifests/{name...}"): Row("404 200 403 403 200 403", make_manifest),
    ("GET", "/trash"): Row(ALL, "/trash"),
    ("GET", "/trash/{id}"): Row("404 200 200 200 200 200", make_deletion),
    ("POST", "/trash/{id}/restore"): Row(
        "404 200 403 403 200 403", lambda owner: f"{make_deletion(owner)}/restore"
    ),
    ("DELETE", "/trash/{id}"): Row("404 200 403 403 200 403", make_deletion),
    ("GET", "/deleted-repositories"): Row(ALL, "/deleted-repositories"),
    ("POST", "/deleted-repositories/{id}/restore"): Row(
        "404 200 403 403 200 403", lambda owner: f"{make_deleted_repository(owner)}/restore", {}
    ),
    ("DELETE", "/deleted-repositories/{id}"): Row("404 200 403 403 200 403", make_deleted_repository),
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
    ("GET", "/jobs"): Row("403 403 403 200 200 403", "/jobs"),
    ("GET", "/jobs/{id}"): Row("404 200 200 200 200 404", "/jobs/1"),
    ("POST", "/jobs/{id}/cancel"): Row(ADMINS_ONLY.format(409), "/jobs/1/cancel"),
    ("POST", "/jobs/{id}/retry"): Row(ADMINS_ONLY.format(409), "/jobs/1/retry"),
    ("GET", "/garbage"): Row("403 403 403 200 200 403", "/garbage"),
    ("GET", "/garbage/plan"): Row("403 403 403 200 200 403", "/garbage/plan"),
    ("POST", "/garbage/runs"): Row(ADMINS_ONLY.format(202), "/garbage/runs"),
    ("GET", "/store"): Row("403 403 403 200 200 403", "/store"),
    ("POST", "/store/check"): Row(ADMINS_ONLY.format(202), "/store/check", {}),
    ("POST", "/store/accept"): Row(ADMINS_ONLY.format(200), "/store/accept"),
    ("GET", "/store/damaged"): Row("403 403 403 200 200 403", "/store/damaged"),
    ("GET", "/scrub"): Row("403 403 403 200 200 403", "/scrub"),
    ("POST", "/scrub"): Row(ADMINS_ONLY.format(202), "/scrub", {"now": True}),
    ("POST", "/verify"): Row(ADMINS_ONLY.format(202), "/verify", {"repository": "alice/app"}),
    ("GET", "/backups"): Row("403 403 403 200 200 403", "/backups"),
    ("POST", "/backups"): Row(ADMINS_ONLY.format(405), "/backups"),
    ("GET", "/retention/rules"): Row(ALL, "/retention/rules"),
    ("POST", "/retention/rules"): Row(
        "400 400 400 400 400 400", "/retention/rules", {"scope": "alice/*", "pattern": "*"}
    ),
    ("GET", "/retention/rules/{id}"): Row("404 200 404 200 200 404", make_retention_rule),
    ("DELETE", "/retention/rules/{id}"): Row("404 204 404 403 204 404", make_retention_rule),
    ("POST", "/retention/runs"): Row("403 202 403 403 202 403", "/retention/runs", {"scope": "alice/*"}),
    ("GET", "/upstreams"): Row("403 403 403 200 200 403", "/upstreams"),
    ("POST", "/upstreams"): Row(ADMINS_ONLY.format(400), "/upstreams", {"name": "lan"}),
    ("GET", "/upstreams/status"): Row("403 403 403 200 200 403", "/upstreams/status"),
    ("PUT", "/upstreams/disconnection"): Row(ADMINS_ONLY.format(200), "/upstreams/disconnection"),
    ("DELETE", "/upstreams/disconnection"): Row(ADMINS_ONLY.format(200), "/upstreams/disconnection"),
    ("POST", "/upstreams/prefetches"): Row(
        ADMINS_ONLY.format(404), "/upstreams/prefetches", {"upstream": "none"}
    ),
    ("POST", "/upstreams/rehearsals"): Row(
        ADMINS_ONLY.format(404), "/upstreams/rehearsals", {"upstream": "none"}
    ),
    ("GET", "/upstreams/{name}"): Row("403 403 403 200 200 403", make_upstream),
    ("PATCH", "/upstreams/{name}"): Row(ADMINS_ONLY.format(200), make_upstream, {"freshness_s": 60}),
    ("DELETE", "/upstreams/{name}"): Row(ADMINS_ONLY.format(200), make_upstream),
    ("GET", "/upstreams/{name}/status"): Row(
        "403 403 403 200 200 403", lambda owner: f"{make_upstream(owner)}/status"
    ),
    ("PUT", "/upstreams/{name}/disconnection"): Row(
        ADMINS_ONLY.format(200), lambda owner: f"{make_upstream(owner)}/disconnection"
    ),
    ("DELETE", "/upstreams/{name}/disconnection"): Row(
        ADMINS_ONLY.format(200), lambda owner: f"{make_upstream(owner)}/disconnection"
    ),
    ("POST", "/upstreams/{name}/test"): Row(
        ADMINS_ONLY.format(400), lambda owner: f"{make_upstream(owner)}/test", {"url": "https://127.1"}
    ),
    ("GET", "/savings"): Row("403 403 403 200 200 403", "/savings"),
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
    running.loop.run_until_complete(running.db.write(make_job))
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
