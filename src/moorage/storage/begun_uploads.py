"""Where uploads go that may be cut: a file for each, whose lock is held by whoever sends.

<folder>/<sha256 of the upload's name>     the address it goes to; it may be a secret, so for the owner only
"""

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

FORGOTTEN_S: Final = 7 * 86_400.0
"""No registry keeps an upload that long without a byte."""

_URL_MAX_BYTES = 16 * 1024


class FileBegunUpload:
    """An upload whose file this process has for itself; when another has it, nothing is noted."""

    def __init__(self, path: Path, fd: int | None) -> None:
        self._path = path
        self._fd = fd
        self.url = None if fd is None else os.pread(fd, _URL_MAX_BYTES, 0).decode("utf-8", "replace") or None

    def note(self, url: str) -> None:
        if self._fd is not None and url != self.url:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, url.encode(), 0)

    def forget(self) -> None:
        if self._fd is not None:
            self._path.unlink(missing_ok=True)


class FileBegunUploads:
    """A folder of them, made when it is first needed. Where it cannot be written nothing is remembered."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def hold(self, name: str) -> Iterator[FileBegunUpload]:
        path = self._folder / hashlib.sha256(name.encode()).hexdigest()
        fd = self._open(path)
        try:
            yield FileBegunUpload(path, fd)
        finally:
            if fd is not None:
                os.close(fd)

    def sweep(self) -> None:
        """Forget those that are too old to go on with."""
        with suppress(OSError):
            for path in self._folder.iterdir():
                if path.stat().st_mtime < time.time() - FORGOTTEN_S:
                    path.unlink(missing_ok=True)

    def _open(self, path: Path) -> int | None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return None
        return fd
