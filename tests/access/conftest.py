"""One server with accounts for each module: wrong passwords are counted by address, and all come from one."""

import secrets
from collections.abc import Iterator

import pytest

from tests.access.people import People, basic
from tests.access.town import settle
from tests.servers import ServerProcess

CONFIG = """
[log]
format = "json"

[tokens]
life = "5m"
"""


@pytest.fixture(scope="module")
def moorage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Two workers: what counts at once counts in both."""
    folder = tmp_path_factory.mktemp("access")
    (folder / "moorage.toml").write_text(CONFIG)
    with ServerProcess(folder / "data", "--workers", "2", "--config", str(folder / "moorage.toml")) as server:
        yield server


@pytest.fixture(scope="module")
def town(moorage: ServerProcess) -> People:
    """Everyone of `town.py`, with something in each place."""
    people = People(moorage)
    settle(people)
    return people


@pytest.fixture
def newcomer(town: People) -> str:
    """An account that no other test uses, with a namespace of its own."""
    name = f"n{secrets.token_hex(6)}"
    town.add(name)
    return name


@pytest.fixture
def newcomers_basic(newcomer: str) -> list[tuple[str, str]]:
    return basic(newcomer)
