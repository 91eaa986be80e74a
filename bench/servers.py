"""A registry as a process: started, ready, stopped; or one that runs already."""

import os
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from bench import processes
from bench.client import Address, Client, TlsAddress

_ROOT = Path(__file__).resolve().parent.parent
_READY_WITHIN_S = 120.0
_STOPPED_WITHIN_S = 15.0
_LOOK_EVERY_S = 0.002

# The registry everybody knows, at its best: descriptors cached in memory, nothing logged per request.
_DOCKER_REGISTRY_CONFIG = """\
version: 0.1
log:
  level: error
  accesslog:
    disabled: true
storage:
  filesystem:
    rootdirectory: {data}
  cache:
    blobdescriptor: inmemory
  delete:
    enabled: true
  maintenance:
    uploadpurging:
      enabled: false
http:
  addr: {host}:{port}
  secret: of-no-use-to-anyone
"""


class NotReady(Exception):  # it says what is the matter
    """A server ended, or was not ready in time."""


class Server:
    """A registry that is asked; here one that somebody else started, whose process is not known."""

    def __init__(self, name: str, address: Address) -> None:
        self.name = name
        self.address = address

    @property
    def pid(self) -> int | None:
        """The first process of the server; None when it is not known."""
        return None

    def cpu_seconds(self) -> float | None:
        """Give what the server has used so far; None when its process is not known."""
        return None if self.pid is None else processes.cpu_seconds(self.pid)


class OwnServer(Server, ABC):
    """A registry that is started here, on loopback, with a data folder of its own."""

    ready_target: str

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name, Address("127.0.0.1", 0))
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir(parents=True)
        self.certificate: Path | None = None
        """A certificate and its key in one file: it is served by TLS then, from the next start on."""
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """Give the command that serves `data` at `address`."""

    def environment(self) -> dict[str, str]:
        """Give the environment of that command."""
        return dict(os.environ)

    @abstractmethod
    def sibling(self, folder: Path) -> Self:
        """Make one like this, not started, with an empty data folder."""

    @property
    def pid(self) -> int | None:
        """The process that was started; None while there is none."""
        return None if self._process is None else self._process.pid

    def start(self) -> float:
        """Start it and wait until it is ready; give the seconds from the one to the other."""
        kind = Address if self.certificate is None else TlsAddress
        self.address = kind("127.0.0.1", _find_free_port())
        command = self.command()
        environment = self.environment() | {
            "PYTHONPATH": os.pathsep.join([str(_ROOT / "src"), os.environ.get("PYTHONPATH", "")]).rstrip(":")
        }
        with self._log.open("ab") as log:
            began = time.perf_counter()
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=environment,
                start_new_session=True,
            )
        while not self._is_ready():
            if self._process.poll() is not None or time.perf_counter() - began > _READY_WITHIN_S:
                self.stop()
                raise NotReady(f"{self.name} is not ready: {self.last_words()}")
            time.sleep(_LOOK_EVERY_S)
        return time.perf_counter() - began

    def stop(self) -> None:
        """Ask it to end, and after 15 s end what is left of its tree; nothing when it is not running."""
        process, self._process = self._process, None
        if process is None:
            return
        tree = processes.find_tree(process.pid)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for left in {stat.pid for stat in processes.find_tree(process.pid)} & {stat.pid for stat in tree}:
            os.kill(left, signal.SIGKILL)

    def last_words(self) -> str:
        """Give the end of what it logged."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-2000:] if self._log.exists() else ""

    def _is_ready(self) -> bool:
        try:
            with Client(self.address) as client:
                return client.ask_status("GET", self.ready_target) == 200
        except (OSError, HTTPException):
            return False


class Moorage(OwnServer):
    """Moorage, out of this tree."""

    ready_target = "/readyz"

    def __init__(self, name: str, folder: Path, arguments: tuple[str, ...] = ()) -> None:
        super().__init__(name, folder)
        self._arguments = arguments

    def command(self) -> list[str]:
        """Give `moorage serve`, run by the interpreter that runs this."""
        listen = f"{self.address.host}:{self.address.port}"
        command = [sys.executable, "-m", "moorage", "serve", "--listen", listen, "--data", str(self.data)]
        return [*command, *self._arguments]

    def environment(self) -> dict[str, str]:
        """Add the certificate, which has no option on the command line."""
        if self.certificate is None:
            return super().environment()
        paths = dict.fromkeys(("MOORAGE_TLS_CERTIFICATE", "MOORAGE_TLS_KEY"), str(self.certificate))
        return super().environment() | paths

    def sibling(self, folder: Path) -> Self:
        """Make one like this, not started, with an empty data folder."""
        return type(self)(self.name, folder, self._arguments)

    def configured(self, folder: Path, settings: Path) -> Self:
        """Make one like this, not started, with an empty data folder and a file of settings."""
        return type(self)(self.name, folder, (*self._arguments, "--config", str(settings)))


class DockerRegistry(OwnServer):
    """Debian's docker-registry: CNCF distribution 2.8.2 on its filesystem driver."""

    ready_target = "/v2/"

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name, folder)
        self._htpasswd: Path | None = None

    def command(self) -> list[str]:
        """Write the configuration and give `docker-registry serve`."""
        config = self.folder / "config.yml"
        host, port = self.address
        text = _DOCKER_REGISTRY_CONFIG.format(data=self.data, host=host, port=port)
        if self.certificate is not None:
            text += f"  tls:\n    certificate: {self.certificate}\n    key: {self.certificate}\n"
        if self._htpasswd is not None:
            text += f"auth:\n  htpasswd:\n    realm: bench\n    path: {self._htpasswd}\n"
        config.write_text(text, encoding="utf-8")
        return ["docker-registry", "serve", str(config)]

    def ask_for_password(self, htpasswd: str) -> None:
        """From the next start on, let in only whom this file names; its hashes are bcrypt's."""
        self._htpasswd = self.folder / "htpasswd"
        self._htpasswd.write_text(htpasswd, encoding="utf-8")

    def _is_ready(self) -> bool:
        if self._htpasswd is None:
            return super()._is_ready()
        with suppress(OSError, HTTPException), Client(self.address) as client:
            return client.ask_status("GET", self.ready_target) == 401
        return False

    def sibling(self, folder: Path) -> Self:
        """Make one like this, not started, with an empty data folder."""
        return type(self)(self.name, folder)


def find_running(name: str, url: str) -> Server:
    """Give the registry that runs at `url` already.

    Raises ValueError when `url` is not http://HOST:PORT.
    """
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname is None:
        raise ValueError(f"{url!r} is not http://HOST:PORT")
    return Server(name, Address(parts.hostname, parts.port or 80))


def _find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
