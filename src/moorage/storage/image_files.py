"""Folders that are OCI layouts, read; and layouts written, as a folder or a tar."""

import os
import shutil
import tarfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import RawIOBase
from pathlib import Path

from moorage.storage.plain import open_plain
from moorage.transfer.images.archive import ArchiveRefused, Member

_READ_BYTES = 1024 * 1024


class FolderArchive:
    """A layout in a folder, whose names are digests that were checked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def close(self) -> None:
        """Nothing is held."""

    def find(self, name: str) -> Member | None:
        path = self._folder / name
        try:
            return Member(path.stat().st_size, 0) if path.is_file() else None
        except OSError as error:
            raise ArchiveRefused(f"cannot read {path}: {error.strerror}") from error

    def read(self, name: str, max_bytes: int) -> bytes:
        content = b""
        for piece in self.pieces(name):
            content += piece
            if len(content) > max_bytes:
                raise ArchiveRefused(f"{self._folder / name} has more than {max_bytes} bytes")
        return content

    def pieces(self, name: str) -> Iterator[bytes]:
        path = self._folder / name
        try:
            with open(path, "rb", buffering=0, opener=open_plain) as file:
                while piece := file.read(_READ_BYTES):
                    yield piece
        except FileNotFoundError as error:
            raise ArchiveRefused(f"there is no {path}") from error
        except OSError as error:
            raise ArchiveRefused(f"cannot read {path}: {error.strerror}") from error


class FolderSink:
    """A folder, written beside its place. Raises FileExistsError where there is something."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        _check_free(folder)
        self._beside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
        self._beside.mkdir(parents=True)

    def add(self, name: str, size: int, read: Callable[[int], bytes]) -> None:
        path = self._beside / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb", buffering=0) as file:
            left = size
            while left:
                piece = memoryview(read(min(left, _READ_BYTES)))
                left -= len(piece)
                while piece:
                    piece = piece[file.write(piece) :]
            os.fsync(file.fileno())

    def finish(self) -> None:
        for folder, _, _ in os.walk(self._beside):
            sync_folder(Path(folder))
        self._beside.rename(self._folder)
        sync_folder(self._folder.parent)

    def discard(self) -> None:
        shutil.rmtree(self._beside, ignore_errors=True)


class TarSink:
    """A tar file, written beside its place. Raises FileExistsError where there is something."""

    def __init__(self, path: Path) -> None:
        self._path = path
        _check_free(path)
        self._beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        self._file = self._beside.open("xb")
        self._tar = tarfile.open(fileobj=self._file, mode="w|", bufsize=_READ_BYTES)  # noqa: SIM115 - as the file

    def add(self, name: str, size: int, read: Callable[[int], bytes]) -> None:
        entry = tarfile.TarInfo(name)
        entry.size = size
        self._tar.addfile(entry, _Reader(read))

    def finish(self) -> None:
        self._tar.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._beside.rename(self._path)
        sync_folder(self._path.parent)

    def discard(self) -> None:
        with suppress(OSError):
            self._tar.close()
        with suppress(OSError):
            self._file.close()
        self._beside.unlink(missing_ok=True)


class _Reader(RawIOBase):
    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read

    def read(self, size: int = -1) -> bytes:
        return self._read(size)


def _check_free(path: Path) -> None:
    if os.path.lexists(path):
        raise FileExistsError(f"{path} is there already: name another, or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
