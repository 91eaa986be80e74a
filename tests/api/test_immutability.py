"""Tags that stay where they are: whoever asks, by whatever way (B70, B72, D21)."""

import json
from typing import Any

import pytest

from moorage.registry.tags.immutability import PRESETS
from tests.api.client import Person, codes
from tests.api.test_tags import REPOSITORY, config, make_image, push, push_blob, restore, send
from tests.content import ABSENT, OCI_MANIFEST, digest_of, encode, image, some_bytes


def fix(who: Person, pattern: str, scope: str = "alice/*") -> int:
    made: int = who.post("/immutability", scope=scope, pattern=pattern)["id"]
    return made


def put(who: Person, reference: str, payload: bytes) -> Any:
    return send(who, "PUT", f"manifests/{reference}", payload, ("Content-Type", OCI_MANIFEST))


def other_image(who: Person) -> bytes:
    """A manifest that can be pushed, and was not."""
    return encode(image(push_blob(who, config()), [push_blob(who, some_bytes(100))]))


def target_of(who: Person, tag: str) -> str | None:
    reply = send(who, "HEAD", f"manifests/{tag}")
    return reply["docker-content-digest"] if reply.status == 200 else None


def test_b70_fixed_tag_is_not_overwritten_by_its_name(alice: Person) -> None:
    digest = make_image(alice, "1.0")
    rule = fix(alice, "1.*")

    refused = put(alice, "1.0", other_image(alice))

    assert (refused.status, codes(refused)) == (409, ["DENIED"])
    message = json.loads(refused.body)["errors"][0]["message"]
    assert message == (f"the tag is fixed: alice/app:1.0 cannot be moved: rule {rule} (1.* in alice/*)")
    assert target_of(alice, "1.0") == digest


def test_b70_fixed_tag_is_not_overwritten_by_a_parameter(alice: Person) -> None:
    digest = make_image(alice, "1.0")
    fix(alice, "1.*")
    payload = other_image(alice)

    refused = put(alice, f"{digest_of(payload)}?tag=1.0", payload)

    assert (refused.status, codes(refused)) == (409, ["DENIED"])
    assert target_of(alice, "1.0") == digest
    assert send(alice, "HEAD", f"manifests/{digest_of(payload)}").status == 404


def test_b72_one_fixed_tag_of_a_hundred_and_none_is_moved(alice: Person) -> None:
    digest = make_image(alice, "1.0", "latest")
    fix(alice, "1.*")
    payload = other_image(alice)
    query = "&".join(f"tag={tag}" for tag in ["latest", *(f"t{number}" for number in range(98)), "1.0"])

    assert put(alice, f"{digest_of(payload)}?{query}", payload).status == 409
    assert send(alice, "GET", "tags/list").json["tags"] == ["1.0", "latest"]
    assert target_of(alice, "latest") == digest


def test_b70_fixed_tag_is_not_deleted(alice: Person) -> None:
    digest = make_image(alice, "1.0")
    fix(alice, "1.*")

    by_name = send(alice, "DELETE", "manifests/1.0")
    by_api = alice.ask("DELETE", f"/tags/{REPOSITORY}?tag=1.0")

    assert (by_name.status, by_api.status) == (409, 409)
    assert b"cannot be deleted" in by_name.body
    assert target_of(alice, "1.0") == digest


def test_b70_digest_that_a_fixed_tag_points_to_is_not_deleted(alice: Person) -> None:
    digest = make_image(alice, "1.0", "latest")
    fix(alice, "1.*")

    refused = send(alice, "DELETE", f"manifests/{digest}")

    assert (refused.status, codes(refused)) == (409, ["DENIED"])
    assert b"alice/app:1.0" in refused.body
    assert send(alice, "GET", "tags/list").json["tags"] == ["1.0", "latest"]
    assert send(alice, "HEAD", f"manifests/{digest}").status == 200


def test_fixed_tag_is_not_put_back_to_where_it_was(alice: Person) -> None:
    before = make_image(alice, "1.0")
    now = make_image(alice, "1.0")
    fix(alice, "1.*")

    assert restore(alice, tag="1.0", to=before).status == 409
    assert restore(alice, tag="1.0", to=now).status == 200
    assert target_of(alice, "1.0") == now


def test_repository_with_a_fixed_tag_is_not_deleted(alice: Person) -> None:
    make_image(alice, *(f"t{number:04d}" for number in range(99)), "x1")
    rule = fix(alice, "x*")

    refused = alice.ask("DELETE", f"/repositories/{REPOSITORY}")
    assert (refused.status, codes(refused)) == (409, ["DENIED"])
    assert b"alice/app:x1" in refused.body
    alice.do("DELETE", f"/immutability/{rule}")
    assert alice.ask("DELETE", f"/repositories/{REPOSITORY}").status == 200


def test_repository_with_a_fixed_tag_gets_no_other_name(admin: Person, alice: Person) -> None:
    digest = make_image(alice, "1.0")
    rule = fix(admin, "1.*", scope="*/app")

    refused = alice.ask("PATCH", f"/repositories/{REPOSITORY}", {"name": "alice/web"})

    assert (refused.status, codes(refused)) == (409, ["DENIED"])
    assert f"rule {rule} " in refused.body.decode()
    assert target_of(alice, "1.0") == digest
    admin.do("DELETE", f"/immutability/{rule}")
    assert alice.ask("PATCH", f"/repositories/{REPOSITORY}", {"name": "alice/web"}).status == 200


def test_fixed_tag_may_be_pushed_again_as_it_is(alice: Person) -> None:
    held = push_blob(alice, config())
    document = image(held)
    digest = push(alice, document, "1.0")
    fix(alice, "1.*")

    assert put(alice, "1.0", encode(document)).status == 201
    assert put(alice, f"{digest}?tag=1.0", encode(document)).status == 201
    sha512 = digest_of(encode(document), "sha512")
    assert put(alice, f"{sha512}?tag=1.0", encode(document)).status == 201


def test_tag_that_is_new_is_made_and_fixed_from_then_on(alice: Person) -> None:
    fix(alice, "1.*")

    digest = make_image(alice, "1.1", "main")

    assert put(alice, "1.1", other_image(alice)).status == 409
    assert target_of(alice, "1.1") == digest
    assert put(alice, "main", other_image(alice)).status == 201


@pytest.mark.parametrize("suffix", ["", ".sig", ".att", ".sbom"])
def test_signatures_of_a_fixed_image_can_be_written_and_removed(alice: Person, suffix: str) -> None:
    digest = make_image(alice, "1.0")
    fix(alice, "*")
    tag = f"{digest.replace(':', '-')}{suffix}"

    for _ in range(2):
        assert put(alice, tag, other_image(alice)).status == 201
    assert send(alice, "DELETE", f"manifests/{tag}").status == 202
    assert put(alice, "1.0", other_image(alice)).status == 409


def test_what_only_looks_like_a_signature_is_fixed(alice: Person) -> None:
    for tag in ("sha256-abc.sig", "sha256-" + "0" * 64 + ".exe"):
        make_image(alice, tag)
        fix(alice, "*")

        assert put(alice, tag, other_image(alice)).status == 409


@pytest.mark.parametrize(
    ("tag", "is_fixed"),
    [
        ("1.2.3", True),
        ("v1.2.3", True),
        ("V1.2.3-rc.1", True),
        ("1.2.3.4", True),
        ("1.2.3-alpine", True),
        ("3.13.0rc1", True),
        ("2024.01.31", True),
        ("1", False),
        ("1.2", False),
        ("v1.2", False),
        ("latest", False),
        ("main", False),
        ("1.2.x", False),
        ("release-1.2.3", False),
    ],
)
def test_preset_fixes_versions_and_lets_the_rest_move(alice: Person, tag: str, *, is_fixed: bool) -> None:
    make_image(alice, tag)
    fix(alice, PRESETS["versions"])

    assert put(alice, tag, other_image(alice)).status == (409 if is_fixed else 201)


def test_rule_holds_in_its_scope_only(alice: Person) -> None:
    make_image(alice, "1.0")
    fix(alice, "1.*", scope="alice/other")
    fix(alice, "2.*", scope="alice/app")

    assert put(alice, "1.0", other_image(alice)).status == 201


@pytest.mark.parametrize("scope", ["*", "ali*/app", "alice/app", "alice/a*"])
def test_rule_of_any_scope_that_names_the_repository_holds(admin: Person, alice: Person, scope: str) -> None:
    make_image(alice, "1.0")
    fix(admin, "*", scope=scope)

    assert put(alice, "1.0", other_image(alice)).status == 409


def test_rule_holds_for_administrators_until_it_is_removed(admin: Person, alice: Person) -> None:
    make_image(alice, "1.0")
    rule = fix(alice, "*")

    assert put(admin, "1.0", other_image(alice)).status == 409
    alice.do("DELETE", f"/immutability/{rule}")
    assert put(admin, "1.0", other_image(alice)).status == 201


def test_rule_that_is_there_is_not_made_twice(alice: Person) -> None:
    assert fix(alice, "1.*") == fix(alice, "1.*")
    assert len(alice.get("/immutability")["items"]) == 1


def test_namespace_has_a_bounded_number_of_rules(alice: Person) -> None:
    for number in range(100):
        fix(alice, f"{number}")

    assert codes(alice.ask("POST", "/immutability", {"scope": "alice/x", "pattern": "a"})) == [
        "FIELD_INVALID"
    ]


@pytest.mark.parametrize(
    ("scope", "pattern"), [("Alice", "1"), ("alice/*", "re:("), ("alice/*", ""), ("alice/*", "a b")]
)
def test_rule_that_names_nothing_is_refused(alice: Person, scope: str, pattern: str) -> None:
    assert alice.ask("POST", "/immutability", {"scope": scope, "pattern": pattern}).status == 400


def test_rules_are_made_and_removed_by_whoever_administers_the_scope(
    admin: Person, alice: Person, bob: Person, auditor: Person
) -> None:
    rule = fix(alice, "1.*")
    alice.post("/grants", to="account bob", pattern="alice/*", actions=["push", "delete"])

    assert bob.ask("POST", "/immutability", {"scope": "alice/*", "pattern": "x"}).status == 403
    assert bob.ask("POST", "/immutability", {"scope": "*", "pattern": "x"}).status == 403
    assert bob.ask("DELETE", f"/immutability/{rule}").status == 404
    assert bob.get("/immutability")["items"] == []
    assert len(auditor.get("/immutability")["items"]) == 1
    assert auditor.ask("DELETE", f"/immutability/{rule}").status == 403
    alice.do("DELETE", f"/immutability/{rule}")
    done = [
        (each["actor"], each["action"], each["target"], each["detail"])
        for each in admin.get("/audit")["items"]
    ]
    assert ("alice", "immutability.create", "alice/*", "1.*") in done
    assert ("alice", "immutability.delete", "alice/*", "1.*") in done


def test_list_of_tags_names_the_rule_that_fixes_each(alice: Person) -> None:
    make_image(alice, "1.0", "latest", "sha256-" + "0" * 64 + ".sig")
    rule = fix(alice, "re:1.*|sha.*")

    items = alice.get(f"/tags/{REPOSITORY}")["items"]

    assert {each["name"][:6]: each["immutable_rule"] for each in items} == {
        "1.0": rule,
        "latest": None,
        "sha256": None,
    }


def test_d21_trash_gives_back_a_fixed_tag_but_moves_none(alice: Person) -> None:
    before = make_image(alice, "1.0", "old")
    assert send(alice, "DELETE", f"manifests/{before}").status == 202
    make_image(alice, "1.0")
    fix(alice, "*")

    refused = restore(alice, tag="1.0", to=before)
    assert refused.status == 409
    assert send(alice, "HEAD", f"manifests/{before}").status == 404
    back = restore(alice, tag="old", to=before)
    assert (back.status, json.loads(back.body)["also"]) == (200, [])
    assert target_of(alice, "old") == before
    assert target_of(alice, "1.0") != before


def test_tag_comes_back_out_of_the_trash_with_the_tags_that_went_there_with_it(alice: Person) -> None:
    digest = make_image(alice, "1.0", "old")
    assert send(alice, "DELETE", f"manifests/{digest}").status == 202
    assert restore(alice, tag="1.0", to=ABSENT).status == 409

    back = restore(alice, tag="1.0", to=digest)

    assert json.loads(back.body) == {"tag": "1.0", "digest": digest, "also": ["old"]}
    assert (target_of(alice, "1.0"), target_of(alice, "old")) == (digest, digest)
