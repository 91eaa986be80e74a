"""The row about starting: from the command to the first ready reply, with a million blobs known."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256, sha512
from pathlib import Path
from typing import ClassVar

import apsw

from bench.measures import Measure, at_most
from bench.servers import Moorage, OwnServer, Server
from bench.stand import Figures, Stand

_ROWS = 1_000_000
_BLOB_BYTES = 4096
_SQLITE_HEADER = b"SQLite format 3\0"


@dataclass(slots=True)
class Startup:
    """Start on a data folder of its own: a million blob rows for Moorage.

    docker-registry keeps no rows and looks at nothing when it starts, so it
    starts on an empty folder, for information.
    """

    name: ClassVar[str] = "startup"
    title: ClassVar[str] = "start with 1,000,000 blobs"
    measures: ClassVar[Sequence[Measure]] = (Measure("ready_s", "first ready reply after", "s", at_most(1)),)
    needs_quiet: ClassVar[bool] = False
    is_once: ClassVar[bool] = False
    _own: dict[str, OwnServer] = field(default_factory=dict)

    def prepare(self, stand: Stand, server: Server) -> None:
        """Start a sibling once, so that its folder is as it wants it, and fill in the rows."""
        if not isinstance(server, OwnServer):
            return
        sibling = server.sibling(stand.folder / f"start-{len(self._own)}")
        stand.started.append(sibling)
        self._own[server.name] = sibling
        sibling.start()
        sibling.stop()
        if isinstance(sibling, Moorage):
            fill_blob_rows(find_database(sibling.data), _ROWS)
            sibling.start()
            sibling.stop()

    def measure(self, stand: Stand, server: Server, number: int) -> Figures:
        """Start it and stop it."""
        del stand, number
        sibling = self._own.get(server.name)
        if sibling is None:
            return {}
        try:
            return {"ready_s": sibling.start()}
        finally:
            sibling.stop()


def find_database(data: Path) -> Path:
    """Give the SQLite file below `data`, the largest if there are several.

    Raises FileNotFoundError when there is none.
    """
    found = [path for path in data.rglob("*") if path.is_file() and _is_database(path)]
    if not found:
        raise FileNotFoundError(f"no SQLite database below {data}")
    return max(found, key=lambda path: path.stat().st_size)


def fill_blob_rows(database_path: Path, count: int) -> None:
    """Insert `count` live blobs that came just now and that no repository names yet.

    The server must not be running. The columns are those of `0001_registry.sql`.
    """
    database = apsw.Connection(str(database_path))
    try:
        with database:
            database.executemany("INSERT INTO blob VALUES (?, ?, ?, ?, ?, ?)", _blob_rows(count))
            database.execute(
                "UPDATE blob_total SET blobs = blobs + ?, bytes = bytes + ?", (count, count * _BLOB_BYTES)
            )
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        database.close()


def _blob_rows(count: int) -> Iterator[tuple[str, str, int, int, str, int]]:
    """Give digest, sha512, size, generation, state and created_at (milliseconds) of each."""
    now_ms = time.time_ns() // 1_000_000
    for number in range(count):
        name = number.to_bytes(8, "big")
        yield (
            "sha256:" + sha256(name).hexdigest(),
            "sha512:" + sha512(name).hexdigest(),
            _BLOB_BYTES,
            1,
            "live",
            now_ms,
        )


def _is_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_SQLITE_HEADER)) == _SQLITE_HEADER
