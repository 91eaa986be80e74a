"""Blobs and uploads as files under one folder.

    DATA/
      moorage.db                      the rows (`databases/`)
      moorage.config                  which settings file it was last served with (`cli/settings.py`)
      moorage.sequence                a number by which a database that was put back is known
      uploads/<id>                    a blob on its way in; held by flock while one request writes it
      uploads/<id>.new                the same while it parts from a blob
      blobs/sha256/ab/<hex>.<gen>     a blob; `ab` are the first two digits of <hex>
      blobs/sha256/ab/<id>.tmp        between two steps of a commit
      quarantine/<hex>.<gen>          what was found damaged, for an operator to look at

All on one file system, so that an upload becomes a blob by name alone. Order of a commit: the file is
synced, the shard folder made and its parent synced, the file linked there and renamed, the shard folder
synced; only then may a row say that the blob is live, and only then does the upload's name go. What a
crash leaves in uploads/ without a row is swept. A failed sync is final: see `health.py`.
"""

import errno
import fcntl
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import structlog

from moorage.errors import StorageFull, StorageReadOnly, UploadBusy
from moorage.health import Health
from moorage.oci.digest import Digest, encoded_of
from moorage.registry.blobs.store import UploadState
from moorage.storage.blob_file import FilesystemBlobFile
from moorage.storage.refusing import NO_ROOM, refusal_of, refusals

log = structlog.get_logger()

_RESERVE_SHARE = 0.05
# the kernel keeps what one write brings in blocks as large as it can, and large free blocks are cold memory
_WRITE_BYTES = 256 * 1024


def _hold(fd: int, path: Path) -> bool:
    """Lock a file; False when another holds it, or held it and left the name to another file or none."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return path.stat().st_ino == os.fstat(fd).st_ino
    except (BlockingIOError, FileNotFoundError):
        return False


def _copy(source: int, target: int, size: int) -> None:
    """The first `size` bytes of one file into another, which is empty."""
    copied = 0
    while copied < size:
        count = os.sendfile(target, source, copied, size - copied)
        if not count:
            raise OSError(errno.EIO, "the file ends early")
        copied += count


class FilesystemUploadFile:
    """An upload's file, open for one writer."""

    def __init__(self, fd: int, path: Path, store: "FilesystemStore", *, is_new: bool) -> None:
        self._fd = fd
        self._path = path
        self._store = store
        stat = os.fstat(fd)
        self._size = stat.st_size
        # an empty one may have been made by a request that ended before it synced the name
        self._is_new = is_new or not stat.st_size
        self._is_shared = stat.st_nlink > 1

    @property
    def size(self) -> int:
        return self._size

    def append(self, piece: bytes) -> None:
        if self._is_shared:
            self._part(self._size)
        rest = memoryview(piece)
        with refusals():
            # a short write may mean that the disk is full, which the next write will say
            while rest:
                room = _WRITE_BYTES - self._size % _WRITE_BYTES
                written = os.pwrite(self._fd, rest[:room], self._size)
                if not written:
                    raise OSError(errno.EIO, "nothing was written")
                self._size += written
                rest = rest[written:]

    def read(self, offset: int, length: int) -> bytes:
        with refusals():
            return os.pread(self._fd, length, offset)

    def truncate(self, size: int, *, in_place: bool = True) -> None:
        with refusals():
            in_place = in_place and os.fstat(self._fd).st_nlink == 1
            if in_place:
                os.ftruncate(self._fd, size)
                self._is_new = self._is_new or not size
        if not in_place:
            self._part(size)
        self._size = size

    def _part(self, size: int) -> None:
        """Go on in a copy of the first bytes.

        A commit that was not recorded has left this file as a blob's too, and another push of the same
        bytes may have made that blob live. Or others read it.
        """
        with refusals():
            second = self._path.with_name(f"{self._path.name}.new")
            fd = os.open(second, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _copy(self._fd, fd, size)
                self._store.sync(fd)
                os.rename(second, self._path)  # noqa: PTH104 - beside its fsyncs
            except BaseException:
                os.close(fd)
                second.unlink(missing_ok=True)
                raise
            os.close(self._fd)
            self._fd = fd
        self._is_shared = False
        self._store.sync_folder(self._path.parent)

    def sync(self) -> None:
        self._store.sync(self._fd)
        if self._is_new:
            self._store.sync_folder(self._store.uploads)
            self._is_new = False

    def close(self) -> None:
        os.close(self._fd)


class FilesystemStore:
    """The bytes of one registry. Every method but the constructor's may be called from any thread."""

    def __init__(self, root: Path, health: Health, reserve_bytes: int) -> None:
        self._health = health
        self._reserve_bytes = reserve_bytes
        self.root = root
        self.uploads = root / "uploads"
        self.shards = root / "blobs" / "sha256"
        self.aside = root / "quarantine"
        self._durable_shards: set[str] = set()

    def prepare(self) -> None:
        """Make the folders, durably. Raises StorageFull, StorageFailed, StorageReadOnly, OSError."""
        for folder in (self.root, self.uploads, self.shards, self.aside):
            self._make(folder.absolute())
        # also those that a start before this one made, and did not live to sync
        for folder in (self.shards.parent, self.root):
            self.sync_folder(folder)

    def _make(self, folder: Path) -> None:
        """Make a folder and those above it; each is synced into the one it stands in."""
        if folder.is_dir():
            return
        self._make(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        self.sync_folder(folder.parent)

    def check_writable(self) -> None:
        if self._health.failure is not None:
            raise StorageReadOnly
        stat = os.statvfs(self.root)
        reserve_bytes = min(self._reserve_bytes, int(stat.f_blocks * stat.f_frsize * _RESERVE_SHARE))
        if stat.f_flag & os.ST_RDONLY:
            raise StorageReadOnly
        if stat.f_bavail * stat.f_frsize < reserve_bytes:
            raise StorageFull(reserve_bytes=reserve_bytes)

    def open_upload(self, upload_id: str) -> FilesystemUploadFile:
        path = self.uploads / upload_id
        with refusals():
            try:
                fd, is_new = os.open(path, os.O_RDWR | os.O_CLOEXEC), False
            except FileNotFoundError:
                fd, is_new = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), True
                self.give(path)
        try:
            if _hold(fd, path):
                return FilesystemUploadFile(fd, path, self, is_new=is_new)
        except OSError as error:
            os.close(fd)
            raise refusal_of(error) from error
        os.close(fd)
        raise UploadBusy(upload=upload_id)

    def read_upload(self, upload_id: str) -> FilesystemBlobFile | None:
        with refusals():
            try:
                return FilesystemBlobFile(os.open(self.uploads / upload_id, os.O_RDONLY | os.O_CLOEXEC))
            except FileNotFoundError:
                return None

    def upload_state(self, upload_id: str) -> UploadState:
        try:
            stat = os.stat(self.uploads / upload_id)  # noqa: PTH116 - asked again and again
        except FileNotFoundError:
            return UploadState(0, 0, 0)
        return UploadState(stat.st_size, stat.st_mtime_ns, stat.st_ino)

    def upload_size(self, upload_id: str) -> int:
        try:
            return os.stat(self.uploads / upload_id).st_size  # noqa: PTH116 - on the way of every pull
        except FileNotFoundError:
            return 0

    def discard_upload(self, upload_id: str) -> None:
        with refusals():
            (self.uploads / upload_id).unlink(missing_ok=True)

    def list_old_uploads(self, age_s: float) -> list[str]:
        before = time.time() - age_s
        found = []
        with refusals(), os.scandir(self.uploads) as entries:
            for entry in entries:
                # one that ends meanwhile is none
                with suppress(FileNotFoundError):
                    if entry.stat(follow_symlinks=False).st_mtime < before:
                        found.append(entry.name)
        return found

    def commit(self, upload_id: str, digest: Digest, generation: int) -> None:
        # Under a second name, which is then renamed: the upload keeps its own, and with it its lock,
        # until its row is gone. Whoever asks meanwhile finds it; after a crash it can be closed again.
        target = self.path_of(digest, generation)
        second = target.with_name(f"{upload_id}.tmp")
        with refusals():
            self.make_shard(target.parent)
            second.unlink(missing_ok=True)
            second.hardlink_to(self.uploads / upload_id)
            try:
                os.rename(second, target)  # noqa: PTH104 - beside its fsyncs
            finally:
                # a rename onto the same file does nothing, not even remove the old name
                second.unlink(missing_ok=True)
        self.sync_folder(target.parent)

    def make_shard(self, shard: Path) -> None:
        """Make a shard folder, durably, unless this process has done so.

        One that is there already may be another's who has yet to sync it, or died before.
        """
        if shard.name in self._durable_shards:
            return
        shard.mkdir(mode=0o700, exist_ok=True)
        self.give(shard)
        self.sync_folder(self.shards)
        self._durable_shards.add(shard.name)

    def open_blob(self, digest: Digest, generation: int) -> FilesystemBlobFile | None:
        with refusals():
            try:
                return FilesystemBlobFile(
                    os.open(self._path_text(digest, generation), os.O_RDONLY | os.O_CLOEXEC)
                )
            except FileNotFoundError:
                return None

    def blob_size(self, digest: Digest, generation: int) -> int | None:
        try:
            return os.stat(self._path_text(digest, generation)).st_size  # noqa: PTH116 - on the way of every pull
        except FileNotFoundError:
            return None

    def remove_blobs(self, blobs: Iterable[tuple[Digest, int]]) -> None:
        shards = set()
        for digest, generation in blobs:
            path = self.path_of(digest, generation)
            with refusals(), suppress(FileNotFoundError):
                path.unlink()
                shards.add(path.parent)
        for shard in shards:
            self.sync_folder(shard)

    def quarantine(self, digest: Digest, generation: int) -> None:
        path = self.path_of(digest, generation)
        with refusals():
            try:
                os.rename(path, self.aside / path.name)  # noqa: PTH104 - beside its fsyncs
            except FileNotFoundError:
                return
        for folder in (self.aside, path.parent):
            self.sync_folder(folder)

    def sync(self, fd: int) -> None:
        """Make a file's bytes durable. Any failure but want of room turns the registry read-only."""
        try:
            os.fsync(fd)
        except OSError as error:
            if error.errno not in NO_ROOM:
                self._health.fail(f"fsync failed: {error.strerror}")
                log.error("storage_failed", reason=f"fsync failed: {error.strerror}")  # noqa: TRY400
            raise refusal_of(error) from error

    def sync_folder(self, folder: Path) -> None:
        """Make a folder's entries durable."""
        with refusals():
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.sync(fd)
        finally:
            os.close(fd)

    @property
    def owner(self) -> int:
        """The user for whom the folder is, whoever works on it now."""
        return self.root.stat().st_uid

    def give(self, path: Path) -> None:
        """What root makes in a folder of somebody else's shall be theirs: they serve it."""
        if os.geteuid() == 0 and (stat := self.root.stat()).st_uid:
            os.chown(path, stat.st_uid, stat.st_gid)

    def path_of(self, digest: Digest, generation: int) -> Path:
        """Where a blob's file lies, or would."""
        return Path(self._path_text(digest, generation))

    def _path_text(self, digest: Digest, generation: int) -> str:
        # text, not Path: this is on the way of every pull
        encoded = encoded_of(digest)
        return f"{self.shards}/{encoded[:2]}/{encoded}.{generation}"
