"""What faults are made with: a server started by another program, a small disk of its own, its processes."""

import errno
import http.client
import itertools
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from tests.servers import ServerError, ServerProcess

_FILLED_AFTER = 50

STOP_SECONDS = 10

_MOUNT = """
mount -t tmpfs -o "$2" tmpfs "$1"
echo ready
exec cat
"""


def do_without(reason: str) -> NoReturn:
    """Skip the test; or fail it, where everything has to be there."""
    if os.environ.get("MOORAGE_REQUIRE_CLIENTS") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def require(program: str, package: str) -> None:
    """Skip the test without this program."""
    if shutil.which(program) is None:
        do_without(f"{program} is not installed; on Debian: apt-get install {package}")


class WrappedServer(ServerProcess):
    """A server that another program starts by replacing itself with it."""

    def __init__(
        self, wrapper: Sequence[str], data_dir: Path, *args: str, env: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(data_dir, *args, env=env)
        self._command = [*wrapper, *self._command]
        self._exit_code: int | None = None

    def end_if_refused(self) -> tuple[int | None, str]:
        """Start; the exit code, or None when it is there to stay, and what it printed."""
        before = self.log_path.stat().st_size if self.log_path.exists() else 0
        code = None
        try:
            self.start()
        except ServerError:
            code = self._exit_code
        with self.log_path.open() as log:
            log.seek(before)
            return code, log.read()

    def _end_group(self) -> int:
        self._exit_code = super()._end_group()
        return self._exit_code


@dataclass(frozen=True)
class SmallDisk:
    """A tmpfs that is mounted in a namespace of its own, so nowhere else."""

    mountpoint: Path
    holder: int

    @property
    def path(self) -> Path:
        """The disk as it is seen from outside the namespace."""
        return Path(f"/proc/{self.holder}/root{self.mountpoint}")

    @property
    def enter(self) -> list[str]:
        """What starts a program inside."""
        return ["nsenter", f"--mount=/proc/{self.holder}/ns/mnt"]

    @property
    def _filler(self) -> Path:
        return self.path / "filler"

    def fill(self, *, left_bytes: int = 0) -> None:
        """Leave no more room than this."""
        with self._filler.open("wb", buffering=0) as file:
            for _ in range(_FILLED_AFTER):
                size = os.fstatvfs(file.fileno())
                # the registry's own work may take some of it between the question and the deed
                with suppress(OSError):
                    held_bytes = os.fstat(file.fileno()).st_blocks * 512
                    room_bytes = size.f_bavail * size.f_frsize - left_bytes
                    os.posix_fallocate(file.fileno(), 0, held_bytes + room_bytes)
                    return
        raise AssertionError("the disk was never filled")

    def fill_inodes(self) -> None:
        """Leave no room for another file, empty as it may be."""
        folder = self.path / "files"
        folder.mkdir()
        # until it is refused: the registry's own work may take some, or give some back, meanwhile
        try:
            for number in itertools.count():
                (folder / str(number)).touch()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise

    def free(self) -> None:
        """Take away what filled it."""
        self._filler.unlink(missing_ok=True)
        shutil.rmtree(self.path / "files", ignore_errors=True)

    def cover_read_only(self) -> None:
        """From now on every path leads to a mount that is read-only; what is open stays as it is."""
        wait_until(self._has_covered, STOP_SECONDS)

    def _has_covered(self) -> bool:
        """Cover it; False, and as before, where someone has opened a file to write meanwhile."""
        at = str(self.mountpoint)
        self._run("mount", "--bind", at, at)
        if self._succeeds("mount", "-o", "remount,bind,ro", at):
            return True
        self._run("umount", "--lazy", at)
        return False

    def uncover(self) -> None:
        self._run("umount", str(self.mountpoint))

    def _succeeds(self, *command: str) -> bool:
        return subprocess.run([*self.enter, *command], check=False, timeout=STOP_SECONDS).returncode == 0

    def _run(self, *command: str) -> None:
        subprocess.run([*self.enter, *command], check=True, timeout=STOP_SECONDS)


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[SmallDisk]:
    """A tmpfs with these mount options on `folder`; skips the test where that cannot be."""
    require("unshare", "util-linux")
    require("nsenter", "util-linux")
    if os.geteuid() != 0:
        do_without("only root can mount a small disk; run this as root")
    folder.mkdir(parents=True)
    with subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-ec", _MOUNT, "sh", str(folder), options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stderr is not None
        if holder.stdout.readline() != "ready\n":
            holder.kill()
            do_without(f"no small disk could be mounted: {holder.stderr.read().strip()}")
        try:
            yield SmallDisk(folder, holder.pid)
        finally:
            holder.communicate(timeout=STOP_SECONDS)


def children_of(pid: int) -> list[int]:
    """The processes that serve requests, oldest first."""
    return [child for child in _all_children_of(pid) if not _runs_jobs(child)]


def job_worker_of(pid: int) -> int | None:
    """The process beside them that runs jobs, while there is one."""
    return next((child for child in _all_children_of(pid) if _runs_jobs(child)), None)


def _all_children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _runs_jobs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == "moorage-jobs"
    except OSError:
        return False


def cpu_seconds(pids: Sequence[int]) -> float:
    """The processor time these processes have had."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def is_running(pid: int) -> bool:
    """Whether a process can still do anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def count_descriptors(pid: int) -> int:
    """How many files and connections a process has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def begin_request(connection: socket.socket, method: str, target: str, length: int) -> None:
    """Send a request's head. The server has it in hand from then on, and waits for `length` bytes of body."""
    head = (
        f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
    )
    connection.sendall(head.encode())
    answer = connection.recv(4096)
    assert answer == b"HTTP/1.1 100 Continue\r\n\r\n", answer


def wait_until_ended(pid: int, seconds: float = 35) -> None:
    """Wait until a child has ended, which stays to be reaped."""
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    wait_until(lambda: os.waitid(os.P_PID, pid, options) is not None, seconds)


def wait_until(is_so: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for what must come to pass; a connection that is cut says it is not so yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if is_so():
                return
        except (ConnectionError, http.client.HTTPException):
            pass
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)
