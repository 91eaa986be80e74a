"""The command as it is typed, and a registry that has an administrator."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commands import PASSWORD, moorage
from tests.servers import ServerProcess


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A registry that `alice` administers; the robot `bot.admin` does too."""
    folder = tmp_path_factory.mktemp("registry") / "data"
    # what a test deletes is collected when it says so
    with ServerProcess(folder, "--workers", "1", env={"MOORAGE_JOBS_GARBAGE": "every 6h"}) as running:
        local = ("--data", folder)
        moorage("admin", "claim", "alice", "--password-stdin", *local, stdin=PASSWORD).check()
        moorage("user", "add", "bot.admin", "--robot", "--role", "admin", *local).check()
        yield running


@pytest.fixture(scope="module")
def folder(server: ServerProcess) -> Path:
    """Its data folder."""
    return server.data_dir


@pytest.fixture(scope="module")
def admin_token(folder: Path) -> str:
    made = moorage("token", "create", "tests", "--for", "bot.admin", "--json", "--data", folder).json()
    return str(made["secret"])
