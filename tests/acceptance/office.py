"""A registry on a network, started as an administrator starts it, and what is typed beside it."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.acceptance.sandbox import Sandbox

PORT = 5000
PASSWORD = "correct horse battery"
START_SECONDS = 20
SECRET = re.compile(r"moor_[A-Za-z0-9_-]{43}")


class Office:
    """The registry on its network, started by the line that an administrator types."""

    def __init__(self, sandbox: Sandbox, settings: str = "", port: int = PORT) -> None:
        """`settings` are TOML. Its address is the network's."""
        self.sandbox = sandbox
        self.port = port
        self.address = f"{sandbox.host}:{port}"
        self.data = sandbox.root / "registry"
        self.settings = sandbox.root / "moorage.toml"
        self.settings.write_text(settings)
        self._log = sandbox.root / "registry.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def start(self) -> None:
        """Start it, or start it again."""
        serve = ("serve", "--listen", f"0.0.0.0:{self.port}", "--data", self.data, "--config", self.settings)
        self._process = self.sandbox.start_logged(self._log, sys.executable, "-m", "moorage", *serve)
        deadline = time.monotonic() + START_SECONDS
        while self.sandbox.attempt("curl", "-ksf", f"https://{self.address}/readyz")[0] != 0:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                pytest.fail(f"the registry did not start:\n{self.printed}", pytrace=False)
            time.sleep(0.1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Let it drain and end, if it runs."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(timeout=40)
            self._process = None

    @property
    def printed(self) -> str:
        """What was said on the terminal, and the log."""
        return self._log.read_text()

    @property
    def fingerprint(self) -> str:
        """Of its root, as it was printed for those who are to compare it."""
        return str(re.findall(r"(?:[0-9A-F]{2}:){31}[0-9A-F]{2}", self.printed)[0])

    def find_line(self, pattern: str) -> str:
        """The one printed line that has this in it."""
        (line,) = [line.strip() for line in self.printed.splitlines() if re.search(pattern, line)]
        return line

    def curl(self, path: str) -> str:
        """What it answers to someone who has not signed in, headers and all."""
        options = ("--silent", "--insecure", "--include", "--max-time", "30")
        return self.sandbox.run("curl", *options, f"https://{self.address}{path}")

    def moorage(self, *arguments: str, said: str = "") -> str:
        """Type a command of ours beside the data folder."""
        return self.sandbox.say(said, sys.executable, "-m", "moorage", *arguments, "--data", str(self.data))

    def add_person(self, name: str) -> None:
        self.moorage("user", "add", name, "--password-stdin", said=PASSWORD + "\n")

    def add_robot(self, name: str, *grants: str) -> str:
        """Make a robot with these grants; the secret of a token of its."""
        self.moorage("user", "add", name, "--robot")
        for grant in grants:
            self.moorage("grant", "add", name, *grant.split())
        (secret,) = SECRET.findall(self.moorage("token", "create", "ci", "--for", name))
        return str(secret)

    def claim(self, link: str, name: str) -> None:
        """Do what a person does in a browser with the printed link."""
        url = urlsplit(link)
        page = self.sandbox.run("curl", "-ks", link)
        assert "first administrator" in page
        code = parse_qs(url.query)["code"][0]
        form = urlencode({"code": code, "name": name, "password": PASSWORD, "again": PASSWORD})
        answer = self.sandbox.run("curl", "-ks", f"{url.scheme}://{url.netloc}{url.path}", "-d", form)
        assert f"is yours, {name}" in answer
