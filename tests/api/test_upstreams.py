"""Upstreams over the API: who is told what, what is refused, and what no one ever sees."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from moorage.clock import now_ms
from moorage.config_file import load
from moorage.database import Transaction
from moorage.mirrors import line_rows, rows
from moorage.mirrors.line_rows import Line
from moorage.mirrors.saving import today
from moorage.oci.names import RepositoryName
from moorage.registry.repositories.rows import ensure_repository
from tests.api.client import ADMIN, PASSWORD, Person, codes
from tests.config.test_mirrors import PRIVATE
from tests.content import OCI_MANIFEST, digest_of, encode, image
from tests.registry.in_process import InProcess

SECRET = "hunter2-and-more"
HUB = "https://registry-1.docker.io"
NAME = RepositoryName("docker.io/library/nginx")


def add(admin: Person, name: str = "docker.io", **fields: object) -> dict[str, object]:
    """A new upstream."""
    made: dict[str, object] = admin.post("/upstreams", name=name, **fields)
    return made


def mirror(registry: InProcess, name: RepositoryName = NAME, upstream: str = "docker.io") -> None:
    """Let there be a repository of an upstream."""

    def work(tx: Transaction) -> None:
        rows.mark_mirrored(tx, ensure_repository(tx, name), upstream)

    registry.run(registry.db.write(work))


def test_docker_hub_needs_no_more_than_its_name(admin: Person) -> None:
    made = add(admin)

    assert made == {
        "name": "docker.io",
        "url": HUB,
        "username": "",
        "has_password": False,
        "has_authority": False,
        "hosts": ["registry-1.docker.io", "index.docker.io"],
        "alternatives": [],
        "alternatives_may": "new",
        "is_root": False,
        "include": [],
        "exclude": [],
        "platforms": [],
        "pins": [],
        "freshness_s": 900,
        "budget_bytes": None,
        "bandwidth": [],
        "is_configured": False,
    }
    assert admin.get("/upstreams/docker.io") == made
    assert admin.get("/upstreams") == {"items": [made], "next": None}


def test_any_registry_that_is_called_by_its_host_needs_no_address(admin: Person) -> None:
    assert add(admin, "ghcr.io")["url"] == "https://ghcr.io"


def test_upstream_is_in_force_at_once(registry: InProcess, admin: Person) -> None:
    services = registry._dispatch._services  # type: ignore[union-attr] # it is open
    add(admin)
    assert [each.name for each in services.mirrors.upstreams.all] == ["docker.io"]

    admin.do("PUT", "/upstreams/docker.io/disconnection")
    (upstream,) = services.mirrors.upstreams.all
    assert services.mirrors.upstreams.is_disconnected(upstream)

    admin.do("DELETE", "/upstreams/docker.io")
    assert services.mirrors.upstreams.all == ()


def test_secret_never_comes_out(
    registry: InProcess, admin: Person, capfd: pytest.CaptureFixture[str]
) -> None:
    sign_in = {"username": "me", "password": SECRET}
    made = add(admin, **sign_in, alternatives=[{"url": "https://b.example", **sign_in}])
    admin.do("PATCH", "/upstreams/docker.io", {"freshness_s": 60})
    admin.do("PATCH", "/upstreams/docker.io", {"url": "https://new.example", "password": f"{SECRET}!"})
    admin.ask("PATCH", "/upstreams/docker.io", {"password": f"{SECRET}\n"})
    for path in ("/upstreams", "/upstreams/docker.io", "/upstreams/status", "/savings", "/audit"):
        admin.get(path)
    metrics = registry.send("GET", "/metrics", headers=admin.headers())

    assert (made["username"], made["has_password"]) == ("me", True)
    assert metrics.status == 200
    assert b'upstream="docker.io"' in metrics.body
    shown = b"".join(admin.bodies) + metrics.body + "".join(capfd.readouterr()).encode()
    assert SECRET.encode() not in shown


@pytest.mark.parametrize("url", PRIVATE)
def test_b107_address_that_is_not_public_is_refused(admin: Person, url: str) -> None:
    reply = admin.ask("POST", "/upstreams", {"name": "lan", "url": url})

    assert reply.status == 400
    assert codes(reply) == ["FIELD_INVALID"]
    assert admin.get("/upstreams")["items"] == []


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "gopher://registry.example",
        "https://me:pass@registry.example",
        "https://registry.example:22",
        "https://registry.example\\@127.0.0.1",
        "https://registry.example/?x",
    ],
)
def test_b110_address_that_is_none_is_refused(admin: Person, url: str) -> None:
    for body in ({"url": url}, {"alternatives": [{"url": url}]}):
        assert admin.ask("POST", "/upstreams", {"name": "x.example", **body}).status == 400


def test_b114_stored_secret_goes_to_no_other_address(admin: Person) -> None:
    add(admin, username="me", password=SECRET)
    other = {"url": "https://evil.example"}

    changed = admin.ask("PATCH", "/upstreams/docker.io", other)
    tested = admin.ask("POST", "/upstreams/docker.io/test", other)

    assert (changed.status, tested.status) == (400, 400)
    assert changed.json["errors"][0]["detail"]["field"] == "password"
    assert admin.get("/upstreams/docker.io")["url"] == HUB


def test_name_is_taken_once(admin: Person) -> None:
    add(admin)

    assert codes(admin.ask("POST", "/upstreams", {"name": "docker.io"})) == ["NAME_TAKEN"]


def test_field_that_there_is_not_is_told(admin: Person) -> None:
    reply = admin.ask("POST", "/upstreams", {"name": "docker.io", "urls": "x"})

    assert reply.json["errors"][0]["detail"]["field"] == "urls"


def test_status_says_how_the_lines_are(registry: InProcess, admin: Person, auditor: Person) -> None:
    add(admin, alternatives=[{"url": "https://b.example"}])
    mirror(registry)
    at = now_ms()
    line = Line("open", 3, at, at + 5000, "no one answers", at, at - 1000, 100, 7, at)
    registry.run(registry.db.write(lambda tx: line_rows.put_line(tx, "docker.io", HUB, line)))
    admin.do("PUT", "/upstreams/docker.io/disconnection")

    status = auditor.get("/upstreams/docker.io/status")

    assert [each["state"] for each in status["lines"]] == ["open", "closed"]
    assert status["lines"][0]["last_error"] == "no one answers"
    assert (status["lines"][0]["quota_left"], status["lines"][0]["quota_limit"]) == (7, 100)
    assert (status["is_connected"], status["disconnected_by"]) == (False, ADMIN)
    assert (status["repositories"], status["kept_bytes"]) == (1, 0)
    assert auditor.get("/upstreams/status")["items"] == [status]


def test_metrics_say_how_the_lines_are(registry: InProcess, admin: Person) -> None:
    add(admin)
    at = now_ms()
    line = Line("open", 3, at, at + 5000, "no one answers", at, at - 1000, 100, 7, at)
    registry.run(registry.db.write(lambda tx: line_rows.put_line(tx, "docker.io", HUB, line)))

    text = registry.send("GET", "/metrics", headers=admin.headers()).body.decode()

    place = f'address="{HUB}",'
    assert f'moorage_upstream_state{{{place}state="open",upstream="docker.io"}} 1.0' in text
    assert f'moorage_upstream_state{{{place}state="closed",upstream="docker.io"}} 0.0' in text
    assert f'moorage_upstream_quota_left{{{place[:-1]},upstream="docker.io"}} 7.0' in text


def test_savings_are_told_by_day(registry: InProcess, admin: Person) -> None:
    savings = registry._dispatch._services.mirrors.savings  # type: ignore[union-attr] # it is open
    savings.count("docker.io", "served_bytes", 100)
    savings.count("docker.io", "fetched_bytes", 40)
    savings.count("docker.io", "hits", 3)
    savings.count("docker.io", "misses", 1)
    registry.run(savings.write())

    found = admin.get("/savings")

    assert (found["total"]["saved_bytes"], found["total"]["hit_rate"]) == (60, 0.75)
    assert [each["day"] for each in found["days"]] == [today().isoformat()]
    assert found["upstreams"] == [{"upstream": "docker.io", "counted": found["total"]}]
    assert admin.get("/savings?until=2020-01-01")["days"] == []


@pytest.mark.parametrize(
    "query", ["since=x", "until=2026-13-01", "since=2026-02-01&until=2026-01-01", "since=2020-01-01"]
)
def test_days_that_are_none_are_refused(admin: Person, query: str) -> None:
    assert admin.ask("GET", f"/savings?{query}").status == 400


def push(registry: InProcess, person: Person, repository: str, tag: str) -> None:
    """An image whose layer is sent only where it is not there."""
    config = b"{}" + b" " * 1000
    headers = person.headers()
    digest = digest_of(config)
    if registry.send("HEAD", f"/v2/{repository}/blobs/{digest}", b"", headers).status == 404:
        target = f"/v2/{repository}/blobs/uploads/?digest={digest}"
        assert registry.send("POST", target, config, headers).status == 201
    reply = registry.send(
        "PUT",
        f"/v2/{repository}/manifests/{tag}",
        encode(image(config, tag=tag)),
        [*headers, ("Content-Type", OCI_MANIFEST)],
    )
    assert reply.status == 201


def test_what_a_push_need_not_send_is_counted(registry: InProcess, admin: Person) -> None:
    savings = registry._dispatch._services.mirrors.savings  # type: ignore[union-attr] # it is open
    push(registry, admin, "root/app", "1")
    registry.run(savings.write())
    assert admin.get("/savings")["total"]["push_skipped_bytes"] == 0

    push(registry, admin, "root/app", "2")
    registry.run(savings.write())

    assert admin.get("/savings")["total"]["push_skipped_bytes"] == 1002
    text = registry.send("GET", "/metrics", headers=admin.headers()).body.decode()
    assert "moorage_push_skipped_bytes_total 1002.0" in text


def test_mirrored_repository_keeps_its_name(registry: InProcess, admin: Person) -> None:
    add(admin)
    mirror(registry)

    renamed = admin.ask("PATCH", f"/repositories/{NAME}", {"name": "team/nginx"})

    assert codes(renamed) == ["UPSTREAM_STATE_INVALID"]
    assert admin.get(f"/repositories/{NAME}")["name"] == NAME


def test_mirrored_repository_comes_back_as_one_under_its_name_only(
    registry: InProcess, admin: Person
) -> None:
    add(admin)
    mirror(registry)
    deletion = admin.do("DELETE", f"/repositories/{NAME}")["deletion"]
    path = f"/deleted-repositories/{deletion}/restore"

    assert codes(admin.ask("POST", path, {"name": "team/nginx"})) == ["UPSTREAM_STATE_INVALID"]
    assert admin.do("POST", path, {"name": NAME}) == {"name": NAME}
    assert registry.run(rows.find_upstream(registry.db, NAME)) == (True, "docker.io")


def test_removal_says_what_became_of_the_images(registry: InProcess, admin: Person) -> None:
    add(admin)
    mirror(registry)
    assert codes(admin.ask("DELETE", "/upstreams/docker.io")) == ["UPSTREAM_STATE_INVALID"]

    assert admin.do("DELETE", "/upstreams/docker.io?images=delete") == {"kept": 0, "deleted": 1}

    assert [each["name"] for each in admin.get("/deleted-repositories")["items"]] == [NAME]
    assert admin.get("/upstreams")["items"] == []


@pytest.fixture
def configured(tmp_path: Path) -> Iterator[Person]:
    """The administrator of a registry with an upstream in its settings, and deleting switched off."""
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    settings = tmp_path / "moorage.toml"
    settings.write_text(
        f'[[mirrors.upstreams]]\nname = "ghcr.io"\nusername = "me"\npassword_file = "{secret}"\n'
        "[delete]\nenabled = false\n"
    )
    running = InProcess(tmp_path / "data")
    loaded = load(settings, {})
    running.settings = replace(loaded, storage=running.settings.storage)
    running.open()
    Person(running, secret=None).post("/accounts", name=ADMIN, password=PASSWORD)
    yield Person(running, ADMIN)
    running.end()


def test_upstream_of_the_settings_is_shown_and_switched_but_not_changed(configured: Person) -> None:
    (found,) = configured.get("/upstreams")["items"]

    assert (found["name"], found["is_configured"], found["has_password"]) == ("ghcr.io", True, True)
    assert configured.get("/namespaces/ghcr.io")["visibility"] == "private"
    for method, body in (("PATCH", {"freshness_s": 1}), ("DELETE", None)):
        assert codes(configured.ask(method, "/upstreams/ghcr.io", body)) == ["UPSTREAM_STATE_INVALID"]
    assert configured.do("PUT", "/upstreams/disconnection") == {"upstreams": ["ghcr.io"]}
    assert SECRET.encode() not in b"".join(configured.bodies)


def test_images_are_not_deleted_where_nothing_is(configured: Person) -> None:
    add(configured)
    mirror(configured.registry)

    assert configured.ask("DELETE", "/upstreams/docker.io?images=delete").status == 405
    assert configured.do("DELETE", "/upstreams/docker.io?images=keep") == {"kept": 1, "deleted": 0}
