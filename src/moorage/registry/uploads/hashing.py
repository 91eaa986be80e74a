"""Hashing bytes as they are stored, in the thread that stores them: both let other threads run."""

import hashlib
from collections.abc import Sequence

from moorage.oci.digest import SHA256, SHA512, Algorithm, Digest
from moorage.registry.blobs.store import UploadFile

READ_BYTES = 1024 * 1024
SHA512_INLINE_MAX_BYTES = 4 * 1024 * 1024
"""Up to this size both digests are computed at once; a larger blob's sha512 follows when there is time."""


class Hashes:
    """The running digests of an upload's bytes, from its first byte on."""

    def __init__(self, algorithms: Sequence[Algorithm]) -> None:
        self._hashers = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}

    def update(self, piece: bytes) -> None:
        """Add bytes."""
        for hasher in self._hashers.values():
            hasher.update(piece)

    def digest(self, algorithm: Algorithm) -> Digest | None:
        """The digest so far; None when this algorithm is not being computed."""
        hasher = self._hashers.get(algorithm)
        return Digest(f"{algorithm}:{hasher.hexdigest()}") if hasher else None


def hash_file(file: UploadFile, algorithms: Sequence[Algorithm]) -> Hashes:
    """The digests of all the bytes as stored."""
    hashes = Hashes(algorithms)
    offset = 0
    while piece := file.read(offset, READ_BYTES):
        hashes.update(piece)
        offset += len(piece)
    return hashes


def wanted(size: int | None, asked: Algorithm = SHA256) -> tuple[Algorithm, ...]:
    """Which digests to compute for a blob of `size` bytes (None: not known yet)."""
    if asked == SHA512 or (size is not None and size <= SHA512_INLINE_MAX_BYTES):
        return SHA256, SHA512
    return (SHA256,)
