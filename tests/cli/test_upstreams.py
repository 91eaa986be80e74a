"""`moorage upstream` and `moorage savings`: on a folder and over the network, in front of a real registry."""

import hashlib
import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cli.commands import Ran, moorage
from tests.servers import ServerProcess, find_free_port

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LAYER = b"a layer ".ljust(100_000, b".")
SECRET = "hunter2-and-more"


def send(server: ServerProcess, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request(method, path, body, {"Content-Type": MANIFEST})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def push(server: ServerProcess, name: str, tag: str) -> str:
    """An image of one layer; the layer's digest."""
    descriptors = []
    for blob in (b"{}", LAYER):
        digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
        target = f"/v2/{name}/blobs/{digest}"
        if send(server, "HEAD", target)[0] == 404:
            assert send(server, "POST", f"/v2/{name}/blobs/uploads/?digest={digest}", blob)[0] == 201
        descriptors.append({"mediaType": "application/x", "digest": digest, "size": len(blob)})
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptors[0],
        "layers": descriptors[1:],
    }
    assert send(server, "PUT", f"/v2/{name}/manifests/{tag}", json.dumps(manifest).encode())[0] == 201
    return str(descriptors[1]["digest"])


class Two(NamedTuple):
    """A registry, and one on the same machine that may mirror it."""

    upstream: ServerProcess
    mirror: ServerProcess
    settings: Path

    def run(self, *arguments: str, stdin: str = "") -> Ran:
        """A command on the mirror's folder."""
        local = ("--data", self.mirror.data_dir, "--config", self.settings)
        return moorage(*arguments, *local, stdin=stdin)

    def add(self, *options: str) -> Ran:
        return self.run("upstream", "add", "lan", "--url", self.upstream.url, *options)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    settings = tmp_path / "moorage.toml"
    settings.write_text('[mirrors]\nprivate_addresses = ["127.0.0.0/8"]\n')
    with (
        ServerProcess(tmp_path / "upstream", "--workers", "1") as upstream,
        ServerProcess(tmp_path / "data", "--workers", "1", "--config", str(settings)) as mirror,
    ):
        yield Two(upstream, mirror, settings)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that nothing serves; each test makes upstreams of names of its own."""
    data = tmp_path_factory.mktemp("folder") / "alone"
    with ServerProcess(data, "--workers", "1"):
        pass
    return data


def test_docker_hub_needs_no_more_than_its_name(alone: Path) -> None:
    added = moorage("upstream", "add", "docker.io", "--data", alone).check().out
    shown = moorage("upstream", "show", "docker.io", "--json", "--data", alone).json()
    listed = moorage("upstream", "list", "--data", alone).check().out

    assert added.startswith(
        "docker.io is mirrored from https://registry-1.docker.io: pull it as HOST/docker.io/library/nginx.\n"
    )
    assert shown["hosts"] == ["registry-1.docker.io", "index.docker.io"]
    assert [line.split() for line in listed.splitlines()] == [
        ["NAME", "ADDRESS", "USER", "ROOT", "ALTERNATIVES", "BUDGET", "FROM"],
        ["docker.io", "https://registry-1.docker.io", "-", "no", "-", "all", "upstream", "add"],
    ]


def test_registry_that_is_called_by_its_host_needs_no_address(alone: Path) -> None:
    for name in ("ghcr.io", "registry.k8s.io"):
        made = moorage("upstream", "add", name, "--json", "--data", alone).json()

        assert made["url"] == f"https://{name}"


def test_every_option_is_sent_and_can_be_changed(alone: Path) -> None:
    local = ("--data", alone)
    made = moorage(
        *("upstream", "add", "lan", "--url", "https://lan.example", "--host", "lan.example:5000"),
        *("--username", "me", "--password-stdin", "--alternative", "https://b.example", "--root"),
        *("--alternative", "https://c.example", "--alternatives-may", "known", "--include", "library/*"),
        *("--exclude", "library/old", "--platform", "linux/arm64", "--pin", "library/debian:*-slim"),
        *("--freshness", "1h", "--budget", "200GiB", "--bandwidth", "08:00-18:00 2MiB", "--json", *local),
        stdin=f"{SECRET}\n",
    ).json()
    changed = moorage(
        *(
            "upstream",
            "set",
            "lan",
            "--pin",
            "none",
            "--budget",
            "none",
            "--no-root",
            "--alternative",
            "none",
        ),
        *("--json", *local),
    ).json()

    assert made == {
        "name": "lan",
        "url": "https://lan.example",
        "username": "me",
        "has_password": True,
        "has_authority": False,
        "hosts": ["lan.example:5000"],
        "alternatives": [
            {"url": url, "username": "", "has_password": False, "has_authority": False}
            for url in ("https://b.example", "https://c.example")
        ],
        "alternatives_may": "known",
        "is_root": True,
        "include": ["library/*"],
        "exclude": ["library/old"],
        "platforms": ["linux/arm64"],
        "pins": ["library/debian:*-slim"],
        "freshness_s": 3600,
        "budget_bytes": 200 * 2**30,
        "bandwidth": ["08:00-18:00 2MiB"],
        "is_configured": False,
    }
    assert changed == {**made, "pins": [], "budget_bytes": None, "is_root": False, "alternatives": []}


def test_refusal_says_what_to_do(alone: Path) -> None:
    local = ("--data", alone)

    assert (
        "mirrors.private_addresses"
        in moorage("upstream", "add", "office", "--url", "http://127.0.0.1:5000", *local).refusal
    )
    assert "url" in moorage("upstream", "add", "office", *local).refusal
    assert "there is no such upstream" in moorage("upstream", "status", "none.io", *local).refusal
    assert "say what to change" in moorage("upstream", "set", "office", *local).err
    assert "--budget: want a size" in moorage("upstream", "add", "x.io", "--budget", "x", *local).err


def test_secret_is_asked_for_again_with_another_address(alone: Path) -> None:
    local = ("--data", alone)
    sign_in = ("--username", "me", "--password-stdin")
    moorage("upstream", "add", "quay.io", *sign_in, *local, stdin=SECRET).check()
    other = ("--url", "https://other.example")

    assert "give it again" in moorage("upstream", "set", "quay.io", *other, *local).refusal
    assert "give it again" in moorage("upstream", "test", "quay.io", *other, *local).refusal
    moorage("upstream", "set", "quay.io", *other, "--password-stdin", *local, stdin=SECRET).check()


def test_upstream_is_tested(two: Two) -> None:
    down = f"http://127.0.0.1:{find_free_port()}"
    two.add("--alternative", down).check()

    tested = two.run("upstream", "test", "lan")
    alone = two.run("upstream", "test", "lan", "--url", two.upstream.url, "--json").json()

    assert tested.code == 1
    first, second = tested.out.splitlines()
    assert first.startswith(f"{two.upstream.url}: answers, in ")
    assert second.startswith(f"{down}: ")
    assert "answers" not in second
    assert [each["error"] for each in alone["addresses"]] == [None]


def test_status_and_savings_say_what_was_mirrored(two: Two) -> None:
    digest = push(two.upstream, "team/app", "1")
    two.add().check()
    time.sleep(1.1)
    assert "not asked yet" in two.run("upstream", "status").check().out

    for _ in range(3):
        assert send(two.mirror, "GET", "/v2/lan/team/app/manifests/1")[0] == 200
        assert send(two.mirror, "GET", f"/v2/lan/team/app/blobs/{digest}") == (200, LAYER)
    two.mirror.terminate()

    status = two.run("upstream", "status").check().out
    (facts,) = two.run("upstream", "status", "--json").json()
    savings = two.run("savings").check().out
    saved = two.run("savings", "--json").json()

    assert two.upstream.url in status
    assert "up, answered 20" in status
    assert facts["repositories"] == 1
    assert facts["kept_bytes"] == len(LAYER)
    assert facts["today"]["misses"] == 2
    assert facts["today"]["hits"] == 4
    assert facts["today"]["hit_rate"] == round(4 / 6, 4)
    assert facts["today"]["saved_bytes"] >= 2 * len(LAYER)
    assert facts["today"]["fetched_bytes"] < 1.1 * len(LAYER)
    assert "67%" in status
    assert saved["total"] == facts["month"] == facts["today"]
    assert [line.split()[0] for line in savings.splitlines()] == [
        "DAY",
        saved["until"],
        "together",
        "lan:",
        "On",
    ]


def test_disconnected_upstream_is_not_asked_until_it_is_connected(two: Two) -> None:
    push(two.upstream, "team/app", "1")
    push(two.upstream, "team/other", "1")
    two.add().check()
    time.sleep(1.1)
    assert send(two.mirror, "GET", "/v2/lan/team/app/manifests/1")[0] == 200

    assert two.run("upstream", "disconnect", "lan").check().out.startswith("Disconnected: lan.")
    time.sleep(1.1)
    status = two.run("upstream", "status").check().out
    kept = send(two.mirror, "GET", "/v2/lan/team/app/manifests/1")[0]
    new = send(two.mirror, "GET", "/v2/lan/team/other/manifests/1")[0]

    assert "disconnected by operator, 20" in status
    assert (kept, new) == (200, 504)
    assert two.run("upstream", "disconnect", "lan").check().out == "lan was disconnected already.\n"
    assert two.run("upstream", "connect").check().out == "Connected: lan.\n"
    time.sleep(1.1)
    assert send(two.mirror, "GET", "/v2/lan/team/other/manifests/1")[0] == 200


def test_removal_keeps_or_deletes_the_images(two: Two) -> None:
    push(two.upstream, "team/app", "1")
    two.add().check()
    time.sleep(1.1)
    assert send(two.mirror, "GET", "/v2/lan/team/app/manifests/1")[0] == 200

    assert "say whether to keep" in two.run("upstream", "remove", "lan").refusal
    kept = two.run("upstream", "remove", "lan", "--keep-images").check().out
    time.sleep(1.1)

    assert kept == "lan is no upstream any more.\n1 repositories stay as local ones.\n"
    assert send(two.mirror, "GET", "/v2/lan/team/app/manifests/1")[0] == 200
    push(two.mirror, "lan/team/app", "2")


def test_upstreams_are_managed_over_the_network(
    server: ServerProcess, admin_token: str, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text(admin_token)
    remote = ("--registry", server.url, "--token-file", token)

    moorage("upstream", "add", "quay.io", *remote).check()
    moorage("upstream", "disconnect", *remote).check()
    status = moorage("upstream", "status", "quay.io", "--json", *remote).json()
    moorage("upstream", "remove", "quay.io", *remote).check()

    assert status[0]["disconnected_by"] == "bot.admin"
    assert moorage("upstream", "list", *remote).check().out.startswith("There are no upstreams.")
