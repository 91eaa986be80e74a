"""buildah: an image built from nothing, pushed and pulled back."""

from pathlib import Path

import pytest

from tests.acceptance.registry import Registry
from tests.acceptance.sandbox import Sandbox, require, require_root


class Buildah:
    """buildah with a store of its own."""

    def __init__(self, sandbox: Sandbox, store: Path) -> None:
        self._sandbox = sandbox
        self._command = (
            *("buildah", "--root", str(store / "root"), "--runroot", f"/run/{store.parent.name}"),
            *("--storage-driver", "vfs"),
        )

    def __call__(self, *arguments: str | Path) -> str:
        return self._sandbox.run(*self._command, *arguments).strip()


@pytest.fixture
def buildah(sandbox: Sandbox, tmp_path: Path) -> Buildah:
    for program in ("buildah", "unshare", "nsenter"):
        require(program)
    require_root()
    return Buildah(sandbox, tmp_path / "buildah")


@pytest.mark.parametrize("form", ["oci", "v2s2"])
def test_an_image_built_from_nothing_is_pushed_and_pulled(
    buildah: Buildah, registry: Registry, repository: str, layers: list[bytes], tmp_path: Path, form: str
) -> None:
    (tmp_path / "content.tar").write_bytes(layers[0])
    name = registry.name(repository, "v1")
    container = buildah("from", "scratch")
    buildah("add", "--quiet", container, tmp_path / "content.tar", "/")
    buildah("config", "--cmd", "/bin/true", "--label", "org.example.made=here", container)
    buildah("commit", "--quiet", "--format", "oci" if form == "oci" else "docker", container, name)
    image_id = buildah("images", "--quiet", "--no-trunc", name)

    buildah("push", "--tls-verify=false", "--format", form, "--digestfile", tmp_path / "digest", name)
    buildah("rm", container)
    buildah("rmi", "--force", name)
    buildah("pull", "--quiet", "--tls-verify=false", name)

    digest = (tmp_path / "digest").read_text()
    assert registry.get_digest(repository, "v1") == digest
    assert buildah("images", "--quiet", "--no-trunc", name) == image_id
