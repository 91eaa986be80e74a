"""One server for all tests, and a repository for each that no other test uses."""

from collections.abc import Iterator

import pytest

from tests.content import some_bytes
from tests.servers import ServerProcess
from tests.spec.client import Client, Repository


@pytest.fixture(scope="session")
def moorage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Two workers, so that no request relies on what another left in memory."""
    with ServerProcess(tmp_path_factory.mktemp("spec") / "data", "--workers", "2") as server:
        yield server


@pytest.fixture(scope="session")
def client(moorage: ServerProcess) -> Client:
    return Client(moorage.port)


@pytest.fixture
def repository(client: Client) -> Repository:
    return Repository(client)


@pytest.fixture
def other(client: Client) -> Repository:
    """A second repository."""
    return Repository(client)


@pytest.fixture
def content() -> bytes:
    """Bytes that are in no repository yet."""
    return some_bytes()
