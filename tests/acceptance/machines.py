"""Machines with a network between them, as network namespaces; and the clients that run on one of them."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.acceptance.images import Layout
from tests.acceptance.sandbox import Sandbox

START_SECONDS = 20
STOP_SECONDS = 20
_numbers = count()

_DOCKER_REGISTRY = """
version: 0.1
log: {{ level: error }}
storage: {{ filesystem: {{ rootdirectory: {data} }} }}
http: {{ addr: "0.0.0.0:{port}" }}
"""


@dataclass(frozen=True, slots=True)
class Line:
    """A cable between two machines, that can be pulled; packets are then lost, and nothing is refused."""

    sandbox: Sandbox
    device: str

    def pull(self) -> None:
        self.sandbox.run("ip", "link", "set", self.device, "down")

    def plug(self, to: str) -> None:
        self.sandbox.run("ip", "link", "set", self.device, "up")
        self.sandbox.run("ip", "route", "replace", f"{to}/32", "dev", self.device, "src", self.sandbox.host)


def connect(one: Sandbox, other: Sandbox) -> Line:
    """Lay a cable; each then reaches the other by its address, and no one else. The end is the other's."""
    number = next(_numbers)
    devices = f"moor{os.getpid() % 10000}a{number}", f"moor{os.getpid() % 10000}b{number}"
    subprocess.run(
        [
            *("ip", "link", "add", devices[0], "netns", str(one.pid), "type", "veth"),
            *("peer", "name", devices[1], "netns", str(other.pid)),
        ],
        check=True,
    )
    for sandbox, device, peer in ((one, devices[0], other), (other, devices[1], one)):
        Line(sandbox, device).plug(peer.host)
    return Line(other, devices[1])


def name_host(sandbox: Sandbox, address: str, name: str) -> None:
    """Let a machine know another by a name."""
    sandbox.run("sh", "-c", f"echo '{address} {name}' >> /etc/hosts")


class Daemon:
    """A program that runs on a machine until it is stopped, and can be started again."""

    def __init__(
        self, sandbox: Sandbox, name: str, command: Sequence[str | Path], ready: Sequence[str]
    ) -> None:
        self._sandbox = sandbox
        self._log = sandbox.root / f"{name}.log"
        self._command, self._ready = command, ready
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        self._process = self._sandbox.start_logged(self._log, *self._command)
        deadline = time.monotonic() + START_SECONDS
        while self._sandbox.attempt(*self._ready)[0] != 0:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                pytest.fail(f"{self._command} did not start:\n{self._log.read_text()[-4000:]}", pytrace=False)
            time.sleep(0.1)

    def stop(self) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=STOP_SECONDS)


def docker_registry(sandbox: Sandbox, port: int) -> Daemon:
    """Debian's docker-registry, by plain HTTP, open to all."""
    configuration = sandbox.root / "docker-registry.yml"
    configuration.write_text(_DOCKER_REGISTRY.format(data=sandbox.root / "docker-registry", port=port))
    ready = ("curl", "-sf", f"http://{sandbox.host}:{port}/v2/")
    # it would take that for a setting of its own
    command = ("env", "--unset=REGISTRY_AUTH_FILE", "docker-registry", "serve", configuration)
    return Daemon(sandbox, "docker-registry", command, ready)


class Containerd:
    """Debian's containerd with a root of its own, and ctr."""

    SOCKET = "/run/moorage-containerd.sock"

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        configuration = sandbox.root / "containerd.toml"
        configuration.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
        places = ("--root", sandbox.root / "containerd", "--state", "/run/moorage-containerd")
        command = ("containerd", "--config", configuration, *places, "--address", self.SOCKET)
        self.daemon = Daemon(sandbox, "containerd", command, ("ctr", "--address", self.SOCKET, "version"))

    def __call__(self, *arguments: str) -> str:
        return self._sandbox.run("ctr", "--address", self.SOCKET, *arguments)

    def attempt_pull(self, name: str) -> tuple[int, str]:
        options = ("--hosts-dir", "/etc/containerd/certs.d", "--snapshotter", "native")
        command = ("ctr", "--address", self.SOCKET, "images", "pull", *options, name)
        return self._sandbox.attempt(*command)

    def pull(self, name: str) -> str:
        """Pull by the files that Kubernetes reads; return the digest."""
        code, printed = self.attempt_pull(name)
        assert code == 0, printed
        (line,) = (each for each in self("images", "list").splitlines() if each.startswith(f"{name} "))
        return next(word for word in line.split() if word.startswith("sha256:"))

    def forget(self, *names: str) -> None:
        """Delete all there is, with its content."""
        self("images", "remove", "--sync", *names)
        assert self("content", "list", "--quiet") == ""


class Podman:
    """podman with a store of its own; it reads the machine's registries.conf.d and certs.d."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._command = (
            *("podman", "--root", str(sandbox.root / "podman"), "--runroot", "/run/moorage-podman"),
            *("--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "none"),
        )

    def __call__(self, *arguments: str) -> str:
        return self._sandbox.run(*self._command, *arguments)

    def attempt(self, *arguments: str) -> tuple[int, str]:
        return self._sandbox.attempt(*self._command, *arguments)

    def pull(self, name: str) -> str:
        """Return the image's id."""
        return self("image", "pull", "--quiet", name).strip()

    def forget(self) -> None:
        """Delete all that was pulled."""
        self("image", "rm", "--all", "--force")
        assert self("image", "list", "--quiet").strip() == ""


def publish(sandbox: Sandbox, layout: Layout, tag: str, target: str, *options: str) -> None:
    """Put an image of a layout into a registry, by skopeo, as its bytes are."""
    command = ("skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--preserve-digests")
    sandbox.run(*command, *options, f"oci:{layout.folder}:{tag}", f"docker://{target}")
