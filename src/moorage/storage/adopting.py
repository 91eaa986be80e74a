"""Files of another registry that become blobs of ours: by a second name, by shared blocks, or by a copy.

A file under two names is one file. Neither side ever writes to it: we keep blobs as they are, and the other
registry only renames and unlinks; its garbage collection takes its own name away and leaves ours. The file
is synced under its old name first, so that what is left to make durable is the new name, once for each
shard folder. A copy goes by way of `uploads/`, where what a crash leaves is swept.
"""

import errno
import fcntl
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from moorage.oci.digest import SHA256, SHA512, Algorithm, Digest, algorithm_of
from moorage.registry.uploads.hashing import Hashes, wanted
from moorage.storage.filesystem import FilesystemStore
from moorage.storage.plain import open_plain
from moorage.storage.refusing import refusals
from moorage.transfer.takeover.source import Adopted, ContentBroken, Means

_FICLONE = 0x40049409
"""Linux, `ioctl_ficlone(2)`."""
_READ_BYTES = 1024 * 1024
_NO_LINK = frozenset(
    {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOENT}
)
_NO_CLONE = frozenset({errno.EXDEV, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM})
_READ_BY_ALL = 0o004


class Adopter:
    """Makes files blobs of one store."""

    def __init__(self, store: FilesystemStore) -> None:
        self._store = store

    def probe(self, source: Path) -> Means:
        """How a file like this one would come: tried, and undone."""
        name = f"{uuid.uuid4()}"
        try:
            with _opened(source) as fd:
                if self._may_be_read_later(fd):
                    with suppress(OSError):
                        (self._store.uploads / name).hardlink_to(source)
                        return "hard link"
                target = self._make_upload(name)
                try:
                    return "reflink" if _clone(fd, target) else "copy"
                finally:
                    os.close(target)
        except (ContentBroken, OSError):
            return "copy"
        finally:
            self._store.discard_upload(name)

    def adopt(self, source: Path, digest: Digest, generation: int, *, with_sha512: bool) -> Adopted:
        with _opened(source) as fd:
            size = os.fstat(fd).st_size
            algorithms = wanted(size, SHA512 if with_sha512 else algorithm_of(digest))
            if self._may_be_read_later(fd):
                hashes = _hash(fd, algorithms)
                _check(hashes, digest)
                self._store.sync(fd)
                if self._link(fd, source, _sha256(hashes), generation):
                    return Adopted(_sha256(hashes), hashes.digest(SHA512), size, generation, "hard link")
            name = str(uuid.uuid4())
            target = self._make_upload(name)
            try:
                with refusals():
                    is_shared = _clone(fd, target)
                    # what is hashed is what was written, not what was read for it
                    hashes = _hash(target, algorithms) if is_shared else _copy(fd, target, Hashes(algorithms))
                _check(hashes, digest)
                self._store.sync(target)
                self._store.commit(name, _sha256(hashes), generation)
            finally:
                os.close(target)
                self._store.discard_upload(name)
            means: Means = "reflink" if is_shared else "copy"
            return Adopted(_sha256(hashes), hashes.digest(SHA512), size, generation, means)

    def settle(self, digests: Iterable[Digest]) -> None:
        for folder in {self._store.path_of(digest, 0).parent for digest in digests}:
            self._store.sync_folder(folder)

    def _make_upload(self, name: str) -> int:
        """A new file among the uploads, open, that no request will ask for: no row has its name."""
        path = self._store.uploads / name
        with refusals():
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._store.give(path)
        return fd

    def _may_be_read_later(self, fd: int) -> bool:
        """Whether the owner of our folder can read the file as it is, whoever runs this now."""
        stat = os.fstat(fd)
        return stat.st_uid == self._store.owner or bool(stat.st_mode & _READ_BY_ALL)

    def _link(self, fd: int, source: Path, digest: Digest, generation: int) -> bool:
        """Give the file its second name; False when this file system will not, or its name is another's."""
        target = self._store.path_of(digest, generation)
        with refusals():
            self._store.make_shard(target.parent)
            try:
                os.link(source, target, follow_symlinks=False)
            except FileExistsError:
                # a crash left it, and no row speaks of it; or another brings the same
                return _replace(fd, source, target)
            except OSError as error:
                if error.errno in _NO_LINK:
                    return False
                raise
            # else the other registry has just put another file there: a copy of what was read takes its place
            return _is_same(fd, target)


def _is_same(fd: int, path: Path) -> bool:
    read, there = os.fstat(fd), os.lstat(path)
    return (read.st_dev, read.st_ino) == (there.st_dev, there.st_ino)


def _replace(fd: int, source: Path, target: Path) -> bool:
    """Put the file in the place of another; False when its name is another's by now."""
    second = target.with_name(f"{uuid.uuid4()}.tmp")
    try:
        second.hardlink_to(source)
        if not _is_same(fd, second):
            return False
        os.rename(second, target)  # noqa: PTH104 - beside its fsyncs
    except OSError as error:
        if error.errno in _NO_LINK:
            return False
        raise
    finally:
        # a rename onto the same file does nothing, not even remove the old name
        second.unlink(missing_ok=True)
    return True


@contextmanager
def _opened(source: Path) -> Iterator[int]:
    try:
        fd = open_plain(source, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise ContentBroken("its bytes are gone") from error
    except OSError as error:
        raise ContentBroken(f"its bytes cannot be read: {error.strerror}") from error
    try:
        yield fd
    finally:
        os.close(fd)


def _hash(fd: int, algorithms: Sequence[Algorithm]) -> Hashes:
    hashes = Hashes(algorithms)
    for piece in _read(fd):
        hashes.update(piece)
    return hashes


def _read(fd: int) -> Iterator[bytes]:
    offset = 0
    while True:
        try:
            piece = os.pread(fd, _READ_BYTES, offset)
        except OSError as error:
            raise ContentBroken(f"its bytes cannot be read: {error.strerror}") from error
        if not piece:
            return
        yield piece
        offset += len(piece)


def _clone(source: int, target: int) -> bool:
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno in _NO_CLONE:
            return False
        raise
    return True


def _copy(source: int, target: int, hashes: Hashes) -> Hashes:
    for piece in _read(source):
        hashes.update(piece)
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(target, rest) :]
    return hashes


def _check(hashes: Hashes, digest: Digest) -> None:
    found = hashes.digest(algorithm_of(digest))
    if found != digest:
        raise ContentBroken(f"its bytes are those of {found}")


def _sha256(hashes: Hashes) -> Digest:
    digest = hashes.digest(SHA256)
    assert digest is not None  # noqa: S101 - every choice of algorithms has it
    return digest
