"""Digests: the names that content gives itself.

Source: image-spec main (13cff54), descriptor.md "Digests".
"""

import hashlib
import re
from typing import NewType

from moorage.errors import DigestInvalid

Digest = NewType("Digest", str)
"""A `str` that `parse_digest` has accepted: `sha256:` and 64 or `sha512:` and 128 lower-case hex digits."""

Algorithm = NewType("Algorithm", str)
"""`sha256` or `sha512`."""

SHA256 = Algorithm("sha256")
SHA512 = Algorithm("sha512")
ALGORITHMS = (SHA256, SHA512)

_ECHO_MAX_CHARS = 200

# digest = ( "sha256:" 64hex ) / ( "sha512:" 128hex ) ; hex is lower case: "A-F MUST NOT be used"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}", re.ASCII)


def is_digest(text: str) -> bool:
    """Whether `text` is a digest of an algorithm that this registry verifies."""
    return _DIGEST.fullmatch(text) is not None


def parse_digest(text: str) -> Digest:
    """Accept `text` as a digest.

    Raises DigestInvalid (400) for a bad grammar, upper-case hex and unknown algorithms.
    """
    if _DIGEST.fullmatch(text) is None:
        raise DigestInvalid(
            digest=text[:_ECHO_MAX_CHARS], reason="want sha256:<64> or sha512:<128> lower-case hex digits"
        )
    return Digest(text)


def algorithm_of(digest: str) -> Algorithm:
    """The algorithm of a parsed digest."""
    return Algorithm(digest[:6])


def encoded_of(digest: str) -> str:
    """The hex digits of a parsed digest."""
    return digest[7:]


def digest_of(content: bytes, algorithm: Algorithm = SHA256) -> Digest:
    """The digest of bytes in memory."""
    return Digest(f"{algorithm}:{hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()}")
