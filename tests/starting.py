"""`moorage` in a process of its own that costs no start of Python: forked from one that has imported it.

    child = start(["serve", "--listen", "127.0.0.1:5000"], env=os.environ)
    child.terminate()
    child.wait(timeout=5)

Importing takes most of what a command does, and hundreds are run. The process is no copy of the test's: it is
forked from a program that has done nothing but import, with an environment, streams and a folder of its own,
and it is this process's child, to be waited for and killed. What is about the start of the command itself
runs `python -m moorage`.
"""

import atexit
import ctypes
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

COMMAND = (sys.executable, "-m", "moorage")
"""What a person types, by this very Python."""

_PR_SET_CHILD_SUBREAPER = 36
LENGTH = struct.Struct("!I")
"""What comes before a message: its length; or a process id."""

_ROOT = Path(__file__).parent.parent


class Child:
    """A process that was started, as `subprocess.Popen` shows one."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code, or the negative number of the signal that ended it; None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raises subprocess.TimeoutExpired after so many seconds."""
        deadline = time.monotonic() + (float("inf") if timeout is None else timeout)
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("moorage", timeout or 0)
            time.sleep(0.002)
        return code

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


class _Source:
    """The program that has imported everything, and this process's line to it."""

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair()
        self._asking = Lock()
        with theirs:
            command = [sys.executable, "-m", "tests.forking", str(theirs.fileno())]
            self._process = subprocess.Popen(command, cwd=_ROOT, pass_fds=[theirs.fileno()])
        atexit.register(self.end)

    def end(self) -> None:
        self._line.close()
        self._process.wait()

    def fork(self, asked: dict[str, Any], streams: Sequence[int]) -> int:
        """Ask for a process, which is this one's child; its id."""
        content = json.dumps(asked).encode()
        libc = ctypes.CDLL(None)
        with self._asking:
            # what forks it is gone at once, and so it is given to the nearest who takes such: to this process
            libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            try:
                socket.send_fds(self._line, [LENGTH.pack(len(content))], streams)
                self._line.sendall(content)
                (pid,) = LENGTH.unpack(read_exactly(self._line, LENGTH.size))
            finally:
                libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        return int(pid)


_sources: list[_Source] = []
_finding = Lock()


def start(
    arguments: Sequence[str],
    *,
    env: Mapping[str, str],
    stdin: int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    start_new_session: bool = False,
) -> Child:
    """Start `moorage` with these arguments; a stream that is not given is /dev/null."""
    with _finding:
        if not _sources:
            _sources.append(_Source())
    asked = {
        "arguments": list(arguments),
        "env": dict(env),
        "folder": str(Path.cwd()),
        "is_leader": start_new_session,
    }
    nothing = os.open(os.devnull, os.O_RDWR)
    try:
        streams = [nothing if each is None else each for each in (stdin, stdout, stderr)]
        return Child(_sources[0].fork(asked, streams))
    finally:
        os.close(nothing)


def read_exactly(line: socket.socket, size: int) -> bytes:
    """Read so many bytes. Raises EOFError when there are no more."""
    content = b""
    while len(content) < size:
        piece = line.recv(size - len(content))
        if not piece:
            raise EOFError("the other end is gone")
        content += piece
    return content
