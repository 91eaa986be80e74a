"""Rows about blobs: whole, in ranges, small, and on their way in."""

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from bench import load
from bench.client import (
    WrongReply,
    check_blob,
    pull_ranges,
    pull_repeatedly,
    push_blob,
    push_missing,
)
from bench.crew import SIZE as CREW_SIZE
from bench.images import (
    GIB,
    KIB,
    LARGE_BYTES,
    LARGE_SEED,
    MIB,
    Blob,
    digest_of,
    make_blob,
)
from bench.load import Load
from bench.manifests import SMALL_REPLY_MEASURES, load_figures, used_since
from bench.measures import Measure, ratio_at_most
from bench.quiet import wait_until_quiet
from bench.servers import Server
from bench.stand import Figures, Stand

_REPOSITORY = "bench/large"
_LATER_WORK_S = 0.1


@dataclass(slots=True)
class BlobGet:
    """GET a large blob whole, over one connection."""

    name: ClassVar[str] = "blob-get"
    title: ClassVar[str] = "blob GET, 256 MiB"
    measures: ClassVar[Sequence[Measure]] = (
        Measure("cpu_s_per_gib", "server CPU per GiB", "s", ratio_at_most(0.8)),
        Measure("mib_per_s", "throughput", "MiB/s"),
    )
    needs_quiet: ClassVar[bool] = True
    is_once: ClassVar[bool] = False
    _blob: Blob | None = None

    def prepare(self, stand: Stand, server: Server) -> None:
        """Push the blob and pull it once."""
        self._blob = self._blob or make_blob(LARGE_SEED, LARGE_BYTES)
        stand.crew.run(push_missing, server.address, _REPOSITORY, [self._blob])
        stand.crew.run(check_blob, server.address, _REPOSITORY, self._blob.digest, self._blob.size)

    def measure(self, stand: Stand, server: Server, number: int) -> Figures:
        """Pull it again and again; the last is hashed after the last byte has come."""
        del number
        blob = self._blob or make_blob(LARGE_SEED, LARGE_BYTES)
        times = 2 if stand.is_quick else 8
        before = server.cpu_seconds()
        wall_s = stand.crew.run(pull_repeatedly, server.address, _REPOSITORY, blob.digest, blob.size, times)
        return _bulk_figures(blob.size * times, wall_s, used_since(server, before))


@dataclass(slots=True)
class BlobRanges:
    """GET 64 ranges of 4 MiB of one blob over 8 connections, as containerd's parallel pull does."""

    name: ClassVar[str] = "blob-ranges"
    title: ClassVar[str] = "64 ranges of 4 MiB, 8 connections"
    measures: ClassVar[Sequence[Measure]] = (
        Measure("cpu_s_per_gib", "server CPU per GiB", "s", ratio_at_most(0.6)),
    )
    needs_quiet: ClassVar[bool] = True
    is_once: ClassVar[bool] = False
    _blob: Blob | None = None
    _parts: dict[int, str] | None = None

    _RANGE_BYTES: ClassVar[int] = 4 * MIB
    _CONNECTIONS: ClassVar[int] = 8

    def prepare(self, stand: Stand, server: Server) -> None:
        """Push the blob, hash its parts, and pull it once."""
        if self._blob is None or self._parts is None:
            self._blob = make_blob(LARGE_SEED, LARGE_BYTES)
            view = memoryview(self._blob.content)
            self._parts = {
                start: digest_of(view[start : start + self._RANGE_BYTES])
                for start in range(0, LARGE_BYTES, self._RANGE_BYTES)
            }
        stand.crew.run(push_missing, server.address, _REPOSITORY, [self._blob])
        stand.crew.run(check_blob, server.address, _REPOSITORY, self._blob.digest, self._blob.size)

    def measure(self, stand: Stand, server: Server, number: int) -> Figures:
        """Pull all ranges several times in an order of this round's; check each against its digest."""
        blob, parts = self._blob, self._parts
        if blob is None or parts is None:
            raise WrongReply("not prepared")
        times = 2 if stand.is_quick else 8
        starts = sorted(parts)
        random.Random(number).shuffle(starts)
        lanes = [starts[lane :: self._CONNECTIONS] * times for lane in range(self._CONNECTIONS)]
        shares = [lanes[share::CREW_SIZE] for share in range(CREW_SIZE)]
        before = server.cpu_seconds()
        calls = [(server.address, _REPOSITORY, blob.digest, share, self._RANGE_BYTES) for share in shares]
        pulled = stand.crew.run_all(pull_ranges, calls)
        cpu_s = used_since(server, before)
        if {start: digest for share in pulled for start, digest in share.items()} != parts:
            raise WrongReply("a range came back with other bytes")
        return {} if cpu_s is None else {"cpu_s_per_gib": cpu_s / (blob.size * times / GIB)}


@dataclass(frozen=True, slots=True)
class SmallBlobGet:
    """GET a blob of 4 KiB: a config, a signature, an SBOM pointer."""

    name: ClassVar[str] = "small-blob-get"
    title: ClassVar[str] = "4 KiB blob GET, 16 connections"
    measures: ClassVar[Sequence[Measure]] = (
        SMALL_REPLY_MEASURES[0],
        Measure("cpu_us_per_request", "server CPU per request", "µs"),
    )
    needs_quiet: ClassVar[bool] = False
    is_once: ClassVar[bool] = False

    def prepare(self, stand: Stand, server: Server) -> None:
        """Push the blob and let the server warm up."""
        stand.crew.run(push_missing, server.address, _REPOSITORY, [self._blob()])
        self._load(stand, server, 1)

    def measure(self, stand: Stand, server: Server, number: int) -> Figures:
        """Check the blob once, then load."""
        del number
        blob = self._blob()
        stand.crew.run(check_blob, server.address, _REPOSITORY, blob.digest, blob.size)
        before = server.cpu_seconds()
        loaded = self._load(stand, server, stand.load_s)
        return load_figures(loaded, used_since(server, before))

    @staticmethod
    def _blob() -> Blob:
        return make_blob("small blob", 4 * KIB)

    def _load(self, stand: Stand, server: Server, seconds: int) -> Load:
        target = f"/v2/{_REPOSITORY}/blobs/{self._blob().digest}"
        return load.run_wrk(server.address, target, seconds, stand.folder)


@dataclass(slots=True)
class BlobPush:
    """Push a large blob that no server has seen, until it is acknowledged as durable.

    What a server does about it afterwards is waited for before the next is measured, and told
    apart: it is part of what a push costs, but not of what anybody waits for.
    """

    name: ClassVar[str] = "blob-push"
    title: ClassVar[str] = "push of a 256 MiB blob, durable"
    measures: ClassVar[Sequence[Measure]] = (
        Measure("wall_s", "time", "s", ratio_at_most(0.6)),
        Measure("cpu_s", "server CPU", "s", ratio_at_most(0.5)),
        Measure("later_cpu_s", "server CPU afterwards", "s"),
    )
    needs_quiet: ClassVar[bool] = True
    is_once: ClassVar[bool] = False
    _done_at_once: set[str] = field(default_factory=set)
    """The servers, by name, that were seen to do nothing afterwards: not waited for again."""

    def prepare(self, stand: Stand, server: Server) -> None:
        """Push a smaller one, to warm up."""
        stand.crew.run(push_blob, server.address, _REPOSITORY, f"{stand.run_name} warm", 16 * MIB)

    def measure(self, stand: Stand, server: Server, number: int) -> Figures:
        """Push the content of this run and round, the same to each server; then pull and check it.

        What earlier work has left to be written is written before the clock starts.
        """
        os.sync()
        before = server.cpu_seconds()
        push = stand.crew.run(
            push_blob, server.address, _REPOSITORY, f"{stand.run_name} {number}", LARGE_BYTES
        )
        cpu_s = used_since(server, before)
        stand.crew.run(check_blob, server.address, _REPOSITORY, push.digest, LARGE_BYTES)
        if cpu_s is None:
            return {"wall_s": push.wall_s}
        figures = {"wall_s": push.wall_s, "cpu_s": cpu_s}
        if stand.is_quick or server.name in self._done_at_once:
            return figures
        later_s = wait_until_quiet([server])[server.name]
        if later_s < _LATER_WORK_S:
            self._done_at_once.add(server.name)
        return figures | {"later_cpu_s": later_s}


def _bulk_figures(count_bytes: int, wall_s: float, cpu_s: float | None) -> Figures:
    figures = {"mib_per_s": count_bytes / MIB / wall_s}
    return figures if cpu_s is None else figures | {"cpu_s_per_gib": cpu_s / (count_bytes / GIB)}
