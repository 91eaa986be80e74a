"""A case in a process of its own, which waits for its tracer, and the check of what it left, in another.

A process that checks goes on with the next folder as long as it finds nothing wrong: it meets no fault.

The processes are forked from one that has imported everything and has no threads, so that a point does not
cost a start of Python.
"""

import asyncio
import codecs
import ctypes
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from moorage import logs
from moorage.app import StartRefused
from moorage.config import LogSettings
from moorage.databases import sqlite
from moorage.errors import RegistryError
from moorage.registry.uploads import receiving
from tests.crash.cases import Client, Refused, Report, can_pull
from tests.crash.catalogue import CASES, fill
from tests.crash.checking import check
from tests.crash.content import KIB
from tests.crash.inprocess import LocalRegistry
from tests.crash.lanes import processes
from tests.crash.planted import PLANTED
from tests.crash.tracing import attached

codecs.lookup("ascii")
# or the first case that needs it would load it, and have a call more than its recording

PLAY_SECONDS = 30
_PR_SET_PTRACER = 0x59616D61
_ANYONE = ctypes.c_ulong(-1)


@dataclass
class Played:
    """What a case reported before it ended; `threads` are its thread ids by what they do."""

    threads: dict[str, int] = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)
    is_hung: bool = False
    said: str = ""
    """What it wrote to standard error."""

    def of(self, attempt: int) -> list[Report]:
        return [report for report in self.reports if report.attempt == attempt]


def play(
    case: str,
    data: Path,
    *,
    planted: str | None = None,
    attempts: int = 1,
    log: Path | None = None,
    trace: Callable[[dict[str, int]], tuple[int, Sequence[str]]] | None = None,
    on_paused: Callable[[], None] = lambda: None,
) -> Played:
    """Run a case on a folder. `trace` says, of its threads, which one strace is to attach to, and how."""
    played = Played()
    ours, theirs = processes().Pipe()
    stderr = data.with_name(f"{data.name}.stderr")
    stderr.touch()
    process = processes().Process(target=_run_case, args=(case, data, theirs, stderr, planted, attempts))
    process.start()
    theirs.close()
    with ExitStack() as stack:
        stack.callback(_end, process)
        played.threads = ours.recv()
        on_paused()
        if trace is not None:
            assert log is not None
            thread, arguments = trace(played.threads)
            stack.enter_context(attached(thread, log, arguments))
        ours.send_bytes(b"go")
        deadline = time.monotonic() + PLAY_SECONDS
        try:
            while ours.poll(max(0, deadline - time.monotonic())):
                played.reports.append(Report.parse(ours.recv_bytes()))
        except EOFError:
            pass
        else:
            played.is_hung = True
            process.kill()
    played.said = stderr.read_text(errors="replace")
    return played


def check_apart(case: str, data: Path, reports: Sequence[Report], *, is_undone: bool = False) -> list[str]:
    """Open what a case left, in another process; say all that is wrong with it.

    `is_undone` tells that what was refused must not be there, complete or not.
    """
    stderr = data.with_name(f"{data.name}.stderr")
    stderr.touch()
    if not _checkers:
        _checkers.append(_Checker())
    found = _checkers[0].check(_Left(case, data, list(reports), is_undone, stderr))
    if found:
        _checkers.pop().end()
    return found


@dataclass(frozen=True)
class _Left:
    """What a case left, and where to write what is said about it."""

    case: str
    data: Path
    reports: list[Report]
    is_undone: bool
    stderr: Path


class _Checker:
    """A process that checks one folder after the other, to be ended once one of them was not in order."""

    def __init__(self) -> None:
        self._pipe, theirs = processes().Pipe()
        self._process = processes().Process(target=_run_checks, args=(self._pipe, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def check(self, left: _Left) -> list[str]:
        try:
            self._pipe.send(left)
            if not self._pipe.poll(PLAY_SECONDS):
                return ["the check hung"]
            found: list[str] = self._pipe.recv()
        except (EOFError, OSError):
            return [f"the check ended: {left.stderr.read_text(errors='replace')[-2000:]}"]
        return found

    def end(self) -> None:
        _end(self._process)
        self._pipe.close()


_checkers: list[_Checker] = []
"""That of this process, once it has one."""


def fill_apart(data: Path) -> None:
    """Make the registry that every case starts from, in a process of its own."""
    stderr = data.with_name(f"{data.name}.stderr")
    stderr.touch()
    process = processes().Process(target=_run_fill, args=(data, stderr))
    process.start()
    process.join(PLAY_SECONDS)
    assert process.exitcode == 0, stderr.read_text(errors="replace")
    process.close()


def _end(process: BaseProcess) -> None:
    process.kill()
    process.join()
    process.close()


def _run_case(
    case: str, data: Path, pipe: Connection, stderr: Path, planted: str | None, attempts: int
) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _ANYONE, 0, 0, 0)
    _redirect(stderr)
    _scale_down()
    if planted is not None:
        PLANTED[planted].plant()
    asyncio.run(_open_and_attempt(case, data, pipe, attempts))


async def _open_and_attempt(case: str, data: Path, pipe: Connection, attempts: int) -> None:
    async with LocalRegistry.open(data, disk_threads=1) as registry:
        # both threads are at work from here on: what they do at their start is not the case's
        await registry.db.write(lambda _: None)
        disk = registry.disk.submit(threading.get_native_id).result()
        (database,) = [thread.native_id for thread in threading.enumerate() if thread.name == "database"]
        pipe.send({"loop": threading.get_native_id(), "disk": disk, "database": database})
        pipe.recv_bytes()
        await _attempt(case, registry, pipe, attempts)
        os._exit(0)


async def _attempt(case: str, registry: LocalRegistry, pipe: Connection, attempts: int) -> None:
    client = Client(registry, lambda report: pipe.send_bytes(report.render()))
    for attempt in range(1, attempts + 1):
        client.attempt = attempt
        with suppress(Refused, StartRefused, RegistryError):
            await CASES[case](client)
        with suppress(RegistryError):
            # a checkpoint goes on behind the replies, and before this
            await registry.db.write(lambda _: None)
        failure = registry.health.failure
        pulls = attempts == 1 or await can_pull(registry)
        pipe.send_bytes(Report("END", attempt=attempt, failure=failure, pulls=pulls).render())


def _run_checks(asking: Connection, pipe: Connection) -> None:
    asking.close()
    with suppress(EOFError):
        while True:
            left: _Left = pipe.recv()
            _redirect(left.stderr)
            pipe.send(asyncio.run(check(left.case, left.data, left.reports, is_undone=left.is_undone)))
    os._exit(0)


def _run_fill(data: Path, stderr: Path) -> None:
    _redirect(stderr)
    asyncio.run(fill(data))


def _redirect(stderr: Path) -> None:
    descriptor = os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    logs.configure(LogSettings(level="error", format="json"))


def _scale_down() -> None:
    """Batches, early syncs and checkpoints come after KiB, so that a small case goes through them."""
    receiving.GATHER_BYTES = 16 * KIB
    receiving.SYNC_EVERY_BYTES = 32 * KIB
    sqlite._CHECKPOINT_PAGES = 12
