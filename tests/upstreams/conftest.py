"""An upstream of its own for each test: Debian's docker-registry."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.servers import DockerRegistry
from tests.faults.means import require


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[DockerRegistry]:
    require("docker-registry", "docker-registry")
    server = DockerRegistry("docker-registry", tmp_path / "upstream")
    server.start()
    yield server
    server.stop()
