"""An upstream of its own for each test, Debian's docker-registry, and a mirror of it with a proxy between."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.servers import DockerRegistry
from tests.faults.means import SmallDisk, WrappedServer, require
from tests.outages.images import Known
from tests.outages.mirror import Mirror, write_settings
from tests.outages.proxy import Proxy
from tests.servers import ServerProcess

LEASE_S = 1


@contextmanager
def upstream_in(folder: Path) -> Iterator[DockerRegistry]:
    require("docker-registry", "docker-registry")
    server = DockerRegistry("docker-registry", folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def serving(folder: Path, proxy: Proxy) -> Iterator[ServerProcess]:
    """Two workers; tags are asked about at every pull."""
    settings = write_settings(folder, proxy.url)
    with ServerProcess(folder / "data", "--workers", "2", "--config", str(settings)) as server:
        yield server


@contextmanager
def serving_on(disk: SmallDisk, folder: Path, proxy: Proxy) -> Iterator[WrappedServer]:
    """Two workers on a small disk, which keep no room in reserve, and leases of blobs for a moment only.

    Their settings are in the folder.
    """
    settings = write_settings(folder, proxy.url)
    arguments = ("--workers", "2", "--config", str(settings))
    env = {"MOORAGE_STORAGE_RESERVE": "0", "MOORAGE_DELETE_DELAY": f"{LEASE_S}s"}
    with WrappedServer(disk.enter, disk.mountpoint / "data", *arguments, env=env) as server:
        yield server


def files_on(disk: SmallDisk, image: Known) -> set[str]:
    """Which of an image's blobs are kept."""
    names = {path.name.partition(".")[0] for path in (disk.path / "data" / "blobs").rglob("*.*")}
    return {digest for digest in image.layers if digest.partition(":")[2] in names}


@pytest.fixture(scope="module")
def shared_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    """For tests that have blobs of their own on it, and leave its line as it was."""
    with upstream_in(tmp_path_factory.mktemp("upstream")) as server:
        yield server


@pytest.fixture(scope="module")
def shared_proxy(shared_registry: DockerRegistry) -> Iterator[Proxy]:
    with Proxy(shared_registry.address.port) as proxy:
        yield proxy


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[DockerRegistry]:
    with upstream_in(tmp_path / "upstream") as server:
        yield server


@pytest.fixture
def proxy(registry: DockerRegistry) -> Iterator[Proxy]:
    with Proxy(registry.address.port) as proxy:
        yield proxy


@pytest.fixture
def server(proxy: Proxy, tmp_path: Path) -> Iterator[ServerProcess]:
    with serving(tmp_path, proxy) as server:
        yield server


@pytest.fixture
def mirror(server: ServerProcess, proxy: Proxy, registry: DockerRegistry) -> Mirror:
    return Mirror(server, proxy, registry)
