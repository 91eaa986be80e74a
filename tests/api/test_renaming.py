"""Repositories under another name: who may give it, and who is answered by the old one."""

from unittest.mock import patch

from moorage import clock
from tests.api.client import Person, basic, codes
from tests.api.test_repositories import OCI_MANIFEST, push, send
from tests.content import digest_of
from tests.registry.audit import audit
from tests.registry.in_process import InProcess
from tests.spec.client import Reply

DAY_MS = 86_400_000


def rename(who: Person, name: str, renamed: str) -> Reply:
    return who.ask("PATCH", f"/repositories/{name}", {"name": renamed})


class Client:
    """Someone who pulls or pushes as docker does: by a token for what it is about to do."""

    def __init__(self, who: Person, repository: str, actions: str) -> None:
        self.registry = who.registry
        fields = [] if who.secret is None else [basic(who.name, who.secret)]
        path = f"/token?service=moorage&scope=repository:{repository}:{actions}"
        self.token = self.registry.send("GET", path, headers=fields).json["token"]

    def ask(self, method: str, path: str, body: bytes = b"") -> int:
        headers = [("Authorization", f"Bearer {self.token}"), ("Content-Type", OCI_MANIFEST)]
        return self.registry.send(method, f"/v2/{path}", body, headers).status


def test_renamed_repository_is_pulled_from_by_both_names(alice: Person) -> None:
    blob = push(alice, "alice/app")
    manifest = send(alice, "GET", "alice/app/manifests/latest")
    digest = manifest["docker-content-digest"]

    shown = rename(alice, "alice/app", "alice/web").json

    assert (shown["name"], [each["name"] for each in shown["old_names"]]) == ("alice/web", ["alice/app"])
    for name in ("alice/app", "alice/web"):
        assert send(alice, "GET", f"{name}/manifests/latest").body == manifest.body
        assert send(alice, "GET", f"{name}/manifests/{digest}").body == manifest.body
        assert send(alice, "GET", f"{name}/blobs/{blob}").body == b"alice/app"
        assert send(alice, "GET", f"{name}/tags/list").json["tags"] == ["latest"]
    assert send(alice, "GET", "_catalog").json == {"repositories": ["alice/web"]}
    assert alice.ask("GET", "/repositories/alice/app").status == 404
    assert send(alice, "GET", "alice/app/manifests/none").status == 404
    assert audit(alice.registry.settings.storage.data) == []


def test_referrers_are_found_by_the_old_name(alice: Person) -> None:
    push(alice, "alice/app")
    subject = send(alice, "GET", "alice/app/manifests/latest")["docker-content-digest"]
    size = len(send(alice, "GET", "alice/app/manifests/latest").body)
    config = digest_of(b"{}")
    assert send(alice, "POST", f"alice/app/blobs/uploads/?digest={config}", b"{}").status == 201
    signature = (
        f'{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","artifactType":"application/x",'
        f'"config":{{"mediaType":"application/x","digest":"{config}","size":2}},"layers":[],'
        f'"subject":{{"mediaType":"{OCI_MANIFEST}","digest":"{subject}","size":{size}}}}}'
    ).encode()
    digest = digest_of(signature)
    put = send(alice, "PUT", f"alice/app/manifests/{digest}", signature, ("Content-Type", OCI_MANIFEST))
    assert put.status == 201

    rename(alice, "alice/app", "alice/web")

    found = send(alice, "GET", f"alice/app/referrers/{subject}").json["manifests"]
    assert [each["digest"] for each in found] == [digest]
    assert send(alice, "GET", f"alice/none/referrers/{subject}").json["manifests"] == []


def test_both_names_have_to_be_administered(admin: Person, alice: Person, bob: Person) -> None:
    push(alice, "alice/app")
    alice.post("/grants", to="account bob", pattern="alice/app", actions=["push", "delete"])

    assert rename(bob, "alice/app", "bob/app").status == 403
    assert rename(alice, "alice/app", "bob/app").status == 403
    assert rename(bob, "alice/none", "bob/none").status == 404
    alice.post("/grants", to="account bob", pattern="alice/app", actions=["admin"])
    assert rename(bob, "alice/app", "bob/app").status == 200
    noted = [each["target"] for each in admin.get("/audit?action=repository.rename")["items"]]
    assert noted == ["bob/app", "alice/app"]


def test_name_that_is_taken_or_none_is_refused(alice: Person) -> None:
    push(alice, "alice/app")
    push(alice, "alice/web")

    assert codes(rename(alice, "alice/app", "alice/web")) == ["NAME_TAKEN"]
    assert codes(rename(alice, "alice/app", "alice/app")) == ["NAME_TAKEN"]
    assert codes(rename(alice, "alice/none", "alice/new")) == ["NAME_UNKNOWN"]
    assert rename(alice, "alice/app", "Alice/app").status == 400
    assert send(alice, "GET", "alice/app/tags/list").status == 200


def test_old_name_tells_nothing_to_who_may_not_pull_by_the_new_one(alice: Person, bob: Person) -> None:
    push(alice, "alice/app")
    for pattern in ("alice/app", "alice/gone"):
        alice.post("/grants", to="account bob", pattern=pattern, actions=["pull"])
    rename(alice, "alice/app", "alice/secret")

    told = send(bob, "GET", "alice/app/manifests/latest")

    assert told.status == 404
    assert (
        told.body.replace(b"alice/app", b"alice/gone") == send(bob, "GET", "alice/gone/manifests/latest").body
    )
    alice.post("/grants", to="account bob", pattern="alice/secret", actions=["pull"])
    assert send(bob, "GET", "alice/app/manifests/latest").status == 200


def test_token_for_the_old_name_is_enough_where_its_owner_may_pull_the_new_one(alice: Person) -> None:
    blob = push(alice, "alice/app")
    early = Client(alice, "alice/app", "pull")
    rename(alice, "alice/app", "alice/web")
    late = Client(alice, "alice/app", "pull")

    assert early.ask("GET", "alice/app/manifests/latest") == 401
    assert [late.ask(each, "alice/app/manifests/latest") for each in ("HEAD", "GET")] == [200, 200]
    assert [late.ask(each, f"alice/app/blobs/{blob}") for each in ("HEAD", "GET")] == [200, 200]
    assert late.ask("GET", "alice/web/manifests/latest") == 401


def test_push_by_the_old_name_makes_another_repository(alice: Person) -> None:
    blob = push(alice, "alice/app")
    digest = send(alice, "GET", "alice/app/manifests/latest")["docker-content-digest"]
    manifest = send(alice, "GET", "alice/app/manifests/latest").body
    rename(alice, "alice/app", "alice/web")
    pusher = Client(alice, "alice/app", "pull,push")

    # it is not told that anything is there already: the new repository would lack it
    assert pusher.ask("HEAD", f"alice/app/blobs/{blob}") == 404
    assert pusher.ask("HEAD", f"alice/app/manifests/{digest}") == 404
    assert pusher.ask("PUT", "alice/app/manifests/1.0", manifest) == 400
    assert pusher.ask("GET", "alice/app/manifests/latest") == 200
    assert pusher.ask("POST", f"alice/app/blobs/uploads/?digest={blob}", b"alice/app") == 201
    assert pusher.ask("PUT", "alice/app/manifests/1.0", manifest) == 201

    assert send(alice, "GET", "alice/app/tags/list").json["tags"] == ["1.0"]
    assert send(alice, "GET", "alice/web/tags/list").json["tags"] == ["latest"]
    assert send(alice, "GET", "alice/app/manifests/latest").status == 404
    assert alice.get("/repositories/alice/web")["old_names"] == []


def test_open_registry_tells_a_push_of_no_blob_by_the_old_name(registry: InProcess) -> None:
    """Where no one signs in: a HEAD of a blob is a push's, of a manifest a pull's."""
    anyone = Person(registry, secret=None)
    blob = digest_of(b"x")
    assert registry.send("POST", f"/v2/team/app/blobs/uploads/?digest={blob}", b"x").status == 201
    manifest = (
        f'{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","layers":[],'
        f'"config":{{"mediaType":"application/x","digest":"{blob}","size":1}}}}'
    ).encode()
    kind = [("Content-Type", OCI_MANIFEST)]
    assert registry.send("PUT", "/v2/team/app/manifests/1", manifest, kind).status == 201

    anyone.do("PATCH", "/repositories/team/app", {"name": "team/web"})

    asked = [(method, path) for path in ("manifests/1", f"blobs/{blob}") for method in ("HEAD", "GET")]
    statuses = [registry.send(method, f"/v2/team/app/{path}").status for method, path in asked]
    assert statuses == [200, 200, 404, 200]


def test_upload_goes_on_under_the_new_name(alice: Person) -> None:
    push(alice, "alice/app")
    location = send(alice, "POST", "alice/app/blobs/uploads/")["location"][4:]
    assert send(alice, "PATCH", location, b"half").status == 202
    rename(alice, "alice/app", "alice/web")

    assert send(alice, "GET", location).status == 404
    moved = location.replace("alice/app", "alice/web")
    digest = digest_of(b"half and half")
    assert send(alice, "PUT", f"{moved}?digest={digest}", b" and half").status == 201
    assert send(alice, "GET", f"alice/web/blobs/{digest}").body == b"half and half"
    assert send(alice, "GET", "alice/app/tags/list").json["name"] == "alice/web"


def test_old_name_is_forgotten_in_time(alice: Person) -> None:
    push(alice, "alice/app")
    rename(alice, "alice/app", "alice/web")
    now = clock.now_ms()

    for days, status in ((29, 200), (31, 404)):
        with patch("moorage.registry.repositories.rows.now_ms", lambda days=days: now + days * DAY_MS):
            assert send(alice, "GET", "alice/app/manifests/latest").status == status


def test_repository_that_is_renamed_again_and_back_keeps_all_its_names(alice: Person) -> None:
    push(alice, "alice/a")
    rename(alice, "alice/a", "alice/b")
    rename(alice, "alice/b", "alice/c")

    assert [send(alice, "GET", f"alice/{each}/manifests/latest").status for each in "abc"] == [200] * 3
    rename(alice, "alice/c", "alice/a")
    assert [each["name"] for each in alice.get("/repositories/alice/a")["old_names"]] == [
        "alice/b",
        "alice/c",
    ]


def test_name_given_to_another_repository_means_that_one(alice: Person) -> None:
    push(alice, "alice/a")
    push(alice, "alice/z")
    rename(alice, "alice/a", "alice/b")

    rename(alice, "alice/z", "alice/a")

    assert send(alice, "GET", f"alice/a/blobs/{digest_of(b'alice/z')}").status == 200
    assert alice.get("/repositories/alice/b")["old_names"] == []


def test_removed_repository_is_gone_by_its_old_name_too(alice: Person) -> None:
    push(alice, "alice/app")
    rename(alice, "alice/app", "alice/web")

    alice.do("DELETE", "/repositories/alice/web")

    assert send(alice, "GET", "alice/app/manifests/latest").status == 404
    assert audit(alice.registry.settings.storage.data) == []


def test_anyone_follows_from_one_public_namespace_to_another_and_into_no_private_one(
    admin: Person, alice: Person, bob: Person
) -> None:
    for name, visibility in (("alice", "public"), ("bob", "private")):
        admin.do("PATCH", f"/namespaces/{name}", {"visibility": visibility})
    for name in ("alice/a", "alice/b"):
        push(alice, name)
    rename(admin, "alice/a", "alice/new")
    rename(admin, "alice/b", "bob/new")

    nobody = Person(alice.registry, secret=None)
    statuses = [
        Client(nobody, name, "pull").ask(method, f"{name}/manifests/latest")
        for name in ("alice/a", "alice/b")
        for method in ("HEAD", "GET")
    ]

    assert statuses == [200, 200, 404, 404]
