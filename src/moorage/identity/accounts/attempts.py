"""Wrong passwords and tokens, counted in memory that all worker processes share.

Twenty a minute from one address for one account, and that pair waits. Twenty a minute from one address,
or for one account, and whoever has not lately signed in with that account from that address waits: the
rightful owner at his usual desk does not, whatever others try.

The counters are a table of slots, two for each key, chosen by hash; the lower one counts. Two keys may
share both, and two workers may write one at once: then someone waits a minute who need not, or has a try
more. Nothing here decides who may come in. Of an IPv6 address its /64 counts: whoever has one has all in it.
"""

import hashlib
import mmap
import secrets
import struct
import time
from typing import Final, Literal

from moorage.addresses import network_of

Means = Literal["password", "token"]

TRIES_A_MINUTE: Final = 20
_SLOTS: Final = 65_536
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
        address = network_of(address)
        waits = [self._left_s(means, "pair", account, address)]
        if not self._is_known(means, account, address):
            waits += [self._left_s(means, "address", address), self._left_s(means, "account", account)]
        return max(waits)

    def failed(self, means: Means, account: str, address: str) -> None:
        """A wrong one came."""
        address = network_of(address)
        for key in (("pair", account, address), ("address", address), ("account", account)):
            for slot in self._slots((means, *key)):
                self._count(slot)

    def _count(self, slot: int) -> None:
        since, count = _SLOT.unpack_from(self._wrong, slot * _SLOT.size)
        now = time.monotonic()
        if now - since >= _MINUTE_S:
            since, count = now, 0
        _SLOT.pack_into(self._wrong, slot * _SLOT.size, since, count + 1)

    def succeeded(self, means: Means, account: str, address: str) -> None:
        """The right one came: this address is one of the account's own."""
        for slot in self._slots((means, account, network_of(address))):
            _KNOWN.pack_into(self._known, slot * _KNOWN.size, time.monotonic())

    def _is_known(self, means: Means, account: str, address: str) -> bool:
        slots = self._slots((means, account, address))
        at = min(_KNOWN.unpack_from(self._known, slot * _KNOWN.size)[0] for slot in slots)
        return bool(at) and time.monotonic() - at < _KNOWN_FOR_S

    def _left_s(self, *key: str) -> int:
        return min(map(self._left_in_slot_s, self._slots(key)))

    def _left_in_slot_s(self, slot: int) -> int:
        since, count = _SLOT.unpack_from(self._wrong, slot * _SLOT.size)
        left = since + _MINUTE_S - time.monotonic()
        return int(left) + 1 if count >= TRIES_A_MINUTE and left > 0 else 0

    def _slots(self, key: tuple[str, ...]) -> tuple[int, int]:
        digest = hashlib.blake2b("\0".join(key).encode(), digest_size=16, key=self._key).digest()
        return int.from_bytes(digest[:8], "big") % _SLOTS, int.from_bytes(digest[8:], "big") % _SLOTS
