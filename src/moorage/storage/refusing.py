"""What a client is told when the file system says no."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from moorage.errors import RegistryError, StorageFailed, StorageFull, StorageReadOnly, Unavailable

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_HANDLES = frozenset({errno.EMFILE, errno.ENFILE})


def refusal_of(error: OSError) -> RegistryError:
    """What a client is told when the file system says no."""
    if error.errno in NO_ROOM:
        return StorageFull()
    if error.errno == errno.EROFS:
        return StorageReadOnly()
    if error.errno in _NO_HANDLES:
        return Unavailable()
    return StorageFailed()


@contextmanager
def refusals() -> Iterator[None]:
    """What the file system refuses, as a client is told it."""
    try:
        yield
    except OSError as error:
        raise refusal_of(error) from error
