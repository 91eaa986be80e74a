"""Registries to copy between: Debian's docker-registry, a Moorage that anyone may write to, a guarded one.

The commands run as a person without docker would run them, in a home folder of the test's own.
"""

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.servers import DockerRegistry
from moorage.cli.main import app
from tests.acceptance.images import Layout
from tests.acceptance.sandbox import require
from tests.access.people import PASSWORD, People
from tests.cli.commands import Ran, environment
from tests.copies.content import add_multi
from tests.servers import ServerProcess
from tests.starting import COMMAND


@dataclass(frozen=True, slots=True)
class Home:
    """Where a person's programs keep what they know."""

    folder: Path

    @property
    def env(self) -> dict[str, str]:
        """What tells a program of it."""
        return {
            "HOME": str(self.folder),
            "DOCKER_CONFIG": str(self.folder / "docker"),
            "XDG_STATE_HOME": str(self.folder / "state"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "XDG_RUNTIME_DIR": str(self.folder / "run"),
            "REGISTRY_AUTH_FILE": "",
            "NO_COLOR": "1",
            "COLUMNS": "120",
        }

    def run(self, *arguments: object, stdin: str = "", **env: str) -> Ran:
        """A command of moorage, in this process, which is there already."""
        ran = CliRunner().invoke(app, list(map(str, arguments)), input=stdin, env=self.env | env)
        if ran.exception is not None and not isinstance(ran.exception, SystemExit):
            raise ran.exception
        return Ran(ran.exit_code, ran.stdout, ran.stderr)

    def start(self, *arguments: object) -> subprocess.Popen[bytes]:
        """The same in a process of its own, that can be killed."""
        command = [*COMMAND, *map(str, arguments)]
        env = environment(self.env)
        return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    folder = tmp_path / "home"
    folder.mkdir()
    return Home(folder)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


@pytest.fixture
def multi(layout: Layout) -> dict[str, dict[str, object]]:
    """An image for two platforms in the layout, with what refers to it, by its parts."""
    return add_multi(layout)


@pytest.fixture(scope="module")
def docker_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    require("docker-registry")
    server = DockerRegistry("docker-registry", tmp_path_factory.mktemp("docker-registry") / "it")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Anyone on this machine may push to it, by plain HTTP."""
    with ServerProcess(tmp_path_factory.mktemp("plain") / "data", "--workers", "1") as server:
        yield server


@dataclass(frozen=True, slots=True)
class Guarded:
    """A Moorage with accounts and TLS."""

    server: ServerProcess
    people: People

    @property
    def authority(self) -> Path:
        """Its root certificate."""
        return self.server.data_dir / "tls" / "authority.pem"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """`writer` may push to team/*, `reader` only pull."""
    with ServerProcess(tmp_path_factory.mktemp("guarded") / "data", "--workers", "1", is_tls=True) as server:
        people = People(server.data_dir, server.port)
        people.add("admin", role="admin")
        people.add("writer")
        people.add("reader")
        people.add_namespace("team")
        people.give("writer", "team/*", "push")
        people.give("reader", "team/*", "pull")
        yield Guarded(server, people)


@pytest.fixture
def sign_in(home: Home, guarded: Guarded) -> Callable[[str], None]:
    """Sign a person in at the Moorage with accounts."""

    def login(name: str) -> None:
        options = ("--username", name, "--password-stdin", "--ca", guarded.authority)
        home.run("login", guarded.server.address, *options, stdin=PASSWORD).check()

    return login
