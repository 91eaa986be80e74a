"""A provider, and a registry that has an administrator and trusts it."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from moorage import app
from moorage.config import Settings
from moorage.database import Transaction
from moorage.databases.sqlite import SqliteDatabase
from moorage.health import Health
from moorage.identity.accounts.rows import insert_account
from tests.federation.provider import AUDIENCE, Provider, install
from tests.federation.registry import Registry
from tests.servers import ServerProcess, find_free_port

START = """
[oidc]
issuer = "{issuer}"
client_id = "{client}"
create_accounts = true
private_addresses = ["127.0.0.0/8", "::1/128"]
{extra}

[[oidc.trusts]]
name = "bot.ci"
issuer = "{issuer}"
audience = "{audience}"
claims = {{ repository = "acme/app", ref = "refs/heads/*" }}
grants = ["push team/app", "pull library/*"]
life = "30m"
"""

Work = Callable[[Transaction], object]
Serve = Callable[..., Registry]


def prepare(data: Path, *works: Work) -> None:
    """Make the data folder, with an administrator and what `works` do."""
    defaults = Settings()
    settings = replace(defaults, storage=replace(defaults.storage, data=data))
    os.close(app.prepare(settings))

    async def write() -> None:
        db = SqliteDatabase(settings.storage.database, Health())
        try:
            for work in works:
                await db.write(work)
        finally:
            db.close()

    asyncio.run(write())


def administrator(tx: Transaction) -> None:
    insert_account(tx, "root.admin", "test", role="admin")


class Server:
    """Starts registries that trust an issuer, each in a folder of its own, on one port."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.port = find_free_port()
        self._folder = folder
        self._stack = stack

    @property
    def callback(self) -> str:
        return f"http://127.0.0.1:{self.port}/sign-in/callback"

    def start(
        self,
        issuer: str,
        *works: Work,
        settings: str = START,
        client: str = "moorage",
        extra: str = 'client_secret_file = "{folder}/secret"',
        first: Work = administrator,
        secret: str = "of the tests",
    ) -> ServerProcess:
        """`settings` is a template as `START`; `works` are done to the data first."""
        data = self._folder / "data"
        prepare(data, first, *works)
        (self._folder / "secret").write_text(f"{secret}\n")
        path = self._folder / "moorage.toml"
        more = extra.format(folder=self._folder)
        path.write_text(settings.format(issuer=issuer, client=client, audience=AUDIENCE, extra=more))
        args = ("--workers", "1", "--config", str(path))
        return self._stack.enter_context(ServerProcess(data, *args, port=self.port))


@pytest.fixture(scope="session")
def installed() -> None:
    install()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with ExitStack() as stack:
        yield Server(tmp_path_factory.mktemp("registry"), stack)


@pytest.fixture(scope="module")
def provider(installed: None, shared: Server) -> Iterator[Provider]:
    """One for all tests that leave it as it is."""
    with Provider(shared.callback) as provider:
        yield provider


@pytest.fixture(scope="module")
def server(shared: Server, provider: Provider) -> ServerProcess:
    return shared.start(provider.issuer)


_numbers = count(2)


@pytest.fixture
def registry(server: ServerProcess) -> Registry:
    """The one registry, asked from an address that no other test has."""
    return Registry(server, f"127.0.1.{next(_numbers)}")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    with ExitStack() as stack:
        yield Server(tmp_path, stack)


@pytest.fixture
def own_provider(installed: None, own: Server) -> Iterator[Provider]:
    """One for a test that stops it, changes it, or counts what it is asked."""
    with Provider(own.callback) as provider:
        yield provider


@pytest.fixture
def serve(own: Server) -> Serve:
    return lambda *args, **kwargs: Registry(own.start(*args, **kwargs))
