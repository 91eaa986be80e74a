"""Folders in memory, for tests in which no disk plays a part and hundreds of folders come and go."""

import os
import shutil
import tempfile
from pathlib import Path

_SHARED_MEMORY = Path("/dev/shm")
_ENOUGH_BYTES = 256 << 20


def make_folder(prefix: str) -> Path:
    """An empty folder, in memory where this machine has a place for it; whoever asked removes it."""
    has_place = os.access(_SHARED_MEMORY, os.W_OK) and shutil.disk_usage(_SHARED_MEMORY).free > _ENOUGH_BYTES
    return Path(tempfile.mkdtemp(prefix=prefix, dir=_SHARED_MEMORY if has_place else None))
