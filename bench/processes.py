"""What a tree of processes has used: CPU from `/proc/<pid>/stat`, memory from `smaps_rollup`."""

import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Stat:
    """The fields of `/proc/<pid>/stat` that are read here."""

    pid: int
    state: str
    parent: int
    session: int
    ticks: int
    """utime + stime, and those of the children it has waited for: a worker that ends is not lost."""


def find_tree(root: int) -> list[Stat]:
    """Give the process `root`, its descendants, and all of its session."""
    stats = [
        stat for path in _PROC.iterdir() if path.name.isdecimal() and (stat := _read_stat(int(path.name)))
    ]
    members = {stat.pid: stat for stat in stats if root in {stat.pid, stat.session}}
    grown = True
    while grown:
        children = [stat for stat in stats if stat.parent in members and stat.pid not in members]
        members.update((stat.pid, stat) for stat in children)
        grown = bool(children)
    return list(members.values())


def cpu_seconds(root: int) -> float:
    """Give what the tree under `root` has used so far, user and system; steps of 10 ms."""
    return sum(stat.ticks for stat in find_tree(root)) / _TICKS_PER_S


def memory_bytes(root: int) -> dict[int, int]:
    """Give the proportional set size of each process: shared pages are counted once over the tree."""
    sizes = {}
    for stat in find_tree(root):
        with suppress(OSError):
            size = _read_kib(_PROC / str(stat.pid) / "smaps_rollup", "Pss:")
            if size is not None:
                sizes[stat.pid] = size * 1024
    return sizes


def resident_bytes(root: int) -> dict[int, int]:
    """Give the resident size of each process, now."""
    return _read_status(root, "VmRSS:")


def peak_resident_bytes(root: int) -> dict[int, int]:
    """Give the greatest resident size of each process since `reset_peaks`."""
    return _read_status(root, "VmHWM:")


def reset_peaks(root: int) -> None:
    """Let the kernel forget the peaks: proc(5), `/proc/<pid>/clear_refs`, value 5."""
    for stat in find_tree(root):
        (_PROC / str(stat.pid) / "clear_refs").write_text("5", encoding="ascii")


class MemoryWatch:
    """The peak of a tree's memory while the context is open, by looking every `interval_s`."""

    def __init__(self, root: int, interval_s: float = 0.05) -> None:
        self.peak_bytes = 0
        self._root = root
        self._interval_s = interval_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._look()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._ended.wait(self._interval_s):
            self._look()

    def _look(self) -> None:
        self.peak_bytes = max(self.peak_bytes, sum(memory_bytes(self._root).values()))


def _read_stat(pid: int) -> Stat | None:
    """Read one process; None when it has just ended."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # pid (comm) state ppid pgrp session ... utime stime cutime cstime; comm may hold anything, even ')'
    fields = text[text.rindex(")") + 2 :].split()
    return Stat(pid, fields[0], int(fields[1]), int(fields[3]), sum(int(field) for field in fields[11:15]))


def _read_status(root: int, field: str) -> dict[int, int]:
    sizes = {}
    for stat in find_tree(root):
        with suppress(OSError):
            size = _read_kib(_PROC / str(stat.pid) / "status", field)
            if size is not None:
                sizes[stat.pid] = size * 1024
    return sizes


def _read_kib(path: Path, field: str) -> int | None:
    """Read the line `field  N kB`; None when it is not there, as for a process that has ended."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    return None
