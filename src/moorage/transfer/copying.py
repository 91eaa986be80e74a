"""One blob's file brought from one folder to another, whole or not at all."""

import errno
import fcntl
import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

from moorage.oci.digest import Digest, encoded_of
from moorage.registry.blobs.store import BlobDamaged, BlobFile

How = Literal["linked", "cloned", "copied"]

PIECE_BYTES: Final = 1024 * 1024
_FICLONE: Final = 0x40049409
_NO_LINK: Final = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS})


class Left(Exception):
    """Whoever wanted the copy wants it no more."""


def link(source: Path, target: Path) -> bool:
    """Give a file a second name; False where the file system cannot. Raises OSError, FileNotFoundError."""
    beside = target.with_name(f"{target.name}.{os.getpid()}.part")
    beside.unlink(missing_ok=True)
    try:
        beside.hardlink_to(source)
    except OSError as error:
        if error.errno in _NO_LINK:
            return False
        raise
    beside.replace(target)
    # a rename onto the same file leaves the other name
    beside.unlink(missing_ok=True)
    return True


def bring(file: BlobFile, source: Path, target: Path, digest: Digest, told: Callable[[int], None]) -> How:
    """Copy an open blob, sharing its blocks where the file system can; hashed on the way, synced.

    `told` hears of each piece, and may raise. The folder is not synced.

    Raises BlobDamaged when the bytes are not those of the digest, OSError, StorageFailed.
    """
    beside = target.with_name(f"{target.name}.{os.getpid()}.part")
    fd = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        is_cloned = _clone(source, fd, file.identity[1])
        _copy(file, fd, digest, told, is_cloned=is_cloned)
        os.fsync(fd)
        # others need the memory more
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)
    return "cloned" if is_cloned else "copied"


def _clone(source: Path, fd: int, inode: int) -> bool:
    """Let a new file share the blocks of another, of that very inode; False where that cannot be."""
    with suppress(OSError):
        own = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if os.fstat(own).st_ino == inode:
                fcntl.ioctl(fd, _FICLONE, own)
                return True
        finally:
            os.close(own)
    return False


def _copy(file: BlobFile, fd: int, digest: Digest, told: Callable[[int], None], *, is_cloned: bool) -> None:
    size = file.identity[-1]
    hasher = hashlib.sha256()
    for offset in range(0, size, PIECE_BYTES):
        piece = file.read_aside(offset, min(PIECE_BYTES, size - offset))
        hasher.update(piece)
        if not is_cloned:
            _write(fd, piece, offset)
        told(len(piece))
    if hasher.hexdigest() != encoded_of(digest):
        raise BlobDamaged(digest)


def is_whole(path: Path, digest: Digest, told: Callable[[int], None]) -> bool:
    """Whether a file holds the bytes of a digest. Raises OSError."""
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            hasher.update(piece)
            told(len(piece))
    return hasher.hexdigest() == encoded_of(digest)


def bring_verified(
    source: Path, target: Path, digest: Digest, size: int, told: Callable[[int], None]
) -> None:
    """Copy a file whose bytes are to be those of a digest; synced, but for its folder.

    Raises BlobDamaged, FileNotFoundError, OSError.
    """
    beside = target.with_name(f"{target.name}.part")
    hasher = hashlib.sha256()
    copied = 0
    with source.open("rb", buffering=0) as file:
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb", buffering=0) as copy:
            while piece := file.read(PIECE_BYTES):
                hasher.update(piece)
                _write(copy.fileno(), piece, copied)
                copied += len(piece)
                told(len(piece))
            os.fsync(copy.fileno())
    if copied != size or hasher.hexdigest() != encoded_of(digest):
        beside.unlink()
        raise BlobDamaged(digest)
    beside.replace(target)


def _write(fd: int, piece: bytes, at: int) -> None:
    rest = memoryview(piece)
    while rest:
        written = os.pwrite(fd, rest, at)
        rest, at = rest[written:], at + written
