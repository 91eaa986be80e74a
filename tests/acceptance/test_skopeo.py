"""skopeo, from and to OCI layouts: images, indexes, listing, deleting, copying whole repositories."""

import json
from pathlib import Path

import pytest

from tests.acceptance.images import INDEX, ZSTD_LAYER, Layout
from tests.acceptance.registry import Registry, read_moved_bytes
from tests.acceptance.sandbox import Sandbox, require
from tests.servers import ServerProcess


class Skopeo:
    """Runs skopeo on images of the server under test, without TLS."""

    def __init__(self, sandbox: Sandbox, registry: Registry) -> None:
        self._sandbox = sandbox
        self._registry = registry

    def __call__(self, *arguments: str | Path) -> str:
        return self._sandbox.run("skopeo", "--insecure-policy", *arguments)

    def attempt(self, *arguments: str | Path) -> tuple[int, str]:
        return self._sandbox.attempt("skopeo", "--insecure-policy", *arguments)

    def name(self, repository: str, reference: str) -> str:
        return f"docker://{self._registry.name(repository, reference)}"

    def push(self, layout: Layout, tag: str, name: str, *options: str) -> None:
        self("copy", "--dest-tls-verify=false", *options, f"oci:{layout.folder}:{tag}", name)

    def pull(self, name: str, folder: Path, *options: str) -> Layout:
        """Copy into a new layout, under the tag `pulled`."""
        layout = Layout(folder)
        self("copy", "--src-tls-verify=false", *options, name, f"oci:{folder}:pulled")
        return layout


@pytest.fixture
def skopeo(sandbox: Sandbox, registry: Registry) -> Skopeo:
    require("skopeo")
    return Skopeo(sandbox, registry)


def test_an_image_comes_back_byte_for_byte(
    skopeo: Skopeo, registry: Registry, layout: Layout, repository: str, layers: list[bytes], tmp_path: Path
) -> None:
    image = layout.add_image(layers, tag="v1")
    skopeo.push(layout, "v1", skopeo.name(repository, "v1"))

    pulled = skopeo.pull(skopeo.name(repository, "v1"), tmp_path / "pulled")

    assert registry.get_digest(repository, "v1") == image["digest"]
    assert pulled.read_blobs() == layout.read_blobs()


def test_all_images_of_an_index_come_back_byte_for_byte(
    skopeo: Skopeo, registry: Registry, layout: Layout, repository: str, layers: list[bytes], tmp_path: Path
) -> None:
    images = [
        layout.add_image(layers[:2], architecture="amd64"),
        layout.add_image([layers[0], layers[2]], architecture="arm64"),
    ]
    index = layout.add_index(images, tag="v1")

    skopeo.push(layout, "v1", skopeo.name(repository, "v1"), "--all", "--preserve-digests")
    pulled = skopeo.pull(skopeo.name(repository, "v1"), tmp_path / "pulled", "--all")

    assert pulled.read_blobs() == layout.read_blobs()
    answer = registry.curl(f"/v2/{repository}/manifests/v1", "--header", f"Accept: {INDEX}")
    assert answer.headers["docker-content-digest"] == index["digest"]
    assert answer.headers["content-type"] == INDEX
    assert [child["digest"] for child in answer.json["manifests"]] == [image["digest"] for image in images]
    assert registry.get_tags(repository) == ["v1"]


def test_one_platform_of_an_index_is_pulled(
    skopeo: Skopeo, layout: Layout, repository: str, layers: list[bytes], tmp_path: Path
) -> None:
    images = {
        "amd64": layout.add_image(layers[:1], architecture="amd64"),
        "arm64": layout.add_image(layers[2:], architecture="arm64"),
    }
    layout.add_index(list(images.values()), tag="v1")
    skopeo.push(layout, "v1", skopeo.name(repository, "v1"), "--all")

    for architecture, image in images.items():
        pulled = skopeo.pull(
            skopeo.name(repository, "v1"), tmp_path / architecture, "--override-arch", architecture
        )
        assert image["digest"] in pulled.read_blobs()


def test_an_image_is_inspected(skopeo: Skopeo, layout: Layout, repository: str, layers: list[bytes]) -> None:
    image = layout.add_image(layers, tag="v1")
    for tag in ("v1", "stable"):
        skopeo.push(layout, "v1", skopeo.name(repository, tag))

    facts = json.loads(skopeo("inspect", "--tls-verify=false", skopeo.name(repository, "v1")))

    assert facts["Digest"] == image["digest"]
    assert facts["RepoTags"] == ["stable", "v1"]
    assert facts["Layers"] == [layer["digest"] for layer in layout.read_manifest(image["digest"])["layers"]]


def test_tags_are_listed_in_order(
    skopeo: Skopeo, layout: Layout, repository: str, layers: list[bytes]
) -> None:
    layout.add_image(layers[2:], tag="v1")
    for tag in ("v2", "V1", "v10", "latest", "_x"):
        skopeo.push(layout, "v1", skopeo.name(repository, tag))

    name = skopeo.name(repository, "latest").removesuffix(":latest")
    facts = json.loads(skopeo("list-tags", "--tls-verify=false", name))

    assert facts["Tags"] == ["V1", "_x", "latest", "v10", "v2"]


def test_a_deleted_image_is_gone_and_can_be_pushed_again(
    skopeo: Skopeo, registry: Registry, layout: Layout, repository: str, layers: list[bytes], tmp_path: Path
) -> None:
    layout.add_image(layers, tag="v1")
    name = skopeo.name(repository, "v1")
    skopeo.push(layout, "v1", name)

    skopeo("delete", "--tls-verify=false", name)

    code, printed = skopeo.attempt("inspect", "--tls-verify=false", name)
    assert code != 0
    assert "manifest unknown" in printed
    assert registry.get_tags(repository) == []

    skopeo.push(layout, "v1", name)
    assert skopeo.pull(name, tmp_path / "pulled").read_blobs() == layout.read_blobs()


def test_a_repository_is_copied_to_another_with_all_its_tags(
    skopeo: Skopeo, registry: Registry, layout: Layout, repository: str, layers: list[bytes]
) -> None:
    digests = {
        "v1": layout.add_image(layers[:1], tag="v1")["digest"],
        "v2": layout.add_image(layers[1:], tag="v2")["digest"],
    }
    for tag in digests:
        skopeo.push(layout, tag, skopeo.name(f"{repository}/ui", tag))

    skopeo(
        *("sync", "--src", "docker", "--dest", "docker", "--src-tls-verify=false", "--dest-tls-verify=false"),
        *(f"{registry.address}/{repository}/ui", f"{registry.address}/{repository}/mirror"),
    )

    copied = f"{repository}/mirror/ui"
    assert {tag: registry.get_digest(copied, tag) for tag in registry.get_tags(copied)} == digests


def test_layers_compressed_with_zstd_are_kept_so(
    skopeo: Skopeo, registry: Registry, layout: Layout, repository: str, layers: list[bytes], tmp_path: Path
) -> None:
    image = layout.add_image(layers, tag="v1")
    name = skopeo.name(repository, "v1")
    skopeo.push(layout, "v1", name, "--dest-compress-format", "zstd")

    manifest = registry.get_manifest(repository, "v1")
    pulled = skopeo.pull(name, tmp_path / "pulled")

    assert {layer["mediaType"] for layer in manifest["layers"]} == {ZSTD_LAYER}
    assert manifest["config"]["digest"] == layout.read_manifest(image["digest"])["config"]["digest"]
    assert registry.get_digest(repository, "v1") in pulled.read_blobs()


def test_pushes_are_logged_with_the_bytes_uploaded_skipped_and_mounted(
    skopeo: Skopeo,
    registry: Registry,
    moorage: ServerProcess,
    layout: Layout,
    repository: str,
    layers: list[bytes],
) -> None:
    source, target = f"{repository}/source", f"{repository}/target"
    layout.add_image(layers, tag="v1")

    skopeo.push(layout, "v1", skopeo.name(source, "v1"))
    skopeo.push(layout, "v1", skopeo.name(source, "v2"))
    skopeo(
        *("copy", "--src-tls-verify=false", "--dest-tls-verify=false"),
        *(skopeo.name(source, "v1"), skopeo.name(target, "v1")),
    )

    sizes = registry.get_sizes(source, "v1")
    assert read_moved_bytes(moorage, source, "v1") == (sizes.total, 0, 0)
    assert read_moved_bytes(moorage, source, "v2") == (0, 0, sizes.total)
    assert read_moved_bytes(moorage, target, "v1") == (sizes.config, sizes.layers, 0)
