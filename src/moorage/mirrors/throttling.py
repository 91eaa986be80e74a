"""Bandwidth: how many bytes a second are taken of an upstream, by the hours of the day in UTC.

All processes of a data folder share one allowance: a file holds the moment from which on the next byte is
free, and who takes bytes moves it on and waits until then. Source: the generic cell rate algorithm, ITU-T
I.371. What no client waits for lets all go first that one waits for.
"""

import asyncio
import fcntl
import os
import re
import struct
import time
from pathlib import Path
from typing import Final

import structlog

from moorage.clock import now_ms
from moorage.config_mirrors import read_bandwidth
from moorage.mirrors.claims import Claims
from moorage.mirrors.fill import Fill
from moorage.mirrors.upstreams import Upstream

BURST_S: Final = 0.25
"""What was not taken for so long may be taken at once."""

PATIENCE_S: Final = 5.0
"""How long a piece that no client waits for lets those of clients go first: not so long that it is cut."""

LINGER_S: Final = 1.0
"""How long after its last piece a client's blob is taken to be still on its way."""

_MINUTE_MS: Final = 60_000
_DAY_MINUTES: Final = 24 * 60
_LOOK_S: Final = 1.0
_LOOK_FOR_CLIENTS_S: Final = 0.05
_AHEAD_MAX_S: Final = 300.0
_PLACE = struct.Struct("<d")
_NO_NAME = re.compile(r"[^a-z0-9._-]", re.ASCII)

log = structlog.get_logger()


def cap_at(upstream: Upstream, at_ms: int) -> int | None:
    """Bytes a second at a time in milliseconds since 1970-01-01 UTC; None: no cap. The least of several.

    0 means no prefetch: what a client waits for is not stopped.
    """
    minute = at_ms // _MINUTE_MS % _DAY_MINUTES
    caps = []
    for text in upstream.bandwidth:
        since, until, size = read_bandwidth(text)
        is_within = since <= minute < until if since < until else minute >= since or minute < until
        if is_within:
            caps.append(size)
    return min(caps, default=None)


class Throttle:
    """The allowance of one data folder, as one process takes of it."""

    def __init__(self, folder: Path, claims: Claims) -> None:
        self._folder = folder
        self._claims = claims

    async def take(self, fill: Fill, count: int) -> None:
        """Wait until so many bytes of a blob may be taken.

        They are taken all the same where nothing can be written.
        """
        upstream = fill.upstream
        if not upstream.bandwidth or not cap_at(upstream, now_ms()):
            return
        is_waited_for = self._is_waited_for(fill) or await self._let_clients_pass(fill)
        cap = cap_at(upstream, now_ms())
        if not cap:
            return
        try:
            free_at = self._book(upstream, count / cap)
        except OSError as error:
            log.warning("bandwidth_not_kept", upstream=upstream.name, reason=error.strerror)
            return
        if is_waited_for:
            self._claims.share(_clients_of(upstream), max(0.0, free_at - time.monotonic()) + LINGER_S)
        while (wait_s := free_at - time.monotonic()) > 0:
            await asyncio.sleep(min(wait_s, _LOOK_S))
            if not cap_at(upstream, now_ms()):
                # the hours are over
                return

    def say_waited_for(self, fill: Fill) -> None:
        """A client of this process waits for a blob that another process brings: it is to go first there."""
        if fill.has_client and fill.upstream.bandwidth:
            self._claims.share(_clients_of(fill.upstream, fill), LINGER_S)

    def _is_waited_for(self, fill: Fill) -> bool:
        return fill.has_client or self._claims.is_shared(_clients_of(fill.upstream, fill))

    async def _let_clients_pass(self, fill: Fill) -> bool:
        """Wait while clients take all there is, but not for ever; whether one waits for this by then."""
        until_s = time.monotonic() + PATIENCE_S
        while self._claims.is_shared(_clients_of(fill.upstream)) and time.monotonic() < until_s:
            await asyncio.sleep(_LOOK_FOR_CLIENTS_S)
            if self._is_waited_for(fill):
                return True
        return False

    def _book(self, upstream: Upstream, length_s: float) -> float:
        """Take the line for so long after all who did before; until when, by the machine's uptime."""
        name = _NO_NAME.sub("_", upstream.name)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        fd = os.open(self._folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # held for two small calls: nobody waits for it that could be seen
            fcntl.flock(fd, fcntl.LOCK_EX)
            now = time.monotonic()
            content = os.pread(fd, _PLACE.size, 0)
            free_at = _PLACE.unpack(content)[0] if len(content) == _PLACE.size else 0.0
            if not free_at <= now + _AHEAD_MAX_S + length_s:
                # of before the machine was started
                free_at = now
            free_at = max(free_at, now - BURST_S) + length_s
            os.pwrite(fd, _PLACE.pack(free_at), 0)
            return free_at
        finally:
            os.close(fd)


def _clients_of(upstream: Upstream, fill: Fill | None = None) -> str:
    """The name of what clients wait for: anything of an upstream, or a certain blob of it."""
    return f"clients of {upstream.name} {'' if fill is None else fill.digest}"
