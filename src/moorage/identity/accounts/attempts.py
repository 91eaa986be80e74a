"""Wrong passwords and tokens, counted in memory that all worker processes share.

Twenty a minute from one address for one account, and that pair waits. Twenty a minute from one address,
or for one account, and whoever has not lately signed in with that account from that address waits: the
rightful owner at his usual desk does not, whatever others try.

The counters are a table of slots chosen by hash. Two keys may share a slot, and two workers may write one
at once: then someone waits a minute who need not, or has a try more. Nothing here decides who may come in.
"""

import hashlib
import mmap
import secrets
import struct
import time
from typing import Final, Literal

Means = Literal["password", "token"]

TRIES_A_MINUTE: Final = 20
_SLOTS: Final = 8192
_SLOT: Final = struct.Struct("dQ")
_KNOWN: Final = struct.Struct("d")
_KNOWN_FOR_S: Final = 7 * 86400.0
_MINUTE_S: Final = 60.0


class Attempts:
    """Made before the workers are forked."""

    def __init__(self) -> None:
        self._wrong = mmap.mmap(-1, _SLOTS * _SLOT.size)
        self._known = mmap.mmap(-1, _SLOTS * _KNOWN.size)
        # or names could be found that share a slot with someone's
        self._key = secrets.token_bytes(16)

    def wait_s(self, means: Means, account: str, address: str) -> int:
        """Seconds until this address may try this account again; 0 is now."""
        waits = [self._left_s(means, "pair", account, address)]
        if not self._is_known(means, account, address):
            waits += [self._left_s(means, "address", address), self._left_s(means, "account", account)]
        return max(waits)

    def failed(self, means: Means, account: str, address: str) -> None:
        """A wrong one came."""
        for key in (("pair", account, address), ("address", address), ("account", account)):
            offset = self._slot((means, *key)) * _SLOT.size
            since, count = _SLOT.unpack_from(self._wrong, offset)
            now = time.monotonic()
            if now - since >= _MINUTE_S:
                since, count = now, 0
            _SLOT.pack_into(self._wrong, offset, since, count + 1)

    def succeeded(self, means: Means, account: str, address: str) -> None:
        """The right one came: this address is one of the account's own."""
        slot = self._slot((means, account, address))
        _KNOWN.pack_into(self._known, slot * _KNOWN.size, time.monotonic())

    def _is_known(self, means: Means, account: str, address: str) -> bool:
        (at,) = _KNOWN.unpack_from(self._known, self._slot((means, account, address)) * _KNOWN.size)
        return bool(at) and time.monotonic() - at < _KNOWN_FOR_S

    def _left_s(self, *key: str) -> int:
        since, count = _SLOT.unpack_from(self._wrong, self._slot(key) * _SLOT.size)
        left = since + _MINUTE_S - time.monotonic()
        return int(left) + 1 if count >= TRIES_A_MINUTE and left > 0 else 0

    def _slot(self, key: tuple[str, ...]) -> int:
        digest = hashlib.blake2b("\0".join(key).encode(), digest_size=8, key=self._key).digest()
        return int.from_bytes(digest, "big") % _SLOTS
