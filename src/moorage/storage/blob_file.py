"""A blob's file, open for reading: see `filesystem.py` for where it lies."""

import os

from moorage.registry.blobs.store import BlobDamaged, FilePart
from moorage.storage.refusing import refusals

_PROBE_EVERY_BYTES = 256 * 1024
_ASIDE_BYTES = 64 * 1024


class FilesystemBlobFile:
    """A blob's file, open for reading."""

    __slots__ = ("_fd", "_left", "identity")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._left: list[int] = []
        stat = os.fstat(fd)
        self.identity: tuple[int, ...] = (
            stat.st_dev,
            stat.st_ino,
            stat.st_mtime_ns,
            stat.st_ctime_ns,
            stat.st_size,
        )

    def read_cached(self, offset: int, length: int) -> bytearray | None:
        piece = bytearray(length)
        try:
            count = os.preadv(self._fd, [piece], offset, os.RWF_NOWAIT)
        except OSError:
            # EAGAIN: not in memory; EOPNOTSUPP: this file system cannot tell
            return None
        return piece if count == length else None

    def part_in_memory(self, offset: int, length: int) -> FilePart | None:
        # a look at a few pages: the kernel reads ahead and drops behind in runs far longer than these gaps
        probe = bytearray(1)
        last = offset + length - 1
        try:
            for at in (*range(offset, last, _PROBE_EVERY_BYTES), last):
                if os.preadv(self._fd, [probe], at, os.RWF_NOWAIT) != 1:
                    return None
        except OSError:
            return None
        return FilePart(self._fd, offset, length)

    def read(self, offset: int, length: int) -> bytes:
        with refusals():
            piece = os.pread(self._fd, length, offset)
            while len(piece) < length:
                more = os.pread(self._fd, length - len(piece), offset + len(piece))
                if not more:
                    raise BlobDamaged("the file ends early")
                piece += more
        return piece

    def read_aside(self, offset: int, length: int) -> bytes:
        with refusals():
            # no reading ahead: what is in memory is then what others have read
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_RANDOM)
            absent = [
                at
                for at in range(offset, offset + length, _ASIDE_BYTES)
                if self.part_in_memory(at, min(_ASIDE_BYTES, offset + length - at)) is None
            ]
            piece = self.read(offset, length)
            self._drop(absent)
        return piece

    def _drop(self, blocks: list[int]) -> None:
        """Let go of blocks in memory, and once more of those before: just read, they may still be in use."""
        for at in (*self._left, *blocks):
            os.posix_fadvise(self._fd, at, _ASIDE_BYTES, os.POSIX_FADV_DONTNEED)
        self._left = blocks

    def close(self) -> None:
        if self._left:
            self._drop([])
        fd, self._fd = self._fd, -1
        os.close(fd)

    def __del__(self) -> None:
        # a reply whose client left before its first byte: what would close the file has never begun
        if getattr(self, "_fd", -1) >= 0:
            self.close()
