"""Opening files that others have made: a pipe or a device among them is neither read nor waited for."""

import errno
import os
import stat


def open_plain(path: str | os.PathLike[str], flags: int) -> int:
    """Open a regular file; an `opener`.

    Raises OSError, for anything else too.
    """
    fd = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is no file", str(path))
    return fd
