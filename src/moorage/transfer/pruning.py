"""Taking from a backup folder what none of its generations names."""

import os
import re
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Final

from moorage.database import Database
from moorage.lifecycle.checking.rows import list_blob_rows
from moorage.oci.digest import SHA256
from moorage.threads import in_thread
from moorage.transfer.backup_folder import BackupFolder
from moorage.transfer.ports import Snapshot, Snapshots

_ROWS: Final = 5000
_NAME = re.compile(r"[0-9a-f]{64}", re.ASCII)


async def prune(
    folder: BackupFolder, snapshots: Snapshots, threads: Executor, told: Callable[[int], None]
) -> tuple[int, int]:
    """Remove such blobs; how many, and their bytes. `told` hears of the blobs looked at.

    Nothing is removed unless all generations can be read. Raises SnapshotFailed, OSError.
    """
    opened: list[Snapshot] = []
    try:
        for name in folder.names():
            snapshot = snapshots.open(folder.generations / name / "moorage.db")
            opened.append(snapshot)
        blobs, size = 0, 0
        for shard in sorted(folder.shards.iterdir()):
            wanted = {each for snapshot in opened for each in await _names_in(snapshot, shard.name)}
            removed = await in_thread(threads, _remove, shard, wanted, told)
            blobs, size = blobs + removed[0], size + removed[1]
        return blobs, size
    finally:
        for snapshot in opened:
            snapshot.close()


async def _names_in(snapshot: Database, shard: str) -> set[str]:
    """The files that a generation has in a shard, whatever has become of the blobs since."""
    found: set[str] = set()
    after = f"{SHA256}:{shard}"
    while batch := await list_blob_rows(snapshot, after, f"{SHA256}:{shard}g", _ROWS):
        found |= {row.digest.partition(":")[2] for row in batch}
        after = batch[-1].digest
    return found


def _remove(shard: Path, wanted: set[str], told: Callable[[int], None]) -> tuple[int, int]:
    blobs, size = 0, 0
    with os.scandir(shard) as entries:
        for entry in entries:
            told(1)
            if entry.name in wanted or not (_NAME.fullmatch(entry.name) or entry.name.endswith(".part")):
                continue
            stat = entry.stat(follow_symlinks=False)
            (shard / entry.name).unlink()
            blobs, size = blobs + 1, size + stat.st_size
    return blobs, size
