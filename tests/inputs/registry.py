"""The registry under attack: requests to it, what it holds, what it takes, what it says.

`Registry.watch` is the header of every bad input: whatever was sent, no status of 500 and above, no
path and no traceback in a body, memory within bounds, the same rows and files as before, and a log of
whole, escaped lines.
"""

import contextlib
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

from tests.inputs.wire import Fields, Reply, ask, exchange
from tests.servers import ServerProcess

MIB = 1 << 20
RSS_GROWTH_MAX_BYTES = 32 * MIB
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
ABSENT = "sha256:" + "0" * 64

Document = dict[str, Any]


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    """The digest of bytes."""
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def descriptor(content: bytes, media_type: str = "application/octet-stream", **more: Any) -> Document:
    """What points at bytes."""
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content), **more}


def image(**more: Any) -> Document:
    """An image manifest without layers, its config two bytes that `Registry.push` puts first."""
    return {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(b"{}", "application/vnd.oci.image.config.v1+json"),
        "layers": [],
        **more,
    }


def index(*children: Document, **more: Any) -> Document:
    """An index of descriptors."""
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(children), **more}


def encode(document: object) -> bytes:
    """A document as the bytes that are pushed."""
    return json.dumps(document).encode()


BY_ITSELF = frozenset({"job", "job_schedule", "pull", "pull_counting", "saving", "store_state"})
"""Tables that a registry writes to now and then whatever is sent to it."""


@dataclass(frozen=True, slots=True)
class Held:
    """What the registry holds: how many rows of each table, and its files that are not empty."""

    rows: dict[str, int]
    files: dict[str, int]


@dataclass(slots=True)
class Registry:
    """A server, and a repository for each test that no other uses."""

    server: ServerProcess
    name: str = field(default_factory=lambda: f"inputs/{secrets.token_hex(6)}")

    @property
    def port(self) -> int:
        return self.server.port

    def path(self, rest: str) -> str:
        """The path of something in this repository."""
        return f"/v2/{self.name}/{rest}"

    def ask(
        self, method: str, rest: str, fields: Fields = (), body: bytes | None = None, name: str | None = None
    ) -> Reply:
        """One request to `/v2/<name>/<rest>`."""
        return ask(self.port, method, f"/v2/{name or self.name}/{rest}", fields, body)

    def exchange(self, sent: bytes, *, end: bool = False) -> tuple[list[Reply], bool]:
        """All replies to these bytes, and whether the server then closed the connection."""
        return exchange(self.port, sent, end=end)

    def begin(self) -> str:
        """The location of a new upload."""
        reply = self.ask("POST", "blobs/uploads/")
        assert reply.status == 202, reply
        return reply["location"]

    def follow(self, method: str, location: str, fields: Fields = (), body: bytes | None = None) -> Reply:
        """One request to a Location."""
        return ask(self.port, method, location, fields, body)

    def push_blob(self, content: bytes) -> str:
        """Push a blob; its digest."""
        digest = digest_of(content)
        reply = self.ask("POST", f"blobs/uploads/?digest={digest}", (), content)
        assert reply.status == 201, reply
        return digest

    def put(
        self, reference: str, document: object, media_type: str | None = OCI_MANIFEST, fields: Fields = ()
    ) -> Reply:
        """Push a manifest, as bytes or as a document."""
        payload = document if isinstance(document, bytes) else encode(document)
        types = [("Content-Type", media_type)] if media_type else []
        return self.ask("PUT", f"manifests/{reference}", [*types, *fields], payload)

    def push(self, reference: str, document: Document) -> Document:
        """Push a manifest that is good, its config first; its descriptor."""
        self.push_blob(b"{}")
        reply = self.put(reference, document, document["mediaType"])
        assert reply.status == 201, reply
        return descriptor(encode(document), document["mediaType"])

    def held(self) -> Held:
        """Its rows and files now."""
        database = self.server.data_dir / "moorage.db"
        connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
            rows = {
                str(table): int(str(connection.execute(f'SELECT count(*) FROM "{table}"').get))
                for (table,) in tables
                if table not in BY_ITSELF
            }
        finally:
            connection.close()
        return Held(rows, dict(self._files()))

    def _files(self) -> Iterator[tuple[str, int]]:
        root = self.server.data_dir
        for path in sorted(root.rglob("*")):
            with contextlib.suppress(FileNotFoundError):
                size = path.stat().st_size
                if path.is_file() and size and not path.name.startswith("moorage."):
                    yield str(path.relative_to(root)), size

    def workers(self) -> list[int]:
        """The ids of all its processes."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError, IndexError):
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                    if int(fields[2]) == self.server.pid:
                        found.append(int(entry.name))
        return found

    def rss_bytes(self, *, peak: bool = False) -> int:
        """The memory of all its processes, now or at the highest since `reset_peak`."""
        key = "VmHWM" if peak else "VmRSS"
        total = 0
        for pid in self.workers():
            with contextlib.suppress(OSError):
                match = re.search(rf"{key}:\s+([0-9]+) kB", Path(f"/proc/{pid}/status").read_text())
                total += int(match[1]) * 1024 if match else 0
        return total

    def reset_peak(self) -> None:
        """Forget the highest memory so far."""
        for pid in self.workers():
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")

    def cpu_s(self) -> float:
        """The processor time of all its processes."""
        ticks = 0
        for pid in self.workers():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    @contextlib.contextmanager
    def watch(
        self, *, changes: bool = False, rss_growth_max_bytes: int = RSS_GROWTH_MAX_BYTES
    ) -> Iterator[None]:
        """Whatever happens inside costs little, changes nothing (unless `changes`) and breaks no log line."""
        before = self.held()
        logged_from = self.server.log_path.stat().st_size
        self.reset_peak()
        rss_before = self.rss_bytes(peak=True)
        yield
        growth = self.rss_bytes(peak=True) - rss_before
        assert growth < rss_growth_max_bytes, f"memory grew by {growth / MIB:.0f} MiB"
        if not changes:
            self._check_unchanged(before)
        self.check_log(logged_from)
        assert ask(self.port, "GET", "/v2/").status == 200

    def _check_unchanged(self, before: Held) -> None:
        deadline = time.monotonic() + 5
        # what a connection that broke off leaves is dropped after it, not before
        while (now := self.held()) != before and time.monotonic() < deadline:
            time.sleep(0.05)
        assert now == before

    def check_log(self, logged_from: int) -> list[dict[str, Any]]:
        """Every line since is one JSON object in ASCII; none tells of a failure."""
        with self.server.log_path.open("rb") as log:
            log.seek(logged_from)
            lines = log.read().splitlines()
        events = []
        for line in lines:
            assert re.fullmatch(rb"[ -~]*", line), line
            event = json.loads(line)
            assert event["level"] not in {"error", "critical"}, line[:2000]
            assert "exception" not in event, line[:2000]
            events.append(event)
        return events


_TELLING = ("Traceback", "site-packages", ".py", 'File "', "/proc/", "moorage.db", "sqlite", "apsw")


def check_refused(reply: Reply, *statuses: int, code: str | None = None) -> None:
    """A refusal with one of these statuses, told as the specification says, that gives nothing away."""
    assert reply.status in statuses, reply
    assert code is None or code in reply.codes, reply
    assert reply.codes
    for telling in _TELLING:
        assert telling not in reply.body.decode(errors="replace"), reply


def check_one_refused(
    answers: tuple[list[Reply], bool], *statuses: int, code: str | None = None, is_closed: bool | None = None
) -> None:
    """Exactly one reply, and it refuses: nothing was smuggled behind it."""
    replies, closed = answers
    assert len(replies) == 1, replies
    check_refused(replies[0], *statuses, code=code)
    if is_closed is not None:
        assert closed is is_closed
