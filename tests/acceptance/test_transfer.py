"""Images that docker, podman and skopeo wrote are brought; what is taken away they read."""

from pathlib import Path

import pytest

from tests.acceptance.images import Layout
from tests.acceptance.registry import Registry
from tests.acceptance.sandbox import Dockerd, Sandbox, require
from tests.cli.commands import moorage as command
from tests.servers import ServerProcess


def test_what_docker_saved_is_pulled_as_the_same_image(
    dockerd: Dockerd,
    moorage: ServerProcess,
    registry: Registry,
    repository: str,
    layers: list[bytes],
    tmp_path: Path,
) -> None:
    image = dockerd.load(f"{repository}:saved", layers)
    image_id = dockerd.get_id(image)
    dockerd("image", "save", "--output", tmp_path / "saved.tar", image)
    dockerd("image", "rm", image)

    command("import", "docker-archive", tmp_path / "saved.tar", "--data", moorage.data_dir).check()
    dockerd("image", "pull", registry.name(repository, "saved"))

    assert dockerd.get_id(registry.name(repository, "saved")) == image_id


def test_docker_loads_what_is_taken_away(
    dockerd: Dockerd,
    moorage: ServerProcess,
    registry: Registry,
    sandbox: Sandbox,
    layout: Layout,
    repository: str,
    layers: list[bytes],
    tmp_path: Path,
) -> None:
    """Also one that was pushed as an OCI image."""
    require("skopeo")
    name = registry.name(repository, "oci")
    layout.add_image(layers, tag="oci")
    sandbox.run("skopeo", "copy", "--dest-tls-verify=false", f"oci:{layout.folder}:oci", f"docker://{name}")
    dockerd("image", "pull", name)
    image_id = dockerd.get_id(name)
    dockerd("image", "rm", name)

    taken = ("export", "docker-archive", f"{repository}:oci", "--to", tmp_path / "out.tar")
    command(*taken, "--data", moorage.data_dir).check()
    dockerd("image", "load", "--input", tmp_path / "out.tar")

    assert dockerd.get_id(f"{repository}:oci") == image_id


@pytest.mark.parametrize("suffix", ["", ".tar"])
def test_skopeo_reads_what_is_taken_away_and_writes_what_is_brought(
    moorage: ServerProcess,
    sandbox: Sandbox,
    layout: Layout,
    repository: str,
    layers: list[bytes],
    tmp_path: Path,
    suffix: str,
) -> None:
    """Byte for byte: skopeo's layout comes here, goes away, and comes out of skopeo again."""
    require("skopeo")
    layout.add_index(
        [layout.add_image(layers[:2]), layout.add_image(layers[2:], architecture="arm64")], tag="v1"
    )
    kind = "oci-archive" if suffix else "oci"
    written, taken = tmp_path / f"written{suffix}", tmp_path / f"taken{suffix}"
    copy = ("skopeo", "--insecure-policy", "copy", "--all")
    sandbox.run(*copy, f"oci:{layout.folder}:v1", f"{kind}:{written}:v1")

    local = ("--data", moorage.data_dir)
    command("import", "oci", written, repository, *local).check()
    command("export", "oci", f"{repository}:v1", "--to", taken, *local).check()
    back = Layout(tmp_path / "back")
    sandbox.run(*copy, f"{kind}:{taken}:v1", f"oci:{back.folder}:v1")

    assert back.read_blobs() == layout.read_blobs()


def test_what_skopeo_saved_as_docker_does_is_brought(
    moorage: ServerProcess,
    sandbox: Sandbox,
    registry: Registry,
    layout: Layout,
    repository: str,
    layers: list[bytes],
    tmp_path: Path,
) -> None:
    """As skopeo writes it too: links, and layers by their digests."""
    require("skopeo")
    layout.add_image([layers[0], layers[0], layers[1]], tag="v1")
    saved = tmp_path / "saved.tar"
    sandbox.run(
        "skopeo",
        "--insecure-policy",
        "copy",
        f"oci:{layout.folder}:v1",
        f"docker-archive:{saved}:{repository}:v1",
    )

    command("import", "docker-archive", saved, "--data", moorage.data_dir).check()
    sandbox.run(
        *("skopeo", "--insecure-policy", "copy", "--src-tls-verify=false"),
        *(f"docker://{registry.name(repository, 'v1')}", f"dir:{tmp_path / 'pulled'}"),
    )

    assert registry.get_tags(repository) == ["v1"]
