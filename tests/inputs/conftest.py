"""One server that logs every request; another with limits so short that a test can wait for them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.inputs.registry import Registry
from tests.servers import ServerProcess

LOGGED = """
[log]
format = "json"
requests = true
"""
SHORT = (
    LOGGED
    + """
[limits]
header_timeout = "2s"
idle_timeout = "2s"
body_idle = "2s"
reader_idle = "2s"

[uploads]
max_open = 5
max_bytes = "32MiB"
"""
)


def server_in(folder: Path, config: str) -> ServerProcess:
    path = folder / "moorage.toml"
    path.write_text(config)
    return ServerProcess(folder / "data", "--workers", "2", "--config", str(path))


@pytest.fixture(scope="session")
def _usual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with server_in(tmp_path_factory.mktemp("inputs"), LOGGED) as server:
        yield server


@pytest.fixture
def moorage(_usual: ServerProcess) -> ServerProcess:
    """The server whose log a failing test shows."""
    return _usual


@pytest.fixture
def registry(moorage: ServerProcess) -> Registry:
    """The default limits, and a repository of the test's own."""
    return Registry(moorage)


@pytest.fixture
def strict_server(tmp_path: Path) -> Iterator[ServerProcess]:
    with server_in(tmp_path, SHORT) as server:
        yield server


@pytest.fixture
def strict(strict_server: ServerProcess) -> Registry:
    """Limits of two seconds, five uploads and 32 MiB, on a server of the test's or the module's own."""
    return Registry(strict_server)
