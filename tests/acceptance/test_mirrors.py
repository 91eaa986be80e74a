"""Three machines: the world, where Docker Hub and another registry are; the office, where Moorage is; a desk.

The desk reaches the office and nothing else. Its clients pull by the names that they use anyway, after
`moorage connect CLIENT --write`; then the world is cut off, and they pull again what they have deleted.
Docker Hub is a Moorage with accounts and TLS, quay.example is Debian's docker-registry.
"""

import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.images import Layout, pack, pack_layers
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
        self.hub.start()
        self.quay.start()


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


@pytest.fixture(scope="module")
def folder(workspace: Path) -> Path:
    for program in ("docker", "dockerd", "containerd", "ctr", "podman", "skopeo", "docker-registry", "curl", "ip"):
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
        root = (hub.data / "tls" / "authority.pem").read_text()
        (sandbox.root / "hub.pem").write_text(root[root.index("-----BEGIN CERTIFICATE") :])
        (sandbox.root / "password").write_text(PASSWORD)
        settings = _SETTINGS.format(world=WORLD, puller=PULLER, folder=sandbox.root, quay_port=QUAY_PORT)
        with Office(sandbox, settings) as office:
            office.claim(office.find_line(r"/claim\?code="), "bert")
            for namespace in ("docker.io", "quay.example"):
                office.moorage("namespace", "set", namespace, "--visibility", "public")
            yield office, World(out_there, hub, quay, line)


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
    names = ("demo:v1", "acme/demo:v1")
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
