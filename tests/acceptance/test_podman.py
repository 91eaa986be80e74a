"""podman: push, pull, zstd layers, and what the server logs of it."""

from pathlib import Path

import pytest

from tests.acceptance.images import ZSTD_LAYER, Layout
from tests.acceptance.registry import Registry, read_moved_bytes
from tests.acceptance.sandbox import Sandbox, require, require_root
from tests.servers import ServerProcess


class Podman:
    """podman with a store of its own."""

    def __init__(self, sandbox: Sandbox, store: Path) -> None:
        self._sandbox = sandbox
        self._command = (
            *("podman", "--root", str(store / "root"), "--runroot", f"/run/{store.parent.name}"),
            *("--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "none"),
        )

    def __call__(self, *arguments: str | Path) -> str:
        return self._sandbox.run(*self._command, *arguments)

    def load(self, layout: Layout, tag: str, *names: str) -> str:
        """Take an image from a layout into the store, under these names; return its id."""
        image_id = self("image", "pull", "--quiet", f"oci:{layout.folder}:{tag}").strip()
        for name in names:
            self("image", "tag", image_id, name)
        return image_id

    def push(self, name: str, *options: str) -> None:
        self("image", "push", "--tls-verify=false", *options, name)

    def pull(self, name: str) -> str:
        """Return the pulled image's id."""
        return self("image", "pull", "--quiet", "--tls-verify=false", name).strip()


@pytest.fixture
def podman(sandbox: Sandbox, tmp_path: Path) -> Podman:
    for program in ("podman", "unshare", "nsenter"):
        require(program)
    require_root()
    return Podman(sandbox, tmp_path / "podman")


def test_a_pulled_image_is_the_one_that_was_pushed(
    podman: Podman, registry: Registry, layout: Layout, repository: str, layers: list[bytes]
) -> None:
    layout.add_image(layers, tag="v1")
    name = registry.name(repository, "v1")
    image_id = podman.load(layout, "v1", name)
    podman.push(name)
    podman("image", "rm", "--force", image_id)
    assert podman("image", "list", "--quiet").strip() == ""

    assert podman.pull(name) == image_id
    assert registry.get_manifest(repository, "v1")["config"]["digest"] == f"sha256:{image_id}"
    pinned = registry.name(repository, registry.get_digest(repository, "v1"))
    assert podman.pull(pinned) == image_id


def test_layers_compressed_with_zstd_are_pulled(
    podman: Podman, registry: Registry, layout: Layout, repository: str, layers: list[bytes]
) -> None:
    layout.add_image(layers, tag="v1")
    name = registry.name(repository, "v1")
    image_id = podman.load(layout, "v1", name)
    podman.push(name, "--compression-format", "zstd", "--format", "oci")
    podman("image", "rm", "--force", image_id)

    assert podman.pull(name) == image_id
    kept = {layer["mediaType"] for layer in registry.get_manifest(repository, "v1")["layers"]}
    assert kept == {ZSTD_LAYER}


def test_pushes_are_logged_with_the_bytes_uploaded_and_skipped(
    podman: Podman,
    registry: Registry,
    moorage: ServerProcess,
    layout: Layout,
    repository: str,
    layers: list[bytes],
) -> None:
    layout.add_image(layers, tag="v1")
    first, second = registry.name(repository, "v1"), registry.name(repository, "v2")
    podman.load(layout, "v1", first, second)

    podman.push(first)
    podman.push(second)

    sizes = registry.get_sizes(repository, "v1")
    assert read_moved_bytes(moorage, repository, "v1") == (sizes.total, 0, 0)
    assert read_moved_bytes(moorage, repository, "v2") == (0, 0, sizes.total)


def test_layers_of_another_repository_are_mounted(
    podman: Podman,
    registry: Registry,
    moorage: ServerProcess,
    layout: Layout,
    repository: str,
    layers: list[bytes],
) -> None:
    source, target = f"{repository}/source", f"{repository}/target"
    layout.add_image(layers, tag="v1")
    podman.load(layout, "v1", registry.name(source, "v1"), registry.name(target, "v1"))

    podman.push(registry.name(source, "v1"))
    podman.push(registry.name(target, "v1"))

    sizes = registry.get_sizes(target, "v1")
    assert read_moved_bytes(moorage, target, "v1") == (sizes.config, sizes.layers, 0)
