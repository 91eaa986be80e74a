"""Three machines: the world, where Docker Hub and another registry are; the office, where Moorage is; a desk.

The desk reaches the office and nothing else. Its clients pull by the names that they use anyway, after
`moorage connect CLIENT --write`; then the world is cut off, and they pull again what they have deleted.
Docker Hub is a Moorage with accounts and TLS, quay.example is Debian's docker-registry.
"""

import base64
import json
import re
import secrets
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.images import Layout, digest_of, pack, pack_layers
from tests.acceptance.machines import (
    Containerd,
    Daemon,
    Line,
    Podman,
    connect,
    docker_registry,
    name_host,
    publish,
)
from tests.acceptance.office import PASSWORD, Office
from tests.acceptance.sandbox import Dockerd, Sandbox, require, require_root

WORLD, OFFICE, DESK = "10.77.0.1", "10.77.0.2", "10.77.0.3"
OFFICE_NAME = "registry.lan:5000"
QUAY_PORT = 5001
LINE_SECONDS = 90
"""A line that was lost is tried again after a minute at the latest."""
PULLER = "moorage-puller"

_SETTINGS = """
[tls]
names = ["registry.lan"]

[mirrors]
private_addresses = ["10.77.0.0/24"]

[[mirrors.upstreams]]
name = "docker.io"
url = "https://{world}:5000"
username = "{puller}"
password_file = "{folder}/password"
authority_file = "{folder}/hub.pem"
root = true
freshness = "0s"

[[mirrors.upstreams]]
name = "quay.example"
url = "http://{world}:{quay_port}"
"""


@dataclass
class World:
    """What is out there, and the line to it."""

    sandbox: Sandbox
    hub: Office
    quay: Daemon
    office: Office
    line: Line

    def publish(self, folder: Path, name: str, *layers: bytes) -> str:
        """Put an image where its name says that it is; return its manifest's digest."""
        layout = Layout(folder)
        image = layout.add_image(layers, tag="v1")
        registry, _, rest = name.partition("/")
        if registry == "docker.io":
            options = ("--dest-tls-verify=false", "--dest-creds", f"ada:{PASSWORD}")
            publish(self.sandbox, layout, "v1", f"{self.hub.address}/{rest}", *options)
        else:
            publish(self.sandbox, layout, "v1", f"{WORLD}:{QUAY_PORT}/{rest}", "--dest-tls-verify=false")
        return str(image["digest"])

    def stop(self) -> None:
        self.hub.stop()
        self.quay.stop()

    def start(self) -> None:
        """Back as it was; the office tries the lines again by itself."""
        self.hub.start()
        self.quay.start()
        deadline = time.monotonic() + LINE_SECONDS
        # a name of its own each time: that there is nothing is remembered for a while
        for path in ("docker.io/library", "quay.example"):
            while "HTTP/1.1 404" not in self.office.curl(f"/v2/{path}/{secrets.token_hex(8)}/manifests/v1"):
                assert time.monotonic() < deadline, self.office.printed[-4000:]
                time.sleep(0.5)


@dataclass
class Desk:
    """A machine with clients, which knows the office."""

    sandbox: Sandbox
    office: Office

    def connect(self, client: str, *options: str) -> str:
        """Type `moorage connect`."""
        upstreams = ("--upstream", "docker.io", "--upstream", "quay.example")
        registry = ("--registry", f"https://{OFFICE_NAME}", "--fingerprint", self.office.fingerprint)
        chosen = () if "--undo" in options else (*registry, *upstreams)
        return self.sandbox.run(sys.executable, "-m", "moorage", "connect", client, *chosen, *options)

    def read_files(self) -> str:
        """All that is configured, with modes and hashes."""
        folders = ("docker", "containerd", "containers")
        facts = r'find "$@" -printf "%p %m %u\n"; find "$@" -type f -exec sha256sum {} +'
        there = [f"/etc/{each}" for each in folders if Path(f"/etc/{each}").is_dir()]
        printed = self.sandbox.run("sh", "-c", facts, "sh", *there)
        return "\n".join(sorted(printed.splitlines())) + self.sandbox.run("ls", "/etc")


@pytest.fixture(scope="module")
def folder(workspace: Path) -> Path:
    for program in (
        "docker",
        "dockerd",
        "containerd",
        "ctr",
        "podman",
        "skopeo",
        "docker-registry",
        "curl",
        "ip",
    ):
        require(program)
    require_root()
    return workspace


@pytest.fixture(scope="module")
def out_there(folder: Path) -> Iterator[Sandbox]:
    with Sandbox(folder / "world", WORLD) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def hub(out_there: Sandbox) -> Iterator[Office]:
    with Office(out_there) as hub:
        hub.claim(hub.find_line(r"/claim\?code="), "ada")
        hub.moorage("namespace", "add", "library", "--owner", "ada")
        hub.moorage("namespace", "add", "acme", "--owner", "ada")
        hub.add_person(PULLER)
        for namespace in ("library", "acme"):
            hub.moorage("grant", "add", PULLER, "pull", f"{namespace}/*")
        yield hub


@pytest.fixture(scope="module")
def quay(out_there: Sandbox) -> Iterator[Daemon]:
    with docker_registry(out_there, QUAY_PORT) as quay:
        yield quay


@pytest.fixture(scope="module")
def office(folder: Path, out_there: Sandbox, hub: Office, quay: Daemon) -> Iterator[tuple[Office, World]]:
    with Sandbox(folder / "office", OFFICE) as sandbox:
        line = connect(sandbox, out_there)
        name_host(sandbox, OFFICE, "registry.lan")
        root = (hub.data / "tls" / "authority.pem").read_text()
        (sandbox.root / "hub.pem").write_text(root[root.index("-----BEGIN CERTIFICATE") :])
        (sandbox.root / "password").write_text(PASSWORD)
        settings = _SETTINGS.format(world=WORLD, puller=PULLER, folder=sandbox.root, quay_port=QUAY_PORT)
        with Office(sandbox, settings) as office:
            office.claim(office.find_line(r"/claim\?code="), "bert")
            for namespace in ("docker.io", "quay.example"):
                office.moorage("namespace", "set", namespace, "--visibility", "public")
            yield office, World(out_there, hub, quay, office, line)


@pytest.fixture(scope="module")
def desk(folder: Path, office: tuple[Office, World]) -> Iterator[Desk]:
    with Sandbox(folder / "desk", DESK) as sandbox:
        connect(sandbox, office[0].sandbox)
        name_host(sandbox, OFFICE, "registry.lan")
        yield Desk(sandbox, office[0])


@pytest.fixture
def world(office: tuple[Office, World]) -> Iterator[World]:
    """The world, as it was, whatever a test does to it."""
    world = office[1]
    yield world
    world.stop()
    world.start()


def test_docker_pulls_by_bare_names_and_goes_on_without_the_world(
    desk: Desk, world: World, tmp_path: Path
) -> None:
    world.publish(tmp_path / "official", "docker.io/library/demo:v1", *pack_layers("demo"))
    world.publish(tmp_path / "other", "docker.io/acme/demo:v1", pack({"etc/motd": b"acme\n"}))
    world.publish(tmp_path / "quay", "quay.example/team/demo:v1", pack({"etc/motd": b"quay\n"}))
    names = ("demo:v1", "acme/demo:v1", f"{OFFICE_NAME}/quay.example/team/demo:v1")
    with Dockerd(desk.sandbox) as docker:
        code, printed = docker.attempt("image", "pull", names[0])
        assert code != 0, printed
        desk.connect("docker", "--write")
        docker.reload()

        ids = []
        for name in names:
            docker("image", "pull", name)
            ids.append(docker.get_id(name))
            docker("image", "rm", name)
        world.stop()
        for name, image_id in zip(names, ids, strict=True):
            docker("image", "pull", name)
            assert docker.get_id(name) == image_id

        for name in names:
            docker("image", "rm", name)
        desk.connect("docker", "--undo")
        docker.reload()
        assert docker.attempt("image", "pull", names[0])[0] != 0


NAMES = ("docker.io/library/{name}:v1", "docker.io/acme/{name}:v1", "quay.example/team/{name}:v1")


def publish_all(world: World, folder: Path, name: str) -> dict[str, str]:
    """An image under each of the names; their digests."""
    return {
        each.format(name=name): world.publish(
            folder / str(number), each.format(name=name), pack({"etc/motd": f"{name} {each}".encode()})
        )
        for number, each in enumerate(NAMES)
    }


@pytest.fixture
def containerd(desk: Desk) -> Iterator[Containerd]:
    containerd = Containerd(desk.sandbox)
    with containerd.daemon:
        yield containerd


@pytest.fixture
def podman(desk: Desk) -> Podman:
    return Podman(desk.sandbox)


def test_containerd_pulls_by_usual_names_and_goes_on_without_the_world(
    desk: Desk, world: World, containerd: Containerd, tmp_path: Path
) -> None:
    digests = publish_all(world, tmp_path, "boat")
    before = desk.read_files()
    desk.connect("containerd", "--write")

    assert {name: containerd.pull(name) for name in digests} == digests
    containerd.forget(*digests)
    world.stop()
    assert {name: containerd.pull(name) for name in digests} == digests

    # by the registry's own name, whose root it was let trust on the way
    direct = f"{OFFICE_NAME}/docker.io/library/boat:v1"
    assert containerd.pull(direct) == digests["docker.io/library/boat:v1"]
    containerd.forget(*digests, direct)
    desk.connect("containerd", "--undo")
    assert desk.read_files() == before
    assert containerd.attempt_pull("docker.io/library/boat:v1")[0] != 0


def test_podman_pulls_by_usual_names_and_goes_on_without_the_world(
    desk: Desk, world: World, podman: Podman, tmp_path: Path
) -> None:
    digests = publish_all(world, tmp_path, "raft")
    before = desk.read_files()
    desk.connect("podman", "--write")

    pulled = {name: podman.pull(name) for name in digests}
    podman.forget()
    world.stop()
    assert {name: podman.pull(name) for name in digests} == pulled
    assert len(set(pulled.values())) == 3

    podman.forget()
    desk.connect("podman", "--undo")
    assert desk.read_files() == before
    assert podman.attempt("image", "pull", "docker.io/library/raft:v1")[0] != 0


def test_skopeo_gets_the_worlds_bytes_while_the_cable_is_pulled(
    desk: Desk, world: World, podman: Podman, tmp_path: Path
) -> None:
    """Packets are lost, not refused. What was never pulled cannot be had, and is said to be so in time."""
    (name, digest), *_ = publish_all(world, tmp_path, "canoe").items()
    publish_all(world, tmp_path / "unseen", "unseen")
    desk.connect("podman", "--write")
    podman.pull(name)
    world.line.pull()
    try:
        copied = tmp_path / "copied"
        desk.sandbox.run("skopeo", "--insecure-policy", "copy", f"docker://{name}", f"dir:{copied}")
        assert digest_of((copied / "manifest.json").read_bytes()) == digest

        began = time.monotonic()
        answer = desk.office.curl("/v2/docker.io/library/unseen/manifests/v1")
        assert time.monotonic() - began < 12
        assert answer.startswith(("HTTP/1.1 504", "HTTP/1.1 502"))
        assert "docker.io" in answer
        stale = desk.office.curl("/v2/docker.io/library/canoe/manifests/v1")
        assert stale.startswith("HTTP/1.1 200")
        assert re.search(r"^warning: 110 ", stale, re.MULTILINE | re.IGNORECASE)
    finally:
        world.line.plug(OFFICE)
        desk.connect("podman", "--undo")


def test_public_mirror_is_for_anyone_and_the_rest_for_those_who_signed_in(
    desk: Desk, world: World, tmp_path: Path
) -> None:
    world.publish(tmp_path / "mirrored", "docker.io/library/ferry:v1", pack({"etc/motd": b"ferry\n"}))
    own = f"{OFFICE_NAME}/bert/own:v1"
    mirrored = f"{OFFICE_NAME}/docker.io/library/ferry:v1"
    with Dockerd(desk.sandbox) as docker:
        desk.connect("docker", "--write")
        docker.reload()

        docker("image", "pull", "ferry:v1")
        docker("image", "tag", "ferry:v1", own)
        assert docker.attempt("image", "push", own)[0] != 0
        desk.sandbox.say(PASSWORD, "docker", "login", "-u", "bert", "--password-stdin", OFFICE_NAME)
        docker("image", "push", own)
        docker("image", "tag", "ferry:v1", mirrored)
        code, printed = docker.attempt("image", "push", mirrored)
        assert code != 0
        assert "mirrors docker.io" in printed
        docker("image", "rm", own)
        docker("image", "pull", own)
        desk.sandbox.run("docker", "logout", OFFICE_NAME)

        assert docker.attempt("image", "pull", own)[0] != 0
        docker("image", "rm", "ferry:v1")
        docker("image", "pull", "ferry:v1")
        # bert's namespace is the office's: nobody at the Hub can put an image in its place
        assert docker.attempt("image", "pull", "bert/own:v1")[0] != 0
        desk.connect("docker", "--undo")


def test_who_is_signed_in_to_docker_hub_pulls_all_the_same(desk: Desk, world: World, tmp_path: Path) -> None:
    """dockerd shows its mirrors what it has for Docker Hub."""
    world.publish(tmp_path / "mirrored", "docker.io/library/barge:v1", pack({"etc/motd": b"barge\n"}))
    path = desk.sandbox.root / "home" / "config.json"
    before = path.read_text() if path.exists() else "{}"
    hub = base64.b64encode(b"someone:at the hub").decode()
    path.write_text(json.dumps({"auths": {"https://index.docker.io/v1/": {"auth": hub}}}))
    with Dockerd(desk.sandbox) as docker:
        desk.connect("docker", "--write")
        docker.reload()

        docker("image", "pull", "barge:v1")

        desk.connect("docker", "--undo")
    path.write_text(before)
