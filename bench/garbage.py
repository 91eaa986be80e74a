"""The rows about collecting garbage: what others notice of it, and what it costs in a large store."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256, sha512
from itertools import islice
from pathlib import Path
from statistics import median
from typing import ClassVar

import apsw

from bench.client import Address, Client, WrongReply, push_missing
from bench.images import KIB, MANIFEST_TYPE, make_blob, make_content, make_manifest
from bench.load import run_wrk
from bench.measures import Measure, at_least, at_most
from bench.servers import Moorage, Server
from bench.stand import Figures, Stand
from bench.startup import find_database

_BLOB_BYTES = 4096
_LAYERS = 10
_REPOSITORY = "bench/store"
_JOB_MAX_S = 1800.0


@dataclass(slots=True)
class GarbageBeside:
    """Pulls and pushes while 100,000 of 1,000,000 blobs are removed, against the same before and after."""

    name: ClassVar[str] = "garbage-beside"
    title: ClassVar[str] = "while 100,000 of 1,000,000 blobs are removed"
    measures: ClassVar[Sequence[Measure]] = (
        Measure("pull_p99_ratio", "p99 of manifest GET, to idle", "x", at_most(1.3)),
        Measure("push_ratio", "blob pushes a second, to idle", "x", at_least(0.8)),
        Measure("removed_per_s", "blobs removed", "/s"),
    )
    needs_quiet: ClassVar[bool] = False
    is_once: ClassVar[bool] = True
    _own: list[Moorage] = field(default_factory=list)

    def prepare(self, stand: Stand, server: Server) -> None:
        """Fill a store of its own: 900,000 blobs that images need, and files of 100,000 that nothing does."""
        if isinstance(server, Moorage):
            self._own.append(_start_store(stand, server, "beside", 1_000_000, 100_000))

    def measure(self, stand: Stand, server: Server, number: int) -> Figures:
        """Look for a while, then again and again while the job runs, then once more."""
        del number
        if not isinstance(server, Moorage) or not self._own:
            return {}
        store = self._own[0]
        idle = [_look(stand, store, "before", index) for index in range(3)]
        job = _order_run(store.address)
        beside: list[tuple[float, float]] = []
        while not _has_ended(store.address, job):
            beside.append(_look(stand, store, "beside", len(beside)))
        seconds, removed = _result_of(store.address, job)
        if removed != 100_000 or len(beside) < 2:
            raise WrongReply(
                f"{removed} blobs were removed in {seconds:.1f} s, {len(beside)} looks beside it"
            )
        idle += [_look(stand, store, "after", index) for index in range(3)]
        # the last look may have been half idle
        during = beside[:-1] if len(beside) > 2 else beside
        return {
            "pull_p99_ratio": median(p99 for p99, _ in during) / median(p99 for p99, _ in idle),
            "push_ratio": median(rate for _, rate in during) / median(rate for _, rate in idle),
            "removed_per_s": removed / seconds,
            "idle_p99_ms": median(p99 for p99, _ in idle),
            "idle_pushes_per_s": median(rate for _, rate in idle),
        }


@dataclass(slots=True)
class GarbageGrowth:
    """The time to remove 1,000 blobs, in a store of 1,000,000 and in one of 10,000."""

    name: ClassVar[str] = "garbage-growth"
    title: ClassVar[str] = "removing 1,000 blobs"
    measures: ClassVar[Sequence[Measure]] = (
        Measure("growth", "of 1,000,000 to of 10,000", "x", at_most(1.5)),
        Measure("large_s", "of 1,000,000", "s"),
        Measure("small_s", "of 10,000", "s"),
    )
    needs_quiet: ClassVar[bool] = False
    is_once: ClassVar[bool] = False
    _own: list[Moorage] = field(default_factory=list)
    _made: int = 0

    def prepare(self, stand: Stand, server: Server) -> None:
        """Fill two stores of its own."""
        if isinstance(server, Moorage):
            self._own = [
                _start_store(stand, server, "large", 1_000_000, 0),
                _start_store(stand, server, "small", 10_000, 0),
            ]

    def measure(self, stand: Stand, server: Server, number: int) -> Figures:
        """Put the same garbage into both, and collect it in turn."""
        del stand, number
        if not isinstance(server, Moorage) or not self._own:
            return {}
        seconds = []
        for store in self._own:
            _add_garbage(store, self._made, 1000)
            took, removed = _result_of(store.address, _order_run(store.address))
            if removed != 1000:
                raise WrongReply(f"{removed} of 1,000 blobs were removed")
            seconds.append(took)
        self._made += 1000
        large, small = seconds
        return {"growth": large / small, "large_s": large, "small_s": small}


def _start_store(stand: Stand, server: Moorage, name: str, blobs: int, garbage: int) -> Moorage:
    """A registry of its own with so many blobs, `garbage` of which nothing needs; it collects when asked."""
    store = server.sibling(stand.folder / f"store-{name}")
    assert isinstance(store, Moorage)
    stand.started.append(store)
    os.environ["MOORAGE_JOBS_GARBAGE"] = "off"
    try:
        store.start()
        store.stop()
        _fill(find_database(store.data), blobs - garbage)
        _add_garbage(store, 0, garbage)
        store.start()
        pulled = [make_blob("store config", 2 * KIB), make_blob("store layer", 4 * KIB)]
        push_missing(store.address, _REPOSITORY, pulled)
        with Client(store.address) as client:
            client.push_manifest(_REPOSITORY, "pulled", make_manifest(pulled))
    finally:
        del os.environ["MOORAGE_JOBS_GARBAGE"]
    return store


def _fill(database_path: Path, count: int) -> None:
    """Insert `count` live blobs of one repository, ten to an image. There are no files: nobody pulls them."""
    database = apsw.Connection(str(database_path))
    now_ms = time.time_ns() // 1_000_000
    digests = sorted(_digest("kept", number) for number in range(count))
    try:
        with database:
            database.execute(
                "INSERT INTO repository (name, created_at) VALUES (?, ?) ON CONFLICT DO NOTHING",
                (_REPOSITORY, now_ms),
            )
            _insert_blobs(database, digests, now_ms)
            images = range(count // _LAYERS)
            database.executemany(
                "INSERT INTO manifest (id, repository, digest, sha512, algorithm, media_type, depth, size,"
                " annotations, payload, pushed_at, pushed_by)"
                " VALUES (?, 1, ?, ?, 'sha256', ?, 0, 2, '{}', '{}', ?, 'bench')",
                (
                    (1 + each, _digest("image", each), _digest("image512", each), MANIFEST_TYPE, now_ms)
                    for each in images
                ),
            )
            targets = islice(digests, len(images) * _LAYERS)
            database.executemany(
                "INSERT INTO manifest_reference (manifest, repository, target, kind)"
                " VALUES (?, 1, ?, 'layer')",
                ((1 + number // _LAYERS, digest) for number, digest in enumerate(targets)),
            )
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        database.close()


def _add_garbage(store: Moorage, first: int, count: int) -> None:
    """Put `count` blobs with their files into the store that a lease kept until a moment ago."""
    now_ms = time.time_ns() // 1_000_000
    digests = sorted(_digest("garbage", number) for number in range(first, first + count))
    content = bytes(_BLOB_BYTES)
    for digest in digests:
        encoded = digest.removeprefix("sha256:")
        path = store.data / "blobs" / "sha256" / encoded[:2] / f"{encoded}.{_GENERATION}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    os.sync()
    database = apsw.Connection(str(find_database(store.data)))
    database.set_busy_timeout(10_000)
    try:
        with database:
            _insert_blobs(database, digests, now_ms)
            database.executemany(
                "INSERT INTO lease (repository, digest, until) VALUES (1, ?, ?)",
                ((digest, now_ms - 1) for digest in digests),
            )
    finally:
        database.close()


_GENERATION = 1_000_000
"""Above any that was removed before."""


def _insert_blobs(database: apsw.Connection, digests: Sequence[str], now_ms: int) -> None:
    database.executemany(
        "INSERT INTO blob (digest, sha512, size, generation, state, created_at)"
        " VALUES (?, ?, ?, ?, 'live', ?)",
        ((digest, _sha512(digest), _BLOB_BYTES, _GENERATION, now_ms) for digest in digests),
    )
    database.executemany(
        "INSERT INTO repository_blob (repository, digest, origin, linked_at) VALUES (1, ?, 'uploaded', ?)",
        ((digest, now_ms) for digest in digests),
    )
    size = len(digests) * _BLOB_BYTES
    database.execute(
        "UPDATE blob_total SET blobs = blobs + ?, bytes = bytes + ?, disk_bytes = disk_bytes + ?",
        (len(digests), size, size),
    )


def _digest(kind: str, number: int) -> str:
    return "sha256:" + sha256(f"{kind} {number}".encode()).hexdigest()


def _sha512(digest: str) -> str:
    return "sha512:" + sha512(digest.encode()).hexdigest()


def _look(stand: Stand, store: Moorage, when: str, number: int) -> tuple[float, float]:
    """The p99 of pulls in milliseconds, and how many blobs two clients push in a second."""
    load = run_wrk(store.address, f"/v2/{_REPOSITORY}/manifests/pulled", 2, stand.folder)
    pushed = stand.crew.run_all(
        _push_for, [(store.address, f"{when} {number} {client}", 2.0) for client in range(2)]
    )
    return load.p99_ms, sum(pushed)


def _push_for(address: Address, salt: str, seconds: float) -> float:
    """Push blobs of 16 KiB one after the other; how many a second."""
    began, count = time.perf_counter(), 0
    with Client(address) as client:
        while time.perf_counter() - began < seconds:
            client.upload("bench/pushed", [make_content(f"{salt} {count}", 16 * KIB)])
            count += 1
    return count / (time.perf_counter() - began)


def _order_run(address: Address) -> int:
    with Client(address) as client:
        return int(json.loads(client.ask("POST", "/api/v1/garbage/runs", want=202).body)["id"])


def _read_job(address: Address, job: int) -> dict[str, object]:
    with Client(address) as client:
        found: dict[str, object] = json.loads(client.ask("GET", f"/api/v1/jobs/{job}", want=200).body)
        return found


def _has_ended(address: Address, job: int) -> bool:
    return _read_job(address, job)["finished_at"] is not None


def _result_of(address: Address, job: int) -> tuple[float, int]:
    """How many seconds a job took from start to end, when it has ended, and how many blobs it removed."""
    deadline = time.monotonic() + _JOB_MAX_S
    while time.monotonic() < deadline:
        found = _read_job(address, job)
        if found["finished_at"] is not None:
            if found["state"] != "done":
                raise WrongReply(f"the job ended as {found}")
            result = found["result"]
            assert isinstance(result, dict)
            took = _seconds(str(found["finished_at"])) - _seconds(str(found["started_at"]))
            return took, int(result["removed_blobs"])
        time.sleep(0.1)
    raise WrongReply(f"the job has not ended in {_JOB_MAX_S:.0f} s")


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
