"""Rows about memory: one endless upload, and many pulls at once."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from bench import processes
from bench.client import check_blob, pull_images, push_blob, push_image, push_stream
from bench.crew import SIZE as CREW_SIZE
from bench.images import MIB, Image, make_image
from bench.measures import Measure, at_most
from bench.processes import MemoryWatch
from bench.servers import Server
from bench.stand import Figures, Stand

_REPOSITORY = "bench/memory"


@dataclass(frozen=True, slots=True)
class EndlessPush:
    """Push 5 GB in one PATCH: what is in memory must not grow with it."""

    name: ClassVar[str] = "endless-push"
    title: ClassVar[str] = "push of a 5 GB blob"
    measures: ClassVar[Sequence[Measure]] = (
        Measure("growth_mib", "growth of a worker's memory", "MiB", at_most(24)),
        Measure("wall_s", "time", "s"),
    )
    needs_quiet: ClassVar[bool] = False
    is_once: ClassVar[bool] = True

    _BYTES: ClassVar[int] = 5 * 1000**3

    def prepare(self, stand: Stand, server: Server) -> None:
        """Push small ones over connections of their own, so that every worker has seen a push.

        Small, so that the buffers of a long one still count as growth.
        """
        for number in range(16):
            stand.crew.run(push_blob, server.address, _REPOSITORY, f"{stand.run_name} {number}", MIB)

    def measure(self, stand: Stand, server: Server, number: int) -> Figures:
        """Compare the kernel's own peak of each process with what it held before."""
        root = server.pid
        before = {} if root is None else processes.resident_bytes(root)
        if root is not None:
            processes.reset_peaks(root)
        seed = f"{stand.run_name} endless {number}"
        push = stand.crew.run(push_stream, server.address, _REPOSITORY, seed, self._BYTES)
        peaks = {} if root is None else processes.peak_resident_bytes(root)
        stand.crew.run(check_blob, server.address, _REPOSITORY, push.digest, self._BYTES)
        figures = {"wall_s": push.wall_s}
        grown = [peak - before.get(pid, 0) for pid, peak in peaks.items()]
        return figures if not grown else figures | {"growth_mib": max(grown) / MIB}


@dataclass(slots=True)
class ManyPulls:
    """Let 50 clients pull one image of 100 MiB at the same time."""

    name: ClassVar[str] = "many-pulls"
    title: ClassVar[str] = "50 clients pull a 100 MiB image at once"
    measures: ClassVar[Sequence[Measure]] = (
        Measure("peak_mib", "peak memory, all processes", "MiB", at_most(256)),
        Measure("wrong", "wrong or failed pulls", "", at_most(0)),
        Measure("wall_s", "time", "s"),
    )
    needs_quiet: ClassVar[bool] = True
    is_once: ClassVar[bool] = False
    _image: Image | None = None

    _CLIENTS: ClassVar[int] = 50
    _TAG: ClassVar[str] = "large"

    def prepare(self, stand: Stand, server: Server) -> None:
        """Push the image: a config and four layers."""
        self._image = self._image or make_image("pulled", [25 * MIB] * 4)
        stand.crew.run(push_image, server.address, _REPOSITORY, self._TAG, self._image)

    def measure(self, stand: Stand, server: Server, number: int) -> Figures:
        """Pull, every byte hashed, while the memory of the whole tree is looked at."""
        del number
        image = self._image or make_image("pulled", [25 * MIB] * 4)
        share = self._CLIENTS // CREW_SIZE
        calls = [(server.address, _REPOSITORY, self._TAG, image, share)] * CREW_SIZE
        if server.pid is None:
            return _pulls(stand, calls)
        with MemoryWatch(server.pid) as watch:
            figures = _pulls(stand, calls)
        return figures | {"peak_mib": watch.peak_bytes / MIB}


def _pulls(stand: Stand, calls: Sequence[tuple[object, ...]]) -> dict[str, float]:
    began = time.perf_counter()
    problems = [problem for share in stand.crew.run_all(pull_images, calls) for problem in share]
    for problem in problems[:3]:
        print(problem, file=sys.stderr)
    return {"wrong": len(problems), "wall_s": time.perf_counter() - began}
