"""A mirror of Debian's docker-registry, with a proxy between the two."""

import http.client
import json
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.servers import DockerRegistry
from tests.content import IMAGES, INDEXES, digest_of
from tests.faults.means import wait_until
from tests.outages.images import Known
from tests.outages.proxy import Proxy
from tests.servers import ServerProcess
from tests.spec.client import Client, Repository

NAME = "hub.test"
REMOTE = "library/app"
ACCEPT = ", ".join((*IMAGES, *INDEXES))
"""What docker, containerd and podman say that they take."""

WITHIN_S = 10.0
"""No client waits longer for the first of an answer, whatever the upstream does."""

LINE_BACK_S = 45.0
"""A line that is whole again is tried and used again within this."""

KNOWN_S = 1.2
"""What one worker finds of a line, the others know within a second."""

_REST_WITHIN_S = 60.0
"""Who has a part of a blob waits for the upstream to come back, but not for ever."""


@dataclass(frozen=True)
class Pulled:
    """What a client got. `is_whole`: as much as was promised to it; `status` 0: nothing at all."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_whole: bool
    seconds: float

    @property
    def is_refused(self) -> bool:
        """Whether the client was told in words that the upstream is to blame."""
        return self.status in {502, 504} and self.is_whole

    @property
    def reason(self) -> str:
        """What an error says, all of it."""
        return json.dumps(json.loads(self.body)["errors"])


@dataclass(frozen=True)
class Mirror:
    """What a test holds in its hands: the client's side, the line, the upstream."""

    server: ServerProcess
    proxy: Proxy
    registry: DockerRegistry

    @property
    def upstream(self) -> Repository:
        """The repository at the upstream, past the proxy."""
        return Repository(Client(self.registry.address.port), REMOTE)

    @property
    def local(self) -> Repository:
        """A repository of the mirror's own."""
        return Repository(Client(self.server.port), "team/app")

    def get(self, rest: str, method: str = "GET", *, name: str = f"{NAME}/{REMOTE}") -> Pulled:
        """One request of a client for something of the mirrored repository."""
        return ask(self.server.port, method, f"/v2/{name}/{rest}")

    def pull(self, image: Known, *, blobs: Sequence[str] | None = None) -> None:
        """Pull an image as docker does; every byte must be right."""
        head = self.get(f"manifests/{image.tag}", "HEAD")
        assert (head.status, head.headers.get("docker-content-digest")) == (200, image.digest), head
        got = self.get(f"manifests/{image.digest}")
        assert (got.status, got.body) == (200, image.payload), got
        for digest in image.layers if blobs is None else blobs:
            self.check_blob(image, digest)

    def check_blob(self, image: Known, digest: str) -> None:
        got = self.get(f"blobs/{digest}")
        assert (got.status, got.is_whole) == (200, True), (got.status, got.headers, got.body[:300])
        assert got.body == image.blobs[digest]

    def is_kept(self, digest: str) -> bool:
        """Whether a blob is in the store, and with the right bytes."""
        if not self.rows("SELECT 1 FROM blob WHERE digest = ? AND state = 'live'", digest):
            return False
        (path,) = self.files_of(digest)
        assert digest_of(path.read_bytes()) == digest
        return True

    def files_of(self, digest: str) -> list[Path]:
        """The files of a blob; one at most."""
        encoded = digest.partition(":")[2]
        return list((self.server.data_dir / "blobs" / "sha256" / encoded[:2]).glob(f"{encoded}.*"))

    def check_nothing_kept(self, digest: str) -> None:
        """Not as a blob, and not for good as a part of one."""
        assert not self.rows("SELECT 1 FROM blob WHERE digest = ?", digest)
        assert not self.files_of(digest)

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        path = self.server.data_dir / "moorage.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            return db.execute(sql, values).fetchall()

    def gets_of(self, digest: str) -> int:
        """How often the upstream was asked for a blob."""
        return self.proxy.count("GET", f"/blobs/{digest}")


def ask(port: int, method: str, target: str) -> Pulled:
    """One request; a connection that is cut is an answer too."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN_S)
    started = time.monotonic()
    status, headers, body, is_whole = 0, {}, b"", False
    try:
        connection.request(method, target, headers={"Accept": ACCEPT})
        opened = connection.sock
        response = connection.getresponse()
        opened.settimeout(_REST_WITHIN_S)
        status, headers = response.status, {name.lower(): value for name, value in response.getheaders()}
        body = response.read()
        is_whole = True
    except http.client.IncompleteRead as cut:
        body = cut.partial
    except (ConnectionError, http.client.RemoteDisconnected):
        pass
    finally:
        connection.close()
    return Pulled(status, headers, body, is_whole, time.monotonic() - started)


def check_cut_or_refused(got: Pulled) -> None:
    assert got.is_refused or (got.status in {0, 200, 206} and not got.is_whole), got


def wait_until_back(mirror: Mirror, digest: str) -> None:
    """The line is tried again by itself, and a blob can be had."""
    wait_until(lambda: mirror.get(f"blobs/{digest}").status == 200, seconds=LINE_BACK_S)


def wait_until_line_is_closed(mirror: Mirror) -> None:
    """All is well with the upstream, and each worker knows it."""
    wait_until(
        lambda: not mirror.rows("SELECT 1 FROM upstream_line WHERE state <> 'closed'"), seconds=LINE_BACK_S
    )
    time.sleep(KNOWN_S)


def write_settings(folder: Path, url: str, *more: str, freshness: str = "0s", tables: str = "") -> Path:
    """A file of settings with one upstream; `more` are lines of it, `tables` what follows."""
    path = folder / "moorage.toml"
    lines = [
        "[log]",
        'format = "json"',
        "[mirrors]",
        'private_addresses = ["127.0.0.0/8"]',
        "[[mirrors.upstreams]]",
        f'name = "{NAME}"',
        f'url = "{url}"',
        f'freshness = "{freshness}"',
        *more,
        tables,
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def worker_at(pids: Sequence[int], port: int) -> list[int]:
    """Which of these processes have a connection to a loopback port."""
    inodes = {
        fields[9]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if (fields := line.split())[2] == f"0100007F:{port:04X}" and fields[3] == "01"
    }
    return [pid for pid in pids if inodes & _sockets_of(pid)]


def _sockets_of(pid: int) -> set[str]:
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            found.add(target[8:-1])
    return found
