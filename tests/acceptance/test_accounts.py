"""A team's registry on a network: TLS from the first start, accounts, tokens, and the real clients.

Everything happens in a network of the test's own, where the registry listens on every address and its
clients reach it by one that docker does not trust by itself.
"""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.images import pack_layers
from tests.acceptance.office import PASSWORD, Office
from tests.acceptance.sandbox import Dockerd, Sandbox, require, require_root

ADDRESS = "192.168.77.1"


@pytest.fixture(scope="module")
def network(workspace: Path) -> Iterator[Sandbox]:
    for program in ("docker", "dockerd", "unshare", "nsenter", "ip", "curl"):
        require(program)
    require_root()
    with Sandbox(workspace / "network", ADDRESS) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def docker(network: Sandbox) -> Iterator[Dockerd]:
    with Dockerd(network) as dockerd:
        yield dockerd


@pytest.fixture(scope="module")
def office(network: Sandbox) -> Iterator[Office]:
    with Office(network) as office:
        yield office


@pytest.fixture(scope="module")
def image(docker: Dockerd) -> str:
    return docker.load("acceptance/team:one", pack_layers("team"))


@pytest.fixture(scope="module")
def claimed(office: Office, docker: Dockerd, image: str) -> Office:
    """The registry after its first four lines: started, trusted by docker, signed in to, pushed to."""
    link = office.find_line(r"/claim\?code=")
    trust = office.find_line(r"^  .*curl .*/etc/docker/certs\.d")
    office.claim(link, "ada")

    # the first line was `moorage serve --listen 0.0.0.0:5000`
    assert "trusted" in office.sandbox.run("sh", "-c", trust)
    login(office, "ada", PASSWORD)
    docker("image", "tag", image, f"{office.address}/ada/hello:v1")
    docker("image", "push", f"{office.address}/ada/hello:v1")
    logout(office)
    return office


def login(office: Office, name: str, secret: str) -> str:
    return office.sandbox.say(secret, "docker", "login", "-u", name, "--password-stdin", office.address)


def logout(office: Office) -> None:
    office.sandbox.run("docker", "logout", office.address)


def name_of(office: Office, repository: str, tag: str = "v1") -> str:
    return f"{office.address}/{repository}:{tag}"


def test_four_lines_lead_from_nothing_to_a_push_over_verified_tls(claimed: Office) -> None:
    listed = claimed.sandbox.run(
        "curl", "-s", "--cacert", f"/etc/docker/certs.d/{claimed.address}/ca.crt", "-u", f"ada:{PASSWORD}",
        f"https://{claimed.address}/v2/ada/hello/tags/list",
    )  # fmt: skip

    assert listed == '{"name":"ada/hello","tags":["v1"]}'


def test_claim_link_is_of_no_use_a_second_time(claimed: Office) -> None:
    page = claimed.sandbox.run("curl", "-ks", claimed.find_line(r"/claim\?code="))

    assert "used or has expired" in page


def test_claim_link_is_nowhere_in_the_log(claimed: Office) -> None:
    assert [line for line in claimed.printed.splitlines() if line.startswith("{") and "moor_" in line] == []


def test_docker_keeps_no_password(claimed: Office) -> None:
    login(claimed, "ada", PASSWORD)

    kept = (claimed.sandbox.root / "home" / "config.json").read_text()
    assert "identitytoken" in kept
    assert PASSWORD not in kept
    logout(claimed)


def test_wrong_password_is_said_to_be_wrong(claimed: Office) -> None:
    with pytest.raises(pytest.fail.Exception, match="incorrect user name or password"):
        login(claimed, "ada", "not the password")


def test_push_where_one_may_not_is_refused_with_the_reason_on_the_screen(
    claimed: Office, docker: Dockerd, image: str
) -> None:
    claimed.add_person("bert")
    login(claimed, "bert", PASSWORD)
    docker("image", "tag", image, name_of(claimed, "ada/stolen"))

    code, printed = docker.attempt("image", "push", name_of(claimed, "ada/stolen"))

    assert code != 0
    assert "bert may not push ada/stolen" in printed
    logout(claimed)


def test_after_logout_nothing_is_pushed(claimed: Office, docker: Dockerd, image: str) -> None:
    docker("image", "tag", image, name_of(claimed, "ada/later"))
    login(claimed, "ada", PASSWORD)
    docker("image", "push", name_of(claimed, "ada/later"))
    logout(claimed)

    code, printed = docker.attempt("image", "push", name_of(claimed, "ada/later"))

    assert code != 0
    assert "denied" in printed or "unauthorized" in printed


def test_public_namespace_is_pulled_from_by_anyone_and_pushed_to_by_some(
    claimed: Office, docker: Dockerd, image: str
) -> None:
    claimed.moorage("namespace", "add", "gallery", "--owner", "ada", "--visibility", "public")
    name = name_of(claimed, "gallery/ui")
    docker("image", "tag", image, name)
    login(claimed, "ada", PASSWORD)
    docker("image", "push", name)
    logout(claimed)
    docker("image", "rm", name)

    docker("image", "pull", name)

    code, printed = docker.attempt("image", "push", name)
    assert code != 0
    assert "denied" in printed or "unauthorized" in printed
    code, _ = docker.attempt("image", "pull", name_of(claimed, "ada/hello"))
    assert code != 0


@pytest.mark.parametrize("client", ["podman", "skopeo"])
def test_robot_pushes_and_pulls_by_its_token(claimed: Office, docker: Dockerd, client: str) -> None:
    require(client)
    robot = f"bot.{client}"
    secret = claimed.add_robot(robot, f"push {client}/*")
    run = claimed.sandbox.run
    root = Path(f"/etc/containers/certs.d/{claimed.address}")
    run("mkdir", "-p", root)
    run("cp", f"/etc/docker/certs.d/{claimed.address}/ca.crt", root / "ca.crt")
    claimed.sandbox.say(secret, client, "login", "-u", robot, "--password-stdin", claimed.address)
    source = f"docker://{claimed.address}/{client}/app:v1"
    archive = claimed.sandbox.root / f"{client}.tar"
    docker("image", "save", "--output", archive, "acceptance/team:one")

    if client == "skopeo":
        run("skopeo", "copy", f"docker-archive:{archive}", source)
        run("skopeo", "copy", source, f"dir:{claimed.sandbox.root / 'copied'}")
    else:
        store = ("--root", claimed.sandbox.root / "podman", "--runroot", "/run/podman-team")
        podman = ("podman", *store, "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs")
        target = name_of(claimed, "podman/app")
        loaded = run(*podman, "image", "load", "--input", archive).split()[-1]
        run(*podman, "image", "push", loaded, target)
        run(*podman, "image", "rm", "--all", "--force")
        run(*podman, "image", "pull", target)

    run(client, "logout", claimed.address)


def test_revoked_token_is_refused_within_a_second(claimed: Office, docker: Dockerd, image: str) -> None:
    secret = claimed.add_robot("bot.gone", "push gone/*")
    name = name_of(claimed, "gone/app")
    docker("image", "tag", image, name)
    login(claimed, "bot.gone", secret)
    docker("image", "push", name)
    listed = claimed.moorage("token", "list", "--for", "bot.gone", "--json")
    token = re.findall(r'"id": ?([0-9]+)', listed)[0]

    claimed.moorage("token", "revoke", token)
    revoked_at = time.monotonic()
    status = claimed.sandbox.run(
        "curl", "-ks", "-o", "/dev/null", "-w", "%{http_code}", "-u", f"bot.gone:{secret}",
        f"https://{claimed.address}/v2/gone/app/tags/list",
    )  # fmt: skip

    assert status == "401"
    assert time.monotonic() - revoked_at < 1
    assert docker.attempt("image", "push", name)[0] != 0
    logout(claimed)


def test_audit_says_who_did_what(claimed: Office) -> None:
    printed = claimed.moorage("audit", "--target", "ada/hello", "--json")

    assert '"push"' in printed
    assert '"ada"' in printed
    assert ADDRESS in printed
