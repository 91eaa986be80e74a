"""The server as a process, the clients it is for, and images to push."""

import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.images import Layout, pack, pack_layers
from tests.acceptance.registry import Registry
from tests.acceptance.sandbox import Dockerd, Sandbox, require, require_root
from tests.servers import ServerProcess


@pytest.fixture(scope="session")
def workspace() -> Iterator[Path]:
    """A folder for all that is large; it goes when the tests end."""
    with _folder(Path(tempfile.gettempdir())) as folder:
        yield folder


@pytest.fixture
def tmp_path(workspace: Path) -> Iterator[Path]:
    """As pytest's own, but gone with the test: images are large."""
    with _folder(workspace) as folder:
        yield folder


@contextmanager
def _folder(parent: Path) -> Iterator[Path]:
    """A folder whose path podman takes for an image's name: not every name that `tempfile` makes is one."""
    folder = parent / f"moorage-acceptance-{secrets.token_hex(4)}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def moorage(workspace: Path) -> Iterator[ServerProcess]:
    """One server for all tests that keep to a repository of their own."""
    with ServerProcess(workspace / "moorage" / "data") as server:
        yield server


@pytest.fixture(scope="session")
def sandbox(workspace: Path) -> Iterator[Sandbox]:
    with Sandbox(workspace / "clients") as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def dockerd(sandbox: Sandbox) -> Iterator[Dockerd]:
    for program in ("docker", "dockerd", "unshare", "nsenter"):
        require(program)
    require_root()
    with Dockerd(sandbox) as dockerd:
        yield dockerd


@pytest.fixture
def registry(moorage: ServerProcess, sandbox: Sandbox) -> Registry:
    """The server as a client addresses it, and what it answers to curl."""
    require("curl")
    return Registry(sandbox, moorage.port)


@pytest.fixture
def repository(request: pytest.FixtureRequest) -> str:
    """A repository name no other test uses."""
    module = request.path.stem.removeprefix("test_")
    return f"{module}/{re.sub('[^a-z0-9]+', '-', request.node.name.removeprefix('test_').lower()).strip('-')}"


@pytest.fixture
def layers(repository: str) -> list[bytes]:
    """Three layers of this machine's files that no other test has."""
    return pack_layers(repository)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


@pytest.fixture(scope="session")
def image(dockerd: Dockerd) -> str:
    """The name of an image of three layers that dockerd holds, whatever a test removes."""
    return dockerd.load("acceptance/ui:one", pack_layers("ui"))


@pytest.fixture(scope="session")
def next_image(dockerd: Dockerd) -> str:
    """The same with another topmost layer."""
    return dockerd.load("acceptance/ui:two", [*pack_layers("ui")[:2], pack({"usr/share/release": b"two\n"})])


@pytest.fixture
def own_moorage(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server for one test, which may kill it."""
    with ServerProcess(tmp_path / "data") as server:
        yield server
