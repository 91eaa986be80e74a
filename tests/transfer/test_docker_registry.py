"""Taking over a tree that Debian's docker-registry has made, while it serves."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.client import Client
from bench.images import KIB, make_blob, make_manifest
from bench.servers import DockerRegistry
from tests.acceptance.images import Layout, pack
from tests.acceptance.sandbox import Sandbox, require
from tests.cli.commands import environment, moorage
from tests.registry.audit import audit
from tests.servers import ServerProcess
from tests.starting import COMMAND

REPOSITORY, OTHER = "team/app", "other/deep/app"
LAYERS = [pack({f"file{number}": os.urandom(50_000)}) for number in range(4)]


@dataclass
class Town:
    """The old registry, what clients say to it and to ours, and what was pushed."""

    old: DockerRegistry
    sandbox: Sandbox
    layout: Layout

    def push(self, tag: str, repository: str = REPOSITORY, to: str | None = None) -> None:
        name = f"docker://{self.sandbox.host}:{self.old.address.port}/{repository}:{to or tag}"
        self._skopeo("copy", "--all", "--dest-tls-verify=false", f"oci:{self.layout.folder}:{tag}", name)

    def pull(self, port: int, reference: str, folder: Path, repository: str = REPOSITORY) -> dict[str, bytes]:
        """All bytes of an image, by digest."""
        joint = "@" if ":" in reference else ":"
        name = f"docker://{self.sandbox.host}:{port}/{repository}{joint}{reference}"
        layout = Layout(folder)
        self._skopeo("copy", "--all", "--src-tls-verify=false", name, f"oci:{folder}:pulled")
        return layout.read_blobs()

    def ask(self, method: str, target: str, want: int) -> dict[str, str]:
        accept = (
            "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json,"
            "application/vnd.docker.distribution.manifest.v2+json"
        )
        with Client(self.old.address) as client:
            return dict(client.ask(method, target, headers={"Accept": accept}, want=want).headers)

    def delete(self, tag: str) -> str:
        digest = self.ask("HEAD", f"/v2/{REPOSITORY}/manifests/{tag}", 200)["docker-content-digest"]
        self.ask("DELETE", f"/v2/{REPOSITORY}/manifests/{digest}", 202)
        return digest

    def _skopeo(self, *arguments: str) -> None:
        self.sandbox.run("skopeo", "--insecure-policy", *arguments)


@pytest.fixture
def old(tmp_path: Path) -> Iterator[DockerRegistry]:
    require("docker-registry")
    server = DockerRegistry("docker-registry", tmp_path / "old")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def town(old: DockerRegistry, tmp_path: Path) -> Iterator[Town]:
    require("skopeo")
    with Sandbox(tmp_path / "clients") as sandbox:
        yield Town(old, sandbox, Layout(tmp_path / "layout"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "data", "--workers", "1") as server:
        yield server


def take_over(town: Town, data: Path, *options: str) -> dict[str, object]:
    ran = moorage("import", "distribution", town.old.data, "--data", data, "--json", *options)
    fact: dict[str, object] = ran.json()
    return fact


def test_a_registry_is_taken_over_while_both_serve(town: Town, server: ServerProcess, tmp_path: Path) -> None:
    """With deletes, several platforms, shared layers, an untagged revision and a second repository."""
    images = [
        town.layout.add_image(LAYERS[:2], architecture="amd64"),
        town.layout.add_image([LAYERS[0], LAYERS[2]], architecture="arm64"),
    ]
    index = town.layout.add_index(images, tag="multi")
    first = town.layout.add_image([LAYERS[0]], tag="first")
    town.layout.add_image([LAYERS[0], LAYERS[3]], tag="second")
    town.layout.add_image([LAYERS[3]], tag="deleted")
    for tag in ("multi", "deleted"):
        town.push(tag)
    town.push("first", to="moving")
    town.push("second", to="moving")
    town.push("multi", OTHER, "1.0")
    deleted = town.delete("deleted")

    said = take_over(town, server.data_dir, "--dry-run")
    report = take_over(town, server.data_dir)

    here, there = server.port, town.old.address.port
    counts = ("repositories", "manifests", "tags", "blobs", "bytes", "means", "skipped", "kept")
    assert [said[each] for each in counts] == [report[each] for each in counts]
    assert (report["repositories"], report["manifests"], report["tags"]) == (2, 8, 3)
    assert report["skipped"] == report["kept"] == []
    assert report["means"] == {"hard link": report["bytes"]}
    files = [path for path in (server.data_dir / "blobs").rglob("*") if path.is_file()]
    assert {path.stat().st_nlink for path in files} == {2}
    for number, (repository, reference) in enumerate(
        [
            (REPOSITORY, "multi"),
            (REPOSITORY, "moving"),
            (REPOSITORY, first["digest"]),
            (REPOSITORY, images[1]["digest"]),
            (OTHER, "1.0"),
        ]
    ):
        ours = town.pull(here, reference, tmp_path / f"ours{number}", repository)
        assert ours == town.pull(there, reference, tmp_path / f"theirs{number}", repository)
    assert index["digest"] in town.pull(here, "multi", tmp_path / "again")
    with Client(town.old.address._replace(port=here)) as client:
        assert client.ask_status("GET", f"/v2/{REPOSITORY}/manifests/{deleted}") == 404
    server.terminate()
    assert audit(server.data_dir) == []


def test_a_second_run_brings_what_was_pushed_there_meanwhile(
    town: Town, server: ServerProcess, tmp_path: Path
) -> None:
    town.layout.add_image([LAYERS[0]], tag="one")
    town.layout.add_image([LAYERS[0], LAYERS[1]], tag="two")
    town.push("one", to="latest")
    take_over(town, server.data_dir)
    town.push("two", to="latest")
    town.push("two")

    report = take_over(town, server.data_dir)
    again = take_over(town, server.data_dir)

    assert (report["manifests"], report["tags"], report["blobs"]) == (1, 2, 2)
    assert (again["manifests"], again["tags"], again["blobs"]) == (0, 0, 0)
    for tag in ("latest", "two"):
        ours = town.pull(server.port, tag, tmp_path / f"ours-{tag}")
        assert ours == town.pull(town.old.address.port, tag, tmp_path / f"theirs-{tag}")


def test_its_garbage_collection_takes_nothing_from_us(
    town: Town, server: ServerProcess, tmp_path: Path
) -> None:
    town.layout.add_image([LAYERS[0]], tag="one")
    town.push("one")
    before = town.pull(town.old.address.port, "one", tmp_path / "before")
    take_over(town, server.data_dir)
    town.delete("one")
    town.old.stop()

    config = town.old.folder / "config.yml"
    subprocess.run(
        ["docker-registry", "garbage-collect", "--delete-untagged", config], check=True, capture_output=True
    )

    assert not [path for path in town.old.data.rglob("data") if path.is_file()]
    assert town.pull(server.port, "one", tmp_path / "after") == before


def test_a_killed_import_goes_on_where_it_was(old: DockerRegistry, tmp_path: Path) -> None:
    """I3, I4, I5: killed wherever it may be, what is there is whole, and the next run brings the rest."""
    count = 150
    data = tmp_path / "data"
    _push_many(old, count)
    with ServerProcess(data, "--workers", "1"):
        pass
    command = [*COMMAND, "import", "distribution", str(old.data), "--data", str(data), "--json"]
    killed = 0
    for turn in range(40):
        process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE)
        _wait_for_blobs(data, turn, process)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        assert process.stdout is not None
        process.stdout.close()
        faults = audit(data)
        assert [fault for fault in faults if not _is_orphan(fault)] == []
        if killed >= 4:
            break

    report = moorage(*command[len(COMMAND) :]).json()

    assert killed >= 2
    assert report["manifests"] + report["known_manifests"] == count
    assert report["skipped"] == []
    assert audit(data) == []


def _push_many(old: DockerRegistry, count: int) -> None:
    layers = [make_blob(f"layer {number}", 20 * KIB) for number in range(2)]
    with Client(old.address) as client:
        for blob in layers:
            client.upload(REPOSITORY, [blob.content])
        for number in range(count):
            config = make_blob(f"config {number}", KIB)
            client.upload(REPOSITORY, [config.content])
            client.push_manifest(REPOSITORY, f"v{number}", make_manifest([config, *layers]))


def _wait_for_blobs(data: Path, turn: int, process: subprocess.Popen[bytes]) -> None:
    """Until this run has made some files, a few more in each turn."""
    blobs = data / "blobs"

    def count() -> int:
        return sum(len(files) for _, _, files in os.walk(blobs))

    wanted = count() + 5 + 7 * turn
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline and count() < wanted:
        time.sleep(0.001)


def _is_orphan(fault: str) -> bool:
    """A file that no row speaks of yet."""
    return fault.startswith("I5: ") and fault.endswith("has no row")
