"""Where clients run: their state goes to a folder of ours, and for root `registry.local` is this machine.

docker, podman, buildah and skopeo write below /etc, /run, /var/lib, /dev/shm and /usr/local whatever they
are told. As root they are given a mount namespace in which those are copies, so that a test leaves nothing
behind; the hosts file in it names `registry.local`, and names of ::1, where docker verifies TLS. Without
root only skopeo and curl can be used, as they are.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.acceptance.images import write_docker_archive

PACKAGES = {
    "buildah": "buildah",
    "containerd": "containerd",
    "ctr": "containerd",
    "curl": "curl",
    "docker": "docker.io",
    "docker-registry": "docker-registry",
    "dockerd": "docker.io",
    "ip": "iproute2",
    "nginx": "nginx-light",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "podman": "podman",
    "node": "nodejs",
    "npm": "npm",
    "skopeo": "skopeo",
    "unshare": "util-linux",
}
"""Which Debian package brings a program."""

SEARCH_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
COMMAND_SECONDS = 120
STOP_SECONDS = 20
_RELOADED = "Reloaded configuration"
DOCKER_SOCKET = "unix:///run/moorage-docker.sock"

_SHUT_OFF = """
mount -t tmpfs -o mode=700 tmpfs "$1"
cp -a /etc "$1/etc"
echo '127.0.0.1 registry.local' >> "$1/etc/hosts"
echo '::1 registry.internal other.internal registry.example' >> "$1/etc/hosts"
mkdir "$1/lib"
mount --bind "$1/etc" /etc
mount --bind "$1/lib" /var/lib
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/shm
mkdir -p /usr/local/share/ca-certificates
mount -t tmpfs tmpfs /usr/local/share/ca-certificates
if [ -n "$2" ]; then
  ip link set lo up
  ip address add "$2/32" dev lo
fi
echo ready
exec cat
"""


def require(program: str) -> str:
    """Return where `program` is; without it skip the test, or fail it where all clients have to be there."""
    if found := shutil.which(program, path=SEARCH_PATH):
        return found
    return _do_without(f"{program} is not installed; on Debian: apt-get install {PACKAGES[program]}")


def require_root() -> None:
    """Skip the test, or fail it, unless this is root."""
    if os.geteuid() != 0:
        _do_without("only root can run dockerd, podman and buildah without leaving traces; run this as root")


def _do_without(reason: str) -> str:
    if os.environ.get("MOORAGE_REQUIRE_CLIENTS") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


class Sandbox:
    """Runs clients; a context manager, since the namespace lives as long as the process that holds it."""

    def __init__(self, root: Path, address: str | None = None) -> None:
        """With an `address` it is a network of its own, where this machine has that address."""
        self.root = root
        self._address = address
        self.host = "127.0.0.1"
        self._enter: list[str] = []
        self._holder: subprocess.Popen[str] | None = None
        self._env = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")} | {
            "PATH": SEARCH_PATH,
            "HOME": str(root / "home"),
            "XDG_CONFIG_HOME": str(root / "home"),
            "XDG_DATA_HOME": str(root / "home"),
            "XDG_RUNTIME_DIR": str(root / "home"),
            "REGISTRY_AUTH_FILE": str(root / "home" / "auth.json"),
            "DOCKER_CONFIG": str(root / "home"),
            "DOCKER_HOST": DOCKER_SOCKET,
            "LC_ALL": "C",
        }

    def __enter__(self) -> Self:
        (self.root / "home").mkdir(parents=True)
        (self.root / "home" / "auth.json").write_text("{}")
        if os.geteuid() == 0 and shutil.which("unshare") and shutil.which("nsenter"):
            private = self.root / "private"
            private.mkdir()
            spaces = ["--mount", "--propagation", "private"] + (["--net"] if self._address else [])
            holder = subprocess.Popen(
                ["unshare", *spaces, "sh", "-ec", _SHUT_OFF, "sh", private, self._address or ""],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            assert holder.stdout is not None
            assert holder.stderr is not None
            self._holder = holder
            if holder.stdout.readline() != "ready\n":
                pytest.fail(f"no mount namespace for the clients: {holder.stderr.read()}", pytrace=False)
            self._enter = ["nsenter", f"--mount=/proc/{holder.pid}/ns/mnt"]
            if self._address:
                self._enter.append(f"--net=/proc/{holder.pid}/ns/net")
            self.host = self._address or "registry.local"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._holder is not None:
            self._holder.communicate(timeout=STOP_SECONDS)

    @property
    def pid(self) -> int:
        """The process that holds its namespaces."""
        assert self._holder is not None
        return self._holder.pid

    def start(self, *command: str | Path) -> subprocess.Popen[str]:
        """Start a command in a process group of its own, both its outputs in one pipe."""
        return subprocess.Popen(
            [*self._enter, *command],
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def start_logged(self, log_path: Path, *command: str | Path) -> subprocess.Popen[bytes]:
        """Start a command in a process group of its own, both its outputs in a file."""
        with log_path.open("wb") as log:
            return subprocess.Popen(
                [*self._enter, *command],
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def attempt(self, *command: str | Path, seconds: float = COMMAND_SECONDS) -> tuple[int, str]:
        """Run a command; return its exit code and all it printed."""
        process = self.start(*command)
        try:
            printed, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            printed, _ = process.communicate()
            pytest.fail(f"{command} took longer than {seconds} s; it printed:\n{printed}", pytrace=False)
        return process.returncode, printed

    def say(self, text: str, *command: str | Path) -> str:
        """Run a command that is told something on its standard input, and has to succeed."""
        ran = subprocess.run(
            [*self._enter, *command],
            env=self._env,
            input=text,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        if ran.returncode != 0:
            pytest.fail(f"{command} ended with {ran.returncode}: {ran.stdout}{ran.stderr}", pytrace=False)
        return ran.stdout

    def run(self, *command: str | Path, seconds: float = COMMAND_SECONDS) -> str:
        """Run a command that has to succeed; return what it printed."""
        code, printed = self.attempt(*command, seconds=seconds)
        if code != 0:
            shown = " ".join(map(str, command))
            pytest.fail(f"`{shown}` ended with {code}; it printed:\n{printed}", pytrace=False)
        return printed


class Dockerd:
    """Debian's Docker engine, with no network and no state of the machine's."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._root = sandbox.root / "docker"
        self._log_path = sandbox.root / "dockerd.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._process = self._sandbox.start_logged(
            self._log_path,
            *("dockerd", "-H", DOCKER_SOCKET, "-s", "vfs", "--bridge=none"),
            *("--iptables=false", "--ip6tables=false", "--ip-forward=false"),
            *("--data-root", self._root, "--exec-root", "/run/moorage-docker"),
            *("--pidfile", "/run/moorage-docker.pid"),
        )
        deadline = time.monotonic() + STOP_SECONDS
        while self._sandbox.attempt("docker", "version")[0] != 0:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._stop()
                pytest.fail(f"dockerd did not start:\n{self._log_path.read_text()[-4000:]}", pytrace=False)
            time.sleep(0.1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def __call__(self, *arguments: str | Path) -> str:
        """Run `docker` with these arguments; it has to succeed."""
        return self._sandbox.run("docker", *arguments)

    def attempt(self, *arguments: str | Path) -> tuple[int, str]:
        """Run `docker` with these arguments; return its exit code and all it printed."""
        return self._sandbox.attempt("docker", *arguments)

    def load(self, image: str, layers: Sequence[bytes]) -> str:
        """Make an image of these tars known; return its name."""
        archive = self._sandbox.root / "image.tar"
        write_docker_archive(archive, layers, image)
        self("image", "load", "--input", archive)
        archive.unlink()
        return image

    def reload(self) -> None:
        """Let it read daemon.json again, as `systemctl reload docker` does."""
        assert self._process is not None
        seen = self._log_path.read_text().count(_RELOADED)
        self._process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + STOP_SECONDS
        while self._log_path.read_text().count(_RELOADED) == seen:
            assert time.monotonic() < deadline, self._log_path.read_text()[-4000:]
            time.sleep(0.05)

    def push(self, image: str) -> str:
        """Push and return the digest that docker reports."""
        return read_digest(self("image", "push", image))

    def get_id(self, image: str) -> str:
        """Return an image's id, the digest of its configuration: equal ids mean equal content."""
        return self("image", "inspect", "--format", "{{.Id}}", image).strip()

    def _stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(timeout=STOP_SECONDS)


def read_digest(printed: str) -> str:
    """Return the last digest in what a client printed."""
    found = re.findall(r"sha256:[0-9a-f]{64}", printed)
    assert found, printed
    digest: str = found[-1]
    return digest
