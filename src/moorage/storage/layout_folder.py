"""The folder of an OCI layout that images are added to.

    oci-layout                  what it is; whoever changes index.json holds its lock
    index.json                  what it lists, replaced at once
    blobs/<algorithm>/<hex>     whole, or not there
    .partial/<algorithm>-<hex>  begun, and gone on with another time; whoever writes holds its lock

Source: image-spec main (13cff54), image-layout.md.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from moorage.oci import media_types
from moorage.oci.digest import Digest, algorithm_of, encoded_of
from moorage.storage.image_files import FolderArchive, sync_folder
from moorage.transfer.between.layouts import Entry
from moorage.transfer.between.ports import CopyRefused
from moorage.transfer.images import layout
from moorage.transfer.images.archive import ArchiveRefused

_READ_BYTES = 1024 * 1024
_FLUSH_BYTES = 8 * 1024 * 1024
_PARTIAL = ".partial"


class LayoutFolder(FolderArchive):
    """A layout that is there, or is made."""

    def __init__(self, folder: Path) -> None:
        """Raises CopyRefused for a folder that holds something else, OSError."""
        super().__init__(folder)
        mark = folder / layout.MARK
        # one that was cut while it was made is empty, and nothing is beside it
        if not mark.exists() or not mark.stat().st_size:
            if folder.exists() and (not folder.is_dir() or any(each != mark for each in folder.iterdir())):
                raise CopyRefused(f"{folder} is there and is no OCI layout: name another, or a new one")
            folder.mkdir(parents=True, exist_ok=True)
            mark.write_bytes(layout.MARK_CONTENT)
        (folder / "blobs").mkdir(exist_ok=True)
        if not (folder / layout.INDEX).exists():
            self.write_entries(lambda entries: entries)

    def read_entries(self) -> list[Entry]:
        if self.find(layout.INDEX) is None:
            return []
        try:
            # of each the digest is one, and the descriptor whole
            layout.read_layout(self)
            index = layout.read_json(self, layout.INDEX, layout.JSON_MAX_BYTES)
        except ArchiveRefused as refusal:
            raise CopyRefused(f"{self._folder}: {refusal}") from refusal
        entries: list[Entry] = index["manifests"]
        return entries

    def write_entries(self, change: Callable[[list[Entry]], list[Entry]]) -> None:
        with (self._folder / layout.MARK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            manifests = change(self.read_entries())
            index = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": manifests}
            _write(self._folder / layout.INDEX, json.dumps(index).encode())

    def put(self, digest: Digest, payload: bytes) -> None:
        path = self._folder / layout.path_of(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, payload)

    def open_partial(self, digest: Digest) -> "PartialFile":
        begun = self._folder / _PARTIAL / f"{algorithm_of(digest)}-{encoded_of(digest)}"
        return PartialFile(begun, self._folder / layout.path_of(digest))

    def tidy(self) -> None:
        with suppress(OSError):
            # others may be in it
            (self._folder / _PARTIAL).rmdir()


class PartialFile:
    """A blob that has been begun."""

    def __init__(self, begun: Path, whole: Path) -> None:
        """Raises CopyRefused when another process writes to it, OSError."""
        begun.parent.mkdir(exist_ok=True)
        self._begun = begun
        self._whole = whole
        self._file = begun.open("a+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise CopyRefused(f"another copy is writing {begun}: wait for it, and run this again") from error
        self.size = self._flushed_bytes = os.fstat(self._file.fileno()).st_size

    def read(self) -> Iterator[bytes]:
        at = 0
        while piece := os.pread(self._file.fileno(), _READ_BYTES, at):
            at += len(piece)
            yield piece

    def append(self, piece: bytes) -> None:
        rest = memoryview(piece)
        while rest:
            rest = rest[self._file.write(rest) :]
        self.size += len(piece)
        begun_bytes = self.size - self._flushed_bytes
        if begun_bytes >= _FLUSH_BYTES:
            # the disk begins now, beside what still comes: `keep` waits for little
            os.posix_fadvise(self._file.fileno(), self._flushed_bytes, begun_bytes, os.POSIX_FADV_DONTNEED)
            self._flushed_bytes = self.size

    def keep(self) -> None:
        os.fsync(self._file.fileno())
        self._whole.parent.mkdir(parents=True, exist_ok=True)
        self._begun.rename(self._whole)
        sync_folder(self._whole.parent)

    def empty(self) -> None:
        self._file.truncate(0)
        self.size = self._flushed_bytes = 0

    def close(self) -> None:
        self._file.close()


def _write(path: Path, content: bytes) -> None:
    """Put a file in its place, durably."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    sync_folder(path.parent)
