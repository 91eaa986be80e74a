"""Repositories by the API: made, listed, removed with all that is in them."""

import json
from typing import Any

import pytest

from tests.api.client import Person, basic, codes
from tests.content import digest_of
from tests.registry.audit import audit

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def send(who: Person, method: str, path: str, body: bytes = b"", *headers: tuple[str, str]) -> Any:
    """One request to the registry itself."""
    assert who.secret is not None
    return who.registry.send(method, f"/v2/{path}", body, [basic(who.name, who.secret), *headers])


def push(who: Person, name: str) -> str:
    """An image of one blob with the tag `latest`; the blob's digest."""
    config = name.encode()
    digest = digest_of(config)
    assert send(who, "POST", f"{name}/blobs/uploads/?digest={digest}", config).status == 201
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "application/x", "digest": digest, "size": len(config)},
        "layers": [],
    }
    payload = json.dumps(manifest).encode()
    pushed = send(who, "PUT", f"{name}/manifests/latest", payload, ("Content-Type", OCI_MANIFEST))
    assert pushed.status == 201
    return digest


def test_repository_is_made_before_a_push_by_whoever_may_push(alice: Person, bob: Person) -> None:
    assert alice.post("/repositories", name="alice/app")["name"] == "alice/app"
    assert codes(alice.ask("POST", "/repositories", {"name": "alice/app"})) == ["NAME_TAKEN"]
    there = bob.ask("POST", "/repositories", {"name": "alice/app"})
    missing = bob.ask("POST", "/repositories", {"name": "alice/xyz"})
    assert (there.status, missing.status) == (403, 403)
    assert there.body.replace(b"app", b"xyz") == missing.body
    assert alice.ask("POST", "/repositories", {"name": "Alice"}).status == 400


def test_list_holds_what_the_caller_may_pull(admin: Person, alice: Person, bob: Person) -> None:
    for name in ("alice/a", "alice/b", "bob/a"):
        admin.post("/repositories", name=name)

    assert [each["name"] for each in alice.get("/repositories")["items"]] == ["alice/a", "alice/b"]
    first = alice.get("/repositories?n=1")
    assert ([each["name"] for each in first["items"]], first["next"]) == (["alice/a"], "alice/a")
    assert [each["name"] for each in bob.get("/repositories")["items"]] == ["bob/a"]
    assert len(admin.get("/repositories")["items"]) == 3


def test_list_says_what_each_repository_holds(alice: Person) -> None:
    """A blob counts once in a repository, and in each of those that share it."""
    shared = push(alice, "alice/a")
    another = b"another one, that is larger"
    for config in (another, another):
        sent = send(alice, "POST", f"alice/a/blobs/uploads/?digest={digest_of(config)}", config)
        assert sent.status == 201
    mounted = send(alice, "POST", f"alice/b/blobs/uploads/?mount={shared}&from=alice/a")
    assert mounted.status == 201
    alice.post("/repositories", name="alice/empty")

    a, b, empty = alice.get("/repositories")["items"]

    assert (a["name"], a["size_bytes"], a["tags"]) == ("alice/a", len("alice/a") + len(another), 1)
    assert a["pushed_at"] == alice.get("/tags/alice/a")["items"][0]["pushed_at"]
    assert b == {"name": "alice/b", "size_bytes": len("alice/a"), "tags": 0, "pushed_at": None}
    assert empty == {"name": "alice/empty", "size_bytes": 0, "tags": 0, "pushed_at": None}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_repository_of_another_is_not_there(alice: Person, bob: Person, method: str) -> None:
    alice.post("/repositories", name="alice/app")

    there, missing = bob.ask(method, "/repositories/alice/app"), bob.ask(method, "/repositories/alice/xyz")

    assert (there.status, missing.status) == (404, 404)
    assert there.body.replace(b"app", b"xyz") == missing.body
    assert alice.get("/repositories/alice%2Fapp")["name"] == "alice/app"


def test_removed_repository_leaves_nothing_of_itself(admin: Person, alice: Person) -> None:
    push(alice, "alice/app")
    kept = push(alice, "alice/kept")
    send(alice, "PATCH", send(alice, "POST", "alice/app/blobs/uploads/")["location"][4:], b"half")

    alice.do("DELETE", "/repositories/alice/app")

    assert alice.ask("GET", "/repositories/alice/app").status == 404
    assert send(alice, "GET", "alice/app/manifests/latest").status == 404
    assert send(alice, "GET", f"alice/kept/blobs/{kept}").status == 200
    assert audit(alice.registry.settings.storage.data) == []
    push(alice, "alice/app")
    assert send(alice, "GET", "alice/app/tags/list").json == {"name": "alice/app", "tags": ["latest"]}
    removed = admin.get("/audit?action=repository.delete")["items"]
    assert [(each["actor"], each["target"]) for each in removed] == [("alice", "alice/app")]


def test_repository_is_removed_by_whoever_may_delete(admin: Person, alice: Person, bob: Person) -> None:
    alice.post("/repositories", name="alice/app")
    alice.post("/grants", to="account bob", pattern="alice/*", actions=["push"])

    assert bob.ask("DELETE", "/repositories/alice/app").status == 403
    assert alice.ask("DELETE", "/repositories/alice/app").status == 200


def test_upload_that_no_one_writes_to_goes_with_its_repository(alice: Person) -> None:
    push(alice, "alice/app")
    location = send(alice, "POST", "alice/app/blobs/uploads/")["location"][4:]
    alice.do("DELETE", "/repositories/alice/app")

    gone = send(alice, "PUT", f"{location}?digest={digest_of(b'x')}", b"x")

    assert gone.status == 404
    assert audit(alice.registry.settings.storage.data) == []
