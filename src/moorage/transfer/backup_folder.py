"""A folder of backups: each generation a database, and under them all the blobs that any of them names.

    DIR/
      moorage-backup                          says what the folder is; held by flock while one writes here
      blobs/sha256/ab/<hex>                   a blob; never written to again
      generations/20261127T033000Z/
        generation.json                       what it holds, and what was missing when it was made
        moorage.db  tls/                      the rows, with keys and hashes; certificate and root
      generations/<...>.part                  being made, or cut: no backup
      generations/<...>.old                   being removed, until the blobs that only it named are gone

A generation is named last, when all that it names is here and synced: one that was cut is none.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from moorage.oci.digest import Digest, encoded_of

FORMAT = 1
_MARKER = "moorage-backup"
_PART, _OLD = ".part", ".old"


class BackupRefused(Exception):
    """The backup cannot be made, or used; the sentence says why and what to do."""


class Generation(msgspec.Struct, frozen=True):
    """What one backup holds. `missing` are blobs that the store itself had lost; `bytes` are of blobs."""

    format: int
    made_at: str
    version: str
    blobs: int
    bytes: int
    database_bytes: int
    database_sha256: str
    missing: list[str]


class BackupFolder:
    """One such folder, there already."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.shards = root / "blobs" / "sha256"
        self.generations = root / "generations"

    @classmethod
    def make(cls, root: Path, data: Path) -> "BackupFolder":
        """The folder, made or used again; `data` is what is backed up.

        Raises BackupRefused when something else is in it, or it is in the data folder; OSError.
        """
        if root.resolve().is_relative_to(data.resolve()):
            raise BackupRefused(
                f"{root} is inside the data folder, with which it would be lost. Name a folder elsewhere."
            )
        if root.exists() and not (root / _MARKER).exists() and any(root.iterdir()):
            raise BackupRefused(
                f"{root} holds something that is no backup of Moorage's. Name an empty or a new folder."
            )
        folder = cls(root)
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        marker = root / _MARKER
        # one that was cut while it was made is empty
        if not marker.exists() or not marker.stat().st_size:
            write_synced(marker, f"{FORMAT}\n".encode())
        for each in (folder.shards.parent, folder.shards, folder.generations):
            each.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.shards.parent)
        sync_folder(root)
        folder.check()
        return folder

    def check(self) -> None:
        """Raises BackupRefused when the folder is no backup, or one of a later Moorage."""
        try:
            found = (self.root / _MARKER).read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise BackupRefused(f"{self.root} is no backup of Moorage's: it has no {_MARKER}") from error
        if found != str(FORMAT):
            raise BackupRefused(f"{self.root} was written by another Moorage (format {found}); use that one")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Write here alone.

        Raises BackupRefused when another does.
        """
        fd = os.open(self.root / _MARKER, os.O_RDONLY | os.O_CLOEXEC)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BackupRefused(f"another backup or restore works on {self.root}; let it end") from error
            yield
        finally:
            os.close(fd)

    def path_of(self, digest: Digest) -> Path:
        """Where a blob lies, or will."""
        encoded = encoded_of(digest)
        return self.shards / encoded[:2] / encoded

    def has(self, digest: Digest, size: int) -> bool:
        """Whether a blob is here, as far as its size tells."""
        try:
            return self.path_of(digest).stat().st_size == size
        except FileNotFoundError:
            return False

    def names(self) -> list[str]:
        """The generations that are whole, the oldest first."""
        if not self.generations.is_dir():
            return []
        return sorted(
            each.name
            for each in self.generations.iterdir()
            if not each.name.endswith((_PART, _OLD)) and (each / "generation.json").exists()
        )

    def read(self, name: str) -> Generation:
        """What a generation holds.

        Raises BackupRefused.
        """
        path = self.generations / name / "generation.json"
        try:
            found = msgspec.json.decode(path.read_bytes(), type=Generation)
        except (OSError, msgspec.DecodeError) as error:
            raise BackupRefused(f"{path} cannot be read: {error}") from error
        if found.format != FORMAT:
            raise BackupRefused(
                f"{path} was written by another Moorage (format {found.format}); use that one"
            )
        return found

    def read_all(self) -> dict[str, Generation]:
        """All whole generations, the oldest first.

        Raises BackupRefused.
        """
        return {name: self.read(name) for name in self.names()}

    def begin(self, name: str) -> Path:
        """An empty folder for a generation to be; what was cut before is removed."""
        for left in self.generations.glob(f"*{_PART}"):
            shutil.rmtree(left)
        folder = self.generations / f"{name}{_PART}"
        folder.mkdir(mode=0o700)
        return folder

    def publish(self, name: str, generation: Generation) -> None:
        """Say that a generation is whole: from here on it is. All its files are synced."""
        folder = self.generations / f"{name}{_PART}"
        write_synced(folder / "generation.json", msgspec.json.format(msgspec.json.encode(generation)) + b"\n")
        sync_folder(folder)
        folder.rename(self.generations / name)
        sync_folder(self.generations)

    def retire(self, keep: int) -> list[str]:
        """Stop counting all generations but the newest; which were left for `forget`."""
        for name in self.names()[:-keep]:
            (self.generations / name).rename(self.generations / f"{name}{_OLD}")
        sync_folder(self.generations)
        return [each.name for each in self.generations.glob(f"*{_OLD}")]

    def forget(self, name: str) -> None:
        """Remove a retired generation, when no blob is here for it alone."""
        shutil.rmtree(self.generations / name)


def write_synced(path: Path, content: bytes) -> None:
    """Write a file for its owner alone, durably. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_file(path: Path) -> None:
    """Make a file's bytes durable. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_folder(path: Path) -> None:
    """Make a folder's entries durable. Raises OSError."""
    sync_file(path)
