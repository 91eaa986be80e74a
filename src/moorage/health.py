"""Whether the disk still keeps its word: one flag that all worker processes share.

A failed fsync is final: the kernel may drop the pages it could not write and answer the next fsync
with success (PostgreSQL's "fsyncgate"). So the first failure turns the registry read-only until an
operator has looked and restarted it.
"""

import mmap

_REASON_MAX_BYTES = 500


class Health:
    """Made before the workers are forked; any worker's `fail` is seen by all at once."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, mmap.PAGESIZE)

    def fail(self, reason: str) -> None:
        """Turn the registry read-only for good. The first reason is kept."""
        if not self._shared[0]:
            encoded = reason.encode()[:_REASON_MAX_BYTES]
            self._shared[1 : 1 + len(encoded)] = encoded
            self._shared[0] = 1

    @property
    def failure(self) -> str | None:
        """Why the registry is read-only, or None while all is well."""
        if not self._shared[0]:
            return None
        return self._shared[1 : 1 + _REASON_MAX_BYTES].rstrip(b"\0").decode(errors="replace")
