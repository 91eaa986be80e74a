"""Worker processes: forked from one parent, each with a listening socket of its own, replaced when they die.

The sockets are made before the fork and outlive a worker, so a connection that arrives while one is
being replaced waits in its queue. When the parent dies the workers stop too. Beside them there may be one
process without a socket, for what is no request: however often it dies, the others go on.
"""

import asyncio
import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_BACKLOG = 4096
_RESPAWN_AFTER_S = 0.2
_EARLY_S = 2.0
_EARLY_MAX = 5
_BESIDE_AGAIN_MAX_S = 30.0
_KILL_AFTER_S = 5.0
_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}

WorkerMain = Callable[[int, socket.socket], Coroutine[Any, Any, None]]
"""What a worker does, by its number from 0 and with its socket, until it is cancelled."""


@dataclass(frozen=True, slots=True)
class Beside:
    """The process beside the workers: its name as `ps` shows it, and what it does until it is cancelled."""

    name: bytes
    main: Callable[[], Coroutine[Any, Any, None]]


def listen(host: str, port: int, count: int) -> list[socket.socket]:
    """One listening socket for each worker, all on the same address; port 0 takes a free one.

    Raises OSError.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sockets: list[socket.socket] = []
    try:
        # bound without SO_REUSEPORT first: another server on this port is an error, not a companion
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            port = probe.getsockname()[1]
        for _ in range(count):
            one = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind((host, port))
            one.listen(_BACKLOG)
            one.setblocking(False)  # noqa: FBT003 - the library's
    except OSError:
        for one in sockets:
            one.close()
        raise
    return sockets


class Workers:
    """The parent's view of its workers."""

    def __init__(
        self,
        sockets: list[socket.socket],
        main: WorkerMain,
        new_loop: Callable[[], asyncio.AbstractEventLoop],
        drain_s: float,
        said: Callable[..., None],
        chore: Callable[[], None],
        beside: Beside | None = None,
    ) -> None:
        """`chore` is done by the parent, about once a second; it must not fail, nor take long."""
        self._sockets = sockets
        self._main = main
        self._new_loop = new_loop
        self._drain_s = drain_s
        self._said = said
        self._chore = chore
        self._beside = beside
        self._beside_index = len(sockets)
        self._beside_due = float("inf") if beside is None else 0.0
        self._beside_early_deaths = 0
        self._running: dict[int, tuple[int, float]] = {}
        self._early_deaths = 0

    def run(self) -> int:
        """Start all, replace what dies, until a signal says stop; the exit code."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            for index in range(len(self._sockets)):
                self._fork(index)
            while True:
                self._chore()
                self._fork_beside()
                caught = signal.sigtimedwait(_SIGNALS, 1.0)
                if caught is not None and caught.si_signo != signal.SIGCHLD:
                    return self._stop()
                for index in self._reap():
                    if index == self._beside_index:
                        continue
                    if self._early_deaths >= _EARLY_MAX:
                        self._said("workers_keep_dying", times=self._early_deaths)
                        self._stop()
                        return 1
                    time.sleep(_RESPAWN_AFTER_S)
                    self._fork(index)
        finally:
            # told to stop once more while stopping: that is done by now
            while signal.sigtimedwait(_SIGNALS, 0) is not None:
                pass
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _fork_beside(self) -> None:
        """When it is to be started, or started again."""
        if time.monotonic() >= self._beside_due:
            self._beside_due = float("inf")
            self._fork(self._beside_index)

    def _fork(self, index: int) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            self._running[pid] = index, time.monotonic()
            return
        code = 1
        try:
            libc = ctypes.CDLL(None)
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if index == self._beside_index and self._beside is not None:
                libc.prctl(_PR_SET_NAME, self._beside.name)
            if os.getppid() == parent:
                self._serve(index)
                code = 0
        except BaseException as error:  # noqa: BLE001 - the process ends here, whatever it was
            self._said("worker_failed", error=repr(error))
        finally:
            with suppress(OSError, ValueError):
                sys.stderr.flush()
            os._exit(code)

    def _serve(self, index: int) -> None:
        loop = self._new_loop()
        asyncio.set_event_loop(loop)
        stop = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        # Ctrl-C reaches the whole group; the parent passes it on as SIGTERM
        loop.add_signal_handler(signal.SIGINT, lambda: None)

        async def until_stopped() -> None:
            # a loop hears signals from its first round on; what came before has waited until now
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            serving = asyncio.ensure_future(self._work_of(index))
            stopping = asyncio.ensure_future(stop.wait())
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if not serving.done():
                serving.cancel()
            with suppress(asyncio.CancelledError):
                await serving

        loop.run_until_complete(until_stopped())
        loop.close()

    def _work_of(self, index: int) -> Coroutine[Any, Any, None]:
        if index == self._beside_index and self._beside is not None:
            return self._beside.main()
        return self._main(index, self._sockets[index])

    def _reap(self) -> list[int]:
        """Which have died, by number."""
        lost = []
        while self._running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            index, started = self._running.pop(pid)
            is_early = time.monotonic() - started < _EARLY_S
            if index == self._beside_index:
                self._note_beside_died(is_early=is_early)
            else:
                self._early_deaths = self._early_deaths + 1 if is_early else 0
            work = "jobs" if index == self._beside_index else "requests"
            self._said("worker_died", pid=pid, status=os.waitstatus_to_exitcode(status), work=work)
            lost.append(index)
        return lost

    def _note_beside_died(self, *, is_early: bool) -> None:
        """Let it be started again: the later, the more often it died at once."""
        self._beside_early_deaths = self._beside_early_deaths + 1 if is_early else 0
        wait_s = min(_RESPAWN_AFTER_S * 2**self._beside_early_deaths, _BESIDE_AGAIN_MAX_S)
        self._beside_due = time.monotonic() + wait_s

    def _stop(self) -> int:
        """Ask all to stop, wait for what is under way, kill what stays."""
        for pid in self._running:
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + self._drain_s + _KILL_AFTER_S
        code = 0
        while self._running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid:
                self._running.pop(pid, None)
                code = code or (0 if os.waitstatus_to_exitcode(status) == 0 else 1)
            elif time.monotonic() > deadline:
                for each in self._running:
                    os.kill(each, signal.SIGKILL)
                code = 1
                deadline += _KILL_AFTER_S
            else:
                signal.sigtimedwait({signal.SIGCHLD}, 0.2)
        return code
