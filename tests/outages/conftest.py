"""An upstream of its own for each test, Debian's docker-registry, and a mirror of it with a proxy between."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.servers import DockerRegistry
from tests.faults.means import require
from tests.outages.mirror import Mirror, write_settings
from tests.outages.proxy import Proxy
from tests.servers import ServerProcess


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[DockerRegistry]:
    require("docker-registry", "docker-registry")
    server = DockerRegistry("docker-registry", tmp_path / "upstream")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def proxy(registry: DockerRegistry) -> Iterator[Proxy]:
    with Proxy(registry.address.port) as proxy:
        yield proxy


@pytest.fixture
def server(proxy: Proxy, tmp_path: Path) -> Iterator[ServerProcess]:
    """Two workers; tags are asked about at every pull."""
    settings = write_settings(tmp_path, proxy.url)
    with ServerProcess(tmp_path / "data", "--workers", "2", "--config", str(settings)) as server:
        yield server


@pytest.fixture
def mirror(server: ServerProcess, proxy: Proxy, registry: DockerRegistry) -> Mirror:
    return Mirror(server, proxy, registry)
