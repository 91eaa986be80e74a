"""Passwords: hashed with argon2id, a few at a time, by threads that yield to everything else.

A password that was right is remembered for a few minutes under a key that only this process has, so
that clients which send it with each request do not pay 30 ms each time.

An account that was taken over from another registry has a bcrypt hash, until its owner first signs in: the
password is known then and hashed as all others are. bcrypt reads 72 bytes, so a longer password is wrong.

Source: RFC 9106; OWASP Password Storage Cheat Sheet (argon2id, m = 19 MiB, t = 2, p = 1).
"""

import asyncio
import fcntl
import hashlib
import hmac
import mmap
import os
import re
import secrets
import struct
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Final

import argon2
import bcrypt

from moorage.errors import PasswordInvalid, TooManySignIns
from moorage.threads import in_thread

MIN_LENGTH: Final = 10
MAX_BYTES: Final = 1024
REMEMBERED_S: Final = 300.0
_REMEMBERED_MAX: Final = 10_000
_WAITING_MAX: Final = 40
"""Checks that may wait in one worker: two or three seconds of them."""
_NICENESS: Final = 10
_REST_MAX_S: Final = 1.0
_MOMENT: Final = struct.Struct("d")
_ROUNDS: Final = 2
_MEMORY_KIB: Final = 19 * 1024
_NO_ONES: Final = f"$argon2id$v=19$m={_MEMORY_KIB},t={_ROUNDS},p=1${'A' * 22}${'A' * 43}"
"""A hash of no password, which takes as long to check as anyone's."""


_BCRYPT_MAX_BYTES: Final = 72
_BCRYPT_COST_MIN: Final = 4
_BCRYPT_COST_MAX: Final = 14
"""About a second; one of 31 would keep a worker busy for days."""
# "$2" ( "a" / "b" / "y" ) "$" 2digit "$" 53( "." / "/" / alphanumeric )
_BCRYPT = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}", re.ASCII)


def is_bcrypt(kept: str) -> bool:
    """Whether a hash is one of another registry's."""
    return kept.startswith("$2")


def check_bcrypt(text: str) -> str | None:
    """Why a text is no bcrypt hash that can be kept here; None when it is one."""
    match = _BCRYPT.fullmatch(text)
    if match is None:
        return "its password is not hashed by bcrypt (htpasswd -B)"
    if not _BCRYPT_COST_MIN <= int(match[1]) <= _BCRYPT_COST_MAX:
        return f"its hash has a cost of {int(match[1])}; want {_BCRYPT_COST_MIN} to {_BCRYPT_COST_MAX}"
    return None


def check_password(password: str) -> str:
    """The password itself. All of it counts, whatever its length.

    Raises PasswordInvalid (400): shorter than 10 characters, longer than 1,024 bytes, or with a NUL.
    """
    if len(password) < MIN_LENGTH or "\0" in password or len(password.encode()) > MAX_BYTES:
        raise PasswordInvalid(want=f"{MIN_LENGTH} characters or more, {MAX_BYTES} bytes at most")
    return password


class Turns:
    """Lets half the processors hash at most, and each rest as long as it hashed: pulls have the others.

    Made before the workers are forked. The lock of one that dies is free at once.
    """

    def __init__(self) -> None:
        self._count = max(1, (os.cpu_count() or 1) // 2)
        self._file = os.memfd_create("turns", os.MFD_CLOEXEC)
        os.ftruncate(self._file, self._count * _MOMENT.size)
        self._rests = mmap.mmap(self._file, self._count * _MOMENT.size)

    @contextmanager
    def take(self) -> Iterator[None]:
        """Wait for a turn; blocks the thread. One of a process at a time: the lock is the process's."""
        place = os.getpid() % self._count
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, place)
        try:
            (rests_until,) = _MOMENT.unpack_from(self._rests, place * _MOMENT.size)
            began = time.monotonic()
            # after a restart of the machine's clock a moment may be far off; nothing rests for a second
            time.sleep(min(max(rests_until - began, 0), _REST_MAX_S))
            began = time.monotonic()
            yield
            ended = time.monotonic()
            _MOMENT.pack_into(self._rests, place * _MOMENT.size, ended + (ended - began))
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)


class Passwords:
    """The hashing of one worker process."""

    def __init__(self, turns: Turns | None = None) -> None:
        self._turns = turns or Turns()
        self._hasher = argon2.PasswordHasher(_ROUNDS, _MEMORY_KIB, parallelism=1)
        self._thread = ThreadPoolExecutor(1, "passwords", initializer=_yield_to_others)
        self._under_way: dict[bytes, asyncio.Future[bool]] = {}
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, float] = OrderedDict()

    async def hash(self, password: str) -> str:
        """The argon2id hash, with its parameters and salt, as it is kept.

        Raises PasswordInvalid (400).
        """
        return await in_thread(self._thread, self._hash, check_password(password))

    async def hash_again(self, password: str) -> str:
        """The argon2id hash of a password that was right, however short."""
        return await in_thread(self._thread, self._hash, password)

    def is_known(self, name: str, password: str, kept: str) -> bool:
        """Whether this password was found right for this hash a short while ago."""
        seen_at = self._right.get(self._mark(name, password, kept))
        return seen_at is not None and time.monotonic() - seen_at < REMEMBERED_S

    async def is_right(self, name: str, password: str, kept: str | None, other: str | None = None) -> bool:
        """Check a password. No hash (`kept` None: no such account) takes as long and is wrong.

        `other` is anyone's bcrypt hash, while there is one: what is wrong then takes as long as both kinds.

        Raises TooManySignIns (429) when more checks wait than can be done in about a second.
        """
        if len(password.encode()) > MAX_BYTES:
            return False
        mark = self._mark(name, password, kept or "")
        under_way = self._under_way.get(mark)
        if under_way is None:
            if len(self._under_way) >= _WAITING_MAX:
                raise TooManySignIns(retry_after_s=2)
            loop = asyncio.get_running_loop()
            under_way = loop.run_in_executor(self._thread, self._verify, kept, password, other)
            self._under_way[mark] = under_way
            under_way.add_done_callback(lambda _: self._under_way.pop(mark, None))
        # a machine that sends it on many connections at once is checked once
        is_right = await asyncio.shield(under_way) and kept is not None
        if is_right:
            self._remember(mark)
        return is_right

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    def _hash(self, password: str) -> str:
        with self._turns.take():
            return self._hasher.hash(password)

    def _verify(self, kept: str | None, password: str, other: str | None) -> bool:
        with self._turns.take():
            if kept is not None and is_bcrypt(kept):
                return _is_by_bcrypt(password, kept) or self._is_by_argon2(password, _NO_ONES)
            if self._is_by_argon2(password, kept or _NO_ONES):
                return True
            if other is not None:
                _is_by_bcrypt(password, other)
            return False

    def _is_by_argon2(self, password: str, kept: str) -> bool:
        try:
            return self._hasher.verify(kept, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False

    def _remember(self, mark: bytes) -> None:
        self._right[mark] = time.monotonic()
        self._right.move_to_end(mark)
        if len(self._right) > _REMEMBERED_MAX:
            self._right.popitem(last=False)

    def _mark(self, name: str, password: str, kept: str) -> bytes:
        """Of a password that is changed, or whose account is made anew, nothing is remembered."""
        text = b"\0".join(part.encode() for part in (name, kept, password))
        return hmac.digest(self._key, text, hashlib.sha256)


def _is_by_bcrypt(password: str, kept: str) -> bool:
    secret = password.encode()
    try:
        is_right = bcrypt.checkpw(secret[:_BCRYPT_MAX_BYTES], kept.encode())
    except ValueError:
        # a NUL, or no hash
        return False
    return is_right and len(secret) <= _BCRYPT_MAX_BYTES


def _yield_to_others() -> None:
    """Let pulls go before password checks wherever both want the processor."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
