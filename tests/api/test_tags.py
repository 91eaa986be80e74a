"""Tags by the API: listed, their history, put back, pinned."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.api.client import Person, basic, codes
from tests.content import (
    ABSENT,
    CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    Document,
    descriptor,
    digest_of,
    encode,
    image,
    index,
    some_bytes,
)

REPOSITORY = "alice/app"


def send(who: Person, method: str, path: str, body: bytes = b"", *headers: tuple[str, str]) -> Any:
    """One request to the registry itself."""
    assert who.secret is not None
    return who.registry.send(
        method, f"/v2/{REPOSITORY}/{path}", body, [basic(who.name, who.secret), *headers]
    )


def push_blob(who: Person, content: bytes) -> bytes:
    assert send(who, "POST", f"blobs/uploads/?digest={digest_of(content)}", content).status == 201
    return content


def push(who: Person, document: Document, *tags: str) -> str:
    """A manifest by its digest under tags; the digest."""
    payload = encode(document)
    query = "&".join(f"tag={tag}" for tag in tags)
    path = f"manifests/{digest_of(payload)}?{query}"
    reply = send(who, "PUT", path, payload, ("Content-Type", document["mediaType"]))
    assert reply.status == 201, reply
    return digest_of(payload)


def config(os: str = "linux", architecture: str = "amd64", **more: str) -> bytes:
    return json.dumps({"os": os, "architecture": architecture, "nonce": some_bytes(4).hex(), **more}).encode()


def make_image(who: Person, *tags: str, platform: bytes | None = None, layers: int = 1) -> str:
    """An image of random layers of 1000 bytes under tags."""
    held = push_blob(who, config() if platform is None else platform)
    return push(who, image(held, [push_blob(who, some_bytes(1000)) for _ in range(layers)]), *tags)


def listed(who: Person, **query: object) -> list[Any]:
    items: list[Any] = who.get(f"/tags/{REPOSITORY}?{urlencode(query)}")["items"]
    return items


def names(who: Person, **query: object) -> list[str]:
    return [each["name"] for each in listed(who, **query)]


def page_through(who: Person, **query: object) -> list[str]:
    """All pages, which have at most `n` each."""
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        page = who.get(f"/tags/{REPOSITORY}?{urlencode({**query, 'after': after})}")
        found += [each["name"] for each in page["items"]]
        after = page["next"]
    return found


def write_pulls(who: Person) -> None:
    services = who.registry._dispatch._services  # type: ignore[union-attr]
    who.registry.loop.run_until_complete(services.pulls.write())


# listing


VERSIONS = ["1.10.0", "1.9.1", "1.9.0", "1.9.0-rc.1", "latest"]


def test_tags_are_listed_by_version_the_newest_first(alice: Person) -> None:
    make_image(alice, *reversed(VERSIONS))

    assert names(alice) == VERSIONS
    assert names(alice, order="asc") == VERSIONS[::-1]
    assert names(alice, sort="name") == sorted(VERSIONS)
    assert names(alice, sort="name", order="desc") == sorted(VERSIONS, reverse=True)


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("sort", ["version", "time", "pulled", "name"])
def test_pages_hold_each_tag_once_in_every_order(alice: Person, sort: str, order: str) -> None:
    tags = [*VERSIONS, "v1.9.0", "main", "2024.01.31"]
    for tag in tags:
        make_image(alice, tag)
    for tag in ("latest", "1.9.0", "1.9.0", "main"):
        assert send(alice, "GET", f"manifests/{tag}").status == 200
    write_pulls(alice)
    whole = names(alice, sort=sort, order=order)

    assert sorted(whole) == sorted(tags)
    for n in (1, 2, 3, 8, 9):
        assert page_through(alice, sort=sort, order=order, n=n) == whole
    assert page_through(alice, sort=sort, order=order, n=1, match="*.*") == [
        tag for tag in whole if "." in tag
    ]


def test_list_by_time_begins_with_what_was_pushed_last(alice: Person) -> None:
    for tag in ("b", "a", "c"):
        make_image(alice, tag)

    assert names(alice, sort="time") == ["c", "a", "b"]


def test_list_by_pulls_begins_with_what_was_pulled_last_and_ends_with_what_never_was(alice: Person) -> None:
    make_image(alice, "a", "b", "c")
    for tag in ("c", "a"):
        assert send(alice, "GET", f"manifests/{tag}").status == 200
        alice.registry.loop.run_until_complete(_a_while())
    write_pulls(alice)

    assert names(alice, sort="pulled") == ["a", "c", "b"]
    assert names(alice, sort="pulled", order="asc") == ["b", "c", "a"]


async def _a_while() -> None:
    await asyncio.sleep(0.005)


def test_tag_is_listed_with_what_it_points_to(alice: Person) -> None:
    platform = config(variant="v8", architecture="arm64")
    digest = make_image(alice, "1.0", "latest", platform=platform, layers=2)

    one, other = listed(alice)

    assert one | {"pushed_at": ""} == {
        "name": "1.0",
        "digest": digest,
        "media_type": OCI_MANIFEST,
        "artifact_type": CONFIG,
        "platforms": ["linux/arm64/v8"],
        "size_bytes": len(platform) + 2000,
        "pushed_at": "",
        "pushed_by": "alice",
        "pulls": 0,
        "pulled_at": None,
        "digest_pulls": 0,
        "digest_pulled_at": None,
        "is_pinned": False,
        "immutable_rule": None,
        "same_digest": ["latest"],
        "has_more_same_digest": False,
    }
    assert other["same_digest"] == ["1.0"]
    assert datetime.fromisoformat(one["pushed_at"]) > datetime.now(UTC) - timedelta(minutes=1)


def test_index_has_the_platforms_of_its_children_and_counts_what_they_share_once(alice: Person) -> None:
    shared = push_blob(alice, some_bytes(5000))
    children, size = [], 5000
    for architecture in ("amd64", "arm64"):
        platform = push_blob(alice, config(architecture=architecture))
        child = image(platform, [shared])
        push(alice, child)
        said = {"os": "linux", "architecture": architecture}
        children.append(descriptor(encode(child), OCI_MANIFEST, platform=said))
        size += len(platform)
    attestation = image(push_blob(alice, config(os="unknown")), [])
    push(alice, attestation)
    unknown = {"os": "unknown", "architecture": "unknown"}
    children.append(descriptor(encode(attestation), OCI_MANIFEST, platform=unknown))
    size += attestation["config"]["size"]
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}
    push(alice, document, "multi")
    push(alice, index([document]), "nested")

    multi, nested = listed(alice, sort="name")

    assert multi["platforms"] == ["linux/amd64", "linux/arm64"]
    assert multi["size_bytes"] == nested["size_bytes"] == size


def test_size_tells_nothing_of_a_layer_that_another_has(alice: Person) -> None:
    there, nowhere = some_bytes(3000), some_bytes(3000)
    path = f"/v2/alice/other/blobs/uploads/?digest={digest_of(there)}"
    assert alice.secret is not None
    assert alice.registry.send("POST", path, there, [basic(alice.name, alice.secret)]).status == 201
    foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar"
    for tag, layer in (("there", there), ("nowhere", nowhere)):
        push(alice, {**image(push_blob(alice, b"{}")), "layers": [descriptor(layer, foreign)]}, tag)

    assert [each["size_bytes"] for each in listed(alice)] == [len(b"{}")] * 2


def test_config_that_says_no_platform_gives_none(alice: Person) -> None:
    for tag, content in (
        ("a", b"{}"),
        ("b", b"no JSON"),
        ("c", json.dumps({"os": "a b", "architecture": "x"}).encode()),
        ("d", json.dumps({"os": "linux", "architecture": "amd64", "x": "y" * 65_536}).encode()),
        ("e", json.dumps({"os": ["linux"], "architecture": {}}).encode()),
    ):
        make_image(alice, tag, platform=content)

    assert [each["platforms"] for each in listed(alice)] == [[]] * 5


def test_more_tags_of_one_digest_than_are_shown_are_said_to_be_there(alice: Person) -> None:
    make_image(alice, *(f"t{number:02d}" for number in range(22)))

    first = listed(alice, sort="name")[0]

    assert first["same_digest"] == [f"t{number:02d}" for number in range(1, 21)]
    assert first["has_more_same_digest"]


@pytest.mark.parametrize(
    "query",
    [
        {"after": "x"},
        {"after": "a b c"},
        {"sort": "time", "after": "x 1.0"},
        {"sort": "time", "after": " 1.0"},
        {"sort": "size"},
        {"match": "re:("},
        {"match": "a/b"},
        {"n": 0},
    ],
)
def test_page_that_cannot_be_is_refused(alice: Person, query: dict[str, object]) -> None:
    make_image(alice, "1.0")

    refused = alice.ask("GET", f"/tags/{REPOSITORY}?{urlencode(query)}")

    assert (refused.status, codes(refused)) == (400, ["FIELD_INVALID"])


@pytest.mark.parametrize("path", ["tags", "history"])
def test_tags_of_another_are_not_there(alice: Person, bob: Person, path: str) -> None:
    make_image(alice, "1.0")

    there, missing = bob.ask("GET", f"/{path}/alice/app"), bob.ask("GET", f"/{path}/alice/xyz")

    assert (there.status, missing.status) == (404, 404)
    assert there.body.replace(b"app", b"xyz") == missing.body


# pulls


def test_pulls_are_counted_by_tag_and_by_digest(alice: Person) -> None:
    digest = make_image(alice, "1.0", "latest")
    for method, reference in (
        ("GET", "1.0"),
        ("HEAD", "1.0"),
        ("GET", digest),
        ("GET", "none"),
        ("GET", ABSENT),
    ):
        send(alice, method, f"manifests/{reference}")
    write_pulls(alice)
    send(alice, "GET", f"manifests/{'sha512:' + '0' * 128}")
    send(alice, "GET", "manifests/1.0")
    write_pulls(alice)

    one, latest = listed(alice)

    assert (one["name"], one["pulls"], one["digest_pulls"]) == ("1.0", 3, 1)
    assert (latest["pulls"], latest["pulled_at"], latest["digest_pulls"]) == (0, None, 1)
    assert datetime.fromisoformat(one["pulled_at"]) > datetime.now(UTC) - timedelta(minutes=1)


def test_pulls_are_written_when_the_registry_stops(alice: Person) -> None:
    make_image(alice, "1.0")
    send(alice, "GET", "manifests/1.0")

    alice.registry.close()
    alice.registry.open()

    assert listed(alice)[0]["pulls"] == 1


def test_pulls_of_a_deleted_tag_leave_nothing(alice: Person) -> None:
    make_image(alice, "1.0", "kept")
    send(alice, "GET", "manifests/1.0")
    write_pulls(alice)
    send(alice, "GET", "manifests/1.0")
    alice.do("DELETE", f"/tags/{REPOSITORY}?tag=1.0")
    write_pulls(alice)

    make_image(alice, "1.0")

    assert [each["pulls"] for each in listed(alice)] == [0, 0]


# history


def events(who: Person, **query: object) -> list[tuple[str, str | None, str | None, str]]:
    items = who.get(f"/history/{REPOSITORY}?{urlencode(query)}")["items"]
    return [(each["tag"], each["from_digest"], each["to_digest"], each["by"]) for each in items]


def test_history_tells_every_move_and_deletion(alice: Person, admin: Person) -> None:
    first = make_image(alice, "latest")
    second = make_image(admin, "latest", "1.0")
    alice.do("DELETE", f"/tags/{REPOSITORY}?tag=latest")

    assert events(alice, tag="latest") == [
        ("latest", second, None, "alice"),
        ("latest", first, second, "root"),
        ("latest", None, first, "alice"),
    ]
    assert events(alice)[0] == ("latest", second, None, "alice")
    assert len(events(alice)) == 4
    assert events(alice, tag="none") == []


@pytest.mark.parametrize("query", [{}, {"tag": "latest"}])
def test_pages_of_history_hold_each_move_once(alice: Person, query: dict[str, str]) -> None:
    for _ in range(3):
        make_image(alice, "latest", "1.0")
    whole = events(alice, **query)
    found: list[Any] = []
    after: str | None = ""
    while after is not None:
        page = alice.get(f"/history/{REPOSITORY}?{urlencode({**query, 'n': 1, 'after': after})}")
        found += page["items"]
        after = page["next"]

    assert [(each["tag"], each["from_digest"], each["to_digest"], each["by"]) for each in found] == whole
    assert len(whole) == (3 if query else 6)
    other = "1" if not query else "1 latest 1"
    assert alice.ask("GET", f"/history/{REPOSITORY}?{urlencode({**query, 'after': other})}").status == 400


def restore(who: Person, **body: object) -> Any:
    return who.ask("POST", f"/history/{REPOSITORY}", body)


def test_tag_goes_back_to_where_it_was(alice: Person) -> None:
    first = make_image(alice, "latest")
    then = datetime.now(UTC).isoformat()
    alice.registry.loop.run_until_complete(_a_while())
    second = make_image(alice, "latest")

    back = restore(alice, tag="latest", at=then)
    assert (back.status, json.loads(back.body)) == (200, {"tag": "latest", "digest": first, "also": []})
    assert send(alice, "GET", "manifests/latest")["docker-content-digest"] == first
    assert restore(alice, tag="latest", to=second).status == 200
    assert send(alice, "GET", "manifests/latest")["docker-content-digest"] == second
    assert events(alice, tag="latest")[0][1:3] == (first, second)


def test_deleted_tag_comes_back(alice: Person, admin: Person) -> None:
    digest = make_image(alice, "1.0", "latest")
    then = datetime.now(UTC).isoformat()
    alice.registry.loop.run_until_complete(_a_while())
    alice.do("DELETE", f"/tags/{REPOSITORY}?tag=1.0")

    assert restore(alice, tag="1.0", at=then).status == 200
    assert send(alice, "GET", "manifests/1.0")["docker-content-digest"] == digest
    done = admin.get("/audit?action=tag.restore")["items"]
    assert [(each["actor"], each["target"], each["detail"]) for each in done] == [
        ("alice", REPOSITORY, f"1.0 {digest}")
    ]


def test_tag_that_was_nowhere_then_is_not_put_back(alice: Person) -> None:
    before = datetime.now(UTC).isoformat()
    alice.registry.loop.run_until_complete(_a_while())
    make_image(alice, "1.0")
    alice.do("DELETE", f"/tags/{REPOSITORY}?tag=1.0")
    after = datetime.now(UTC) + timedelta(seconds=1)

    early, late = restore(alice, tag="1.0", at=before), restore(alice, tag="1.0", at=after.isoformat())

    assert (early.status, codes(early)) == (late.status, codes(late)) == (409, ["TAG_NOT_RESTORED"])
    assert b"was not there yet" in early.body
    assert b"had been deleted" in late.body


def test_tag_is_not_put_back_to_what_is_not_there(alice: Person) -> None:
    make_image(alice, "1.0")

    refused = restore(alice, tag="1.0", to=ABSENT)

    assert (refused.status, codes(refused)) == (409, ["TAG_NOT_RESTORED"])
    assert b"push it again" in refused.body


@pytest.mark.parametrize(
    "body",
    [
        {"tag": "1.0"},
        {"tag": "1.0", "at": "2026-01-31T08:00:00Z", "to": ABSENT},
        {"tag": "1.0", "at": "2026-01-31T08:00:00"},
        {"tag": "1.0", "to": "latest"},
        {"tag": "-", "to": ABSENT},
    ],
)
def test_restore_that_says_nothing_clear_is_refused(alice: Person, body: dict[str, Any]) -> None:
    make_image(alice, "1.0")

    assert restore(alice, **body).status == 400


def test_tags_are_changed_by_whoever_may(alice: Person, bob: Person) -> None:
    digest = make_image(alice, "1.0")
    alice.post("/grants", to="account bob", pattern="alice/*", actions=["pull"])

    assert restore(bob, tag="1.0", to=digest).status == 403
    for method, path in (("DELETE", "tags"), ("PUT", "pins"), ("DELETE", "pins")):
        assert bob.ask(method, f"/{path}/{REPOSITORY}?tag=1.0").status == 403
    alice.post("/grants", to="account bob", pattern="alice/*", actions=["push"])
    assert restore(bob, tag="1.0", to=digest).status == 200
    assert bob.ask("PUT", f"/pins/{REPOSITORY}?tag=1.0").status == 204
    assert bob.ask("DELETE", f"/tags/{REPOSITORY}?tag=1.0").status == 403


# pins


def test_tag_is_pinned_and_unpinned(alice: Person, admin: Person) -> None:
    make_image(alice, "1.0")

    for _ in range(2):
        alice.do("PUT", f"/pins/{REPOSITORY}?tag=1.0")
    assert listed(alice)[0]["is_pinned"]
    alice.do("DELETE", f"/pins/{REPOSITORY}?tag=1.0")
    assert not listed(alice)[0]["is_pinned"]
    assert alice.ask("DELETE", f"/pins/{REPOSITORY}?tag=1.0").status == 404
    assert alice.ask("PUT", f"/pins/{REPOSITORY}?tag=none").status == 404
    actions = [each["action"] for each in admin.get("/audit?target=alice/app")["items"]]
    assert actions[:3] == ["tag.unpin", "tag.pin", "tag.pin"]
