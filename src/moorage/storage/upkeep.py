"""The files of a store as a check walks and measures them: see `filesystem.py` for where they lie."""

import os
from pathlib import Path

from moorage.clock import now_ms
from moorage.lifecycle.checking.files import StoredFile
from moorage.lifecycle.garbage.status import Usage
from moorage.storage.filesystem import FilesystemStore
from moorage.storage.refusing import refusals


class FilesystemUpkeep:
    """The blobs' folders, uploads/ and quarantine/ of one store."""

    def __init__(self, store: FilesystemStore) -> None:
        self._store = store

    def list_shards(self) -> list[str]:
        with refusals():
            return sorted(entry.name for entry in os.scandir(self._store.shards) if entry.is_dir())

    def list_blobs(self, shard: str) -> list[StoredFile]:
        folder = self._store.shards / shard
        # a shard is made with its first blob
        return _list(folder) if folder.is_dir() else []

    def list_uploads(self) -> list[StoredFile]:
        return _list(self._store.uploads)

    def put_aside(self, shard: str, name: str) -> bool:
        return self._move(self._store.shards / shard / name, self._store.aside / name)

    def put_back(self, shard: str, name: str) -> None:
        self._move(self._store.aside / name, self._store.shards / shard / name)

    def _move(self, source: Path, target: Path) -> bool:
        with refusals():
            try:
                os.rename(source, target)  # noqa: PTH104 - beside its fsyncs
            except FileNotFoundError:
                return False
        self._store.sync_folder(target.parent)
        self._store.sync_folder(source.parent)
        return True

    def discard(self, shard: str, name: str) -> None:
        with refusals():
            (self._store.shards / shard / name).unlink(missing_ok=True)

    def list_aside(self) -> list[StoredFile]:
        return _list(self._store.aside)

    def discard_aside(self, name: str) -> None:
        with refusals():
            (self._store.aside / name).unlink(missing_ok=True)

    def measure(self) -> Usage:
        root = self._store.root
        database = sum(_on_disk(path) for path in root.glob("moorage.db*"))
        known = {self._store.uploads, self._store.aside, self._store.shards.parent}
        other = _on_disk(root) + _on_disk(self._store.shards.parent) + _on_disk(self._store.shards)
        with refusals():
            other += sum(_on_disk(Path(entry.path)) for entry in os.scandir(self._store.shards))
            for path in root.iterdir():
                if path not in known and not path.name.startswith("moorage.db"):
                    other += _all_on_disk(path)
        return Usage(_all_on_disk(self._store.uploads), _all_on_disk(self._store.aside), database, other)

    def measure_free(self) -> int:
        with refusals():
            stat = os.statvfs(self._store.root)
        return stat.f_bavail * stat.f_frsize


def _all_on_disk(path: Path) -> int:
    return _on_disk(path) + sum(_on_disk(each) for each in path.rglob("*"))


def _on_disk(path: Path) -> int:
    """What a file or folder takes of the disk; 0 for one that is gone."""
    try:
        return path.lstat().st_blocks * 512
    except FileNotFoundError:
        return 0


def _list(folder: Path) -> list[StoredFile]:
    """Its files. One that goes meanwhile is left out."""
    now, found = now_ms(), []
    with refusals(), os.scandir(folder) as entries:
        for entry in entries:
            try:
                stat = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            # a link or a new name leaves the time of the bytes as it was
            touched_at = max(stat.st_mtime_ns, stat.st_ctime_ns) // 1_000_000
            found.append(StoredFile(entry.name, stat.st_size, now - touched_at, stat.st_nlink))
    return found
