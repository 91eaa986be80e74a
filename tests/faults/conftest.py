"""Servers that a test may break, and what is pushed to them before."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.content import some_bytes
from tests.faults.means import SmallDisk, WrappedServer, small_disk
from tests.servers import ServerProcess
from tests.spec.client import Client, Repository

DISK_BYTES = 24 << 20


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """Two workers on a folder of the test's own."""
    with ServerProcess(tmp_path / "data", "--workers", "2") as server:
        yield server


@pytest.fixture
def repository(server: ServerProcess) -> Repository:
    return Repository(Client(server.port), "team/app")


@pytest.fixture
def content() -> bytes:
    return some_bytes(200_000)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of 24 MiB."""
    with small_disk(tmp_path / "disk", f"size={DISK_BYTES}") as disk:
        yield disk


@pytest.fixture
def disk_server(disk: SmallDisk) -> Iterator[WrappedServer]:
    """A server on the small disk, which keeps no room in reserve."""
    data = disk.mountpoint / "data"
    with WrappedServer(disk.enter, data, "--workers", "2", env={"MOORAGE_STORAGE_RESERVE": "0"}) as server:
        yield server


@pytest.fixture
def disk_repository(disk_server: WrappedServer) -> Repository:
    return Repository(Client(disk_server.port), "team/app")
