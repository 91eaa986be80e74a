"""Rules of retention by the API: who may make them, what they are said to do, and their runs."""

from typing import Any

import pytest

from tests.api.client import Person, codes, person
from tests.api.test_repositories import push, send


def rule(who: Person, scope: str = "alice/*", pattern: str = "*", **more: Any) -> Any:
    return who.post("/retention/rules", scope=scope, pattern=pattern, **(more or {"keep_newest": 1}))


def images(who: Person, name: str, *tags: str) -> None:
    """The image of a repository under these tags, one after another."""
    push(who, name)
    found = send(who, "GET", f"{name}/manifests/latest")
    for tag in tags:
        kind = ("Content-Type", found["content-type"])
        assert send(who, "PUT", f"{name}/manifests/{tag}", found.body, kind).status == 201


def test_rule_is_shown_as_it_was_made_and_in_words(alice: Person) -> None:
    made = rule(alice, pattern="v*", keep_newest=10, newest_by="version", keep_pulled_s=30 * 86_400)

    assert made == alice.get(f"/retention/rules/{made['id']}")
    assert alice.get("/retention/rules")["items"] == [made]
    assert made["says"] == "of v* keep the newest 10 by version, or pulled within 30d"
    assert made["in_effect_from"] > made["created_at"]


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("keep_newest", {}),
        ("keep_newest", {"keep_newest": 0}),
        ("keep_newest", {"keep_newest": 1001}),
        ("keep_pushed_s", {"keep_pushed_s": 60}),
        ("keep_pulled_s", {"keep_pulled_s": -1}),
        ("newest_by", {"keep_newest": 1, "newest_by": "size"}),
        ("pattern", {"keep_newest": 1, "pattern": "re:("}),
        ("pattern", {"keep_newest": 1, "pattern": "a b"}),
        ("pattern", {"keep_newest": 1, "pattern": ""}),
    ],
)
def test_rule_that_says_nothing_or_nonsense_is_refused(
    alice: Person, field: str, fields: dict[str, Any]
) -> None:
    reply = alice.ask("POST", "/retention/rules", {"scope": "alice/*", "pattern": "*", **fields})

    assert (reply.status, codes(reply)) == (400, ["FIELD_INVALID"])
    assert reply.json["errors"][0]["detail"]["field"] == field


def test_rules_are_for_who_administers_all_that_they_name(
    admin: Person, alice: Person, bob: Person, auditor: Person
) -> None:
    made = rule(alice)
    path = f"/retention/rules/{made['id']}"

    body = {"scope": "alice/app", "pattern": "*", "keep_newest": 1}
    for scope in ("alice/app", "*", "alice*/app"):
        assert bob.ask("POST", "/retention/rules", {**body, "scope": scope}).status == 403
    assert alice.ask("POST", "/retention/rules", {**body, "scope": "*"}).status == 403
    assert (bob.ask("GET", path).status, bob.ask("DELETE", path).status) == (404, 404)
    assert (auditor.ask("GET", path).status, auditor.ask("DELETE", path).status) == (200, 403)
    assert bob.get("/retention/rules")["items"] == []
    assert bob.ask("POST", "/retention/runs", {"scope": "alice/app"}).status == 403
    alice.do("DELETE", path)
    noted = [each["action"] for each in admin.get("/audit?action=retention.delete")["items"]]
    assert noted == ["retention.delete"]


def test_plan_names_each_tag_and_what_decided(alice: Person) -> None:
    images(alice, "alice/app", "v1", "v2")
    number = rule(alice, pattern="v*")["id"]

    planned = alice.get("/retention/plan?scope=alice/app")

    assert planned["next"] is None
    said = {each["tag"]: (each["decision"], each["rule"], each["why"]) for each in planned["items"]}
    assert said == {
        "latest": ("keep", None, "no rule names it"),
        "v1": ("remove", number, "not one of the newest 1 by time"),
        "v2": ("keep", number, "one of the newest 1 by time"),
    }
    # the image has other tags
    assert sum(each["frees_bytes"] for each in planned["items"]) == 0


def test_plan_of_a_pattern_is_read_page_by_page(alice: Person) -> None:
    for name in ("a", "b", "c"):
        images(alice, f"alice/{name}", "v1")
    rule(alice)

    pages, after = [], ""
    while after is not None:
        page = alice.get(f"/retention/plan?scope=alice/*&n=1&after={after}")
        pages.append([(each["repository"], each["tag"]) for each in page["items"]])
        after = page["next"]

    assert pages == [[(f"alice/{each}", "latest"), (f"alice/{each}", "v1")] for each in "abc"]
    assert alice.ask("GET", "/retention/plan?scope=alice/*&after=@").status == 400
    assert alice.ask("GET", "/retention/plan?scope=A").status == 400


def test_plan_shows_what_one_may_pull(admin: Person, alice: Person, bob: Person) -> None:
    images(alice, "alice/app")
    images(bob, "bob/app")
    rule(admin, "*")

    assert {each["repository"] for each in bob.get("/retention/plan")["items"]} == {"bob/app"}
    images(bob, "bob/zoo")
    images(admin, "carol/app")
    # not even as a place in the list
    assert bob.get("/retention/plan?n=1")["next"] == "bob/app"
    assert bob.get("/retention/plan?n=1&after=bob/app")["next"] is None
    assert {each["repository"] for each in admin.get("/retention/plan")["items"]} == {
        "alice/app",
        "bob/app",
        "bob/zoo",
        "carol/app",
    }
    there, missing = (bob.ask("GET", f"/retention/plan?scope=alice/{name}") for name in ("app", "xyz"))
    assert (there.status, missing.status) == (404, 404)
    assert there.body.replace(b"app", b"xyz") == missing.body


def test_run_is_a_job_of_whoever_asked_and_ends_the_wait_of_rules_in_it(admin: Person, alice: Person) -> None:
    images(alice, "alice/app", "v1")
    broad, own = rule(admin, "*"), rule(alice)

    job = alice.do("POST", "/retention/runs", {"scope": "alice/*"}, 202)

    assert (job["kind"], job["state"], job["created_by"]) == ("retention", "queued", "alice")
    assert job["arguments"] == {"scope": "alice/*", "begun_to": own["id"]}
    assert alice.get(f"/jobs/{job['id']}")["id"] == job["id"]
    # one of a pattern at a time
    assert alice.do("POST", "/retention/runs", {"scope": "alice/*"}, 202)["id"] == job["id"]
    found = {each["id"]: each["in_effect_from"] for each in admin.get("/retention/rules")["items"]}
    assert found[own["id"]] < own["in_effect_from"]
    assert found[broad["id"]] == broad["in_effect_from"]


def test_rule_that_is_removed_is_unknown(alice: Person) -> None:
    made = rule(alice)
    alice.do("DELETE", f"/retention/rules/{made['id']}")

    assert codes(alice.ask("DELETE", f"/retention/rules/{made['id']}")) == ["RULE_UNKNOWN"]


def test_member_without_rights_sees_no_plan_of_another(admin: Person, alice: Person) -> None:
    images(alice, "alice/app")
    rule(alice)

    assert person(admin, "carol").get("/retention/plan")["items"] == []
