"""Folders in memory, for tests in which no disk plays a part and hundreds of folders come and go."""

import os
import shutil
import tempfile
from pathlib import Path

_SHARED_MEMORY = Path("/dev/shm")


def find_quick_folder(free_bytes: int) -> Path | None:
    """A folder in memory with so much room, if there is one; what a process leaves there is the same."""
    if not os.access(_SHARED_MEMORY, os.W_OK):
        return None
    return _SHARED_MEMORY if shutil.disk_usage(_SHARED_MEMORY).free >= free_bytes else None


def make_folder(prefix: str) -> Path:
    """An empty folder, in memory where it can be; whoever asked removes it."""
    return Path(tempfile.mkdtemp(prefix=prefix, dir=find_quick_folder(256 << 20)))
