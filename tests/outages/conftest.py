"""An upstream of its own for each test, Debian's docker-registry, and a mirror of it with a proxy between."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.servers import DockerRegistry
from tests.faults.means import require
from tests.outages.mirror import Mirror, write_settings
from tests.outages.proxy import Proxy
from tests.servers import ServerProcess


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
