"""Moorage as a process of its own, for the tests that need the real thing.

    with ServerProcess(tmp_path / "data", "--workers", "1") as server:
        ...                              # server.url, server.port, server.pid
        server.kill()                    # SIGKILL, as a power cut would
        server.start()                   # same port, same data
        server.wait_for_event("image_pushed", repository="team/app")

Standard error goes to a file beside the data, one for all restarts; `tests/conftest.py` shows it when a
test fails.
"""

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from random import SystemRandom
from types import TracebackType
from typing import Any, Self

from tests.starting import COMMAND, Child, start

START_SECONDS = 60.0
STOP_SECONDS = 35.0
"""A drain may take 30 s."""

_CHANCE = SystemRandom()
"""Other lanes of the tests look for ports too; Hypothesis gives `random` the same seed in each."""


def find_free_port() -> int:
    """Return a loopback port nobody listens on now, and the kernel gives to no one who connects."""
    while True:
        port = _CHANCE.randrange(10_000, 32_768)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def trusting_nobody() -> ssl.SSLContext:
    """A client that takes any certificate: for tests of something else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class ServerError(Exception):
    """The server did not start, or ended on its own; the message carries what it printed."""


class ServerProcess:
    """`moorage serve` on a loopback port, in a process group of its own.

    `args` follow `serve --listen ... --data ...`. `env` is added to this process's environment,
    from which every MOORAGE_* setting is taken out first. With `is_tls` it serves by TLS on loopback.
    Use it as a context manager, or call `start` and, whatever happens, `terminate`.
    """

    def __init__(
        self,
        data_dir: Path,
        *args: str,
        env: Mapping[str, str] | None = None,
        port: int | None = None,
        host: str = "127.0.0.1",
        is_tls: bool = False,
    ) -> None:
        self.data_dir = data_dir
        self.host = host
        self.port = port or find_free_port()
        self.address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self.url = f"{'https' if is_tls else 'http'}://{self.address}"
        self._is_tls = is_tls
        self.log_path = data_dir.with_name(f"{data_dir.name}.stderr")
        self._command = [
            *(*COMMAND, "serve"),
            *("--listen", self.address, "--data", str(data_dir), *args),
        ]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MOORAGE_")}
        self._env = {**inherited, **({"MOORAGE_TLS_MODE": "always"} if is_tls else {}), **(env or {})}
        self._process: subprocess.Popen[bytes] | Child | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.terminate()

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._process is None:
            raise ServerError("the server is not running")
        return self._process.pid

    def start(self) -> None:
        """Start and return once GET /readyz answers 200."""
        if self._process is not None:
            raise ServerError("the server is running already")
        if self.is_ready():
            raise ServerError(f"another server answers on {self.address}")
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self._process = self._start_logging_to(log.fileno())
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise ServerError(f"the server did not become ready; it printed:\n{self.log_tail()}")
            time.sleep(0.02)

    def _start_logging_to(self, log: int) -> subprocess.Popen[bytes] | Child:
        command, arguments = tuple(self._command[: len(COMMAND)]), self._command[len(COMMAND) :]
        if command == COMMAND:
            return start(arguments, env=self._env, stdout=log, stderr=log, start_new_session=True)
        return subprocess.Popen(
            self._command,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def is_ready(self) -> bool:
        """Tell whether GET /readyz answers 200 now."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=2)
        if self._is_tls:
            context = trusting_nobody()
            connection = http.client.HTTPSConnection(self.host, self.port, timeout=2, context=context)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def terminate(self) -> int | None:
        """Ask it to drain and end; return its exit code, or None if it was not running."""
        if self._process is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline and not _has_ended(self._process.pid):
            time.sleep(0.01)
        return self._end_group()

    def kill(self) -> int | None:
        """SIGKILL the server and its workers; return its exit code, or None if it was not running."""
        return None if self._process is None else self._end_group()

    def restart(self) -> None:
        """Drain, end and start again, on the same port and data."""
        self.terminate()
        self.start()

    def log_tail(self, lines: int = 60) -> str:
        """Return the end of what it printed."""
        if not self.log_path.exists():
            return ""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def log_events(self, event: str | None = None, **fields: Any) -> list[dict[str, Any]]:
        """Return the JSON lines of the log in order; of one event, with these values, when given."""
        if not self.log_path.exists():
            return []
        found = []
        for line in self.log_path.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict) and event in {None, entry.get("event")}:
                    found.append(entry)
        return [entry for entry in found if all(entry.get(name) == value for name, value in fields.items())]

    def wait_for_event(self, event: str, *, seconds: float = 20.0, **fields: Any) -> dict[str, Any]:
        """Return the newest such entry; a log line may follow the reply it speaks of."""
        deadline = time.monotonic() + seconds
        while not (found := self.log_events(event, **fields)):
            if time.monotonic() > deadline:
                raise ServerError(f"no {event} with {fields} in the log:\n{self.log_tail()}")
            time.sleep(0.02)
        return found[-1]

    def _end_group(self) -> int:
        """Kill what is left of the group, then reap its leader: until then nobody can inherit its number."""
        assert self._process is not None
        process, self._process = self._process, None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return process.wait(timeout=STOP_SECONDS)


def _has_ended(pid: int) -> bool:
    """Tell whether a child has ended, without reaping it."""
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, pid, options) is not None
