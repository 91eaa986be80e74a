"""Bandwidth: how many bytes a second are taken of an upstream, by the hours of the day in UTC.

All processes of a data folder share one allowance: a file holds the moment from which on the next byte is
free, and who takes bytes moves it on and waits until then. Source: the generic cell rate algorithm, ITU-T
I.371.
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
from moorage.mirrors.upstreams import Upstream

BURST_S: Final = 0.25
"""What was not taken for so long may be taken at once."""

_MINUTE_MS: Final = 60_000
_DAY_MINUTES: Final = 24 * 60
_LOOK_S: Final = 1.0
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

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def take(self, upstream: Upstream, count: int) -> None:
        """Wait until so many bytes may be taken. They are taken all the same where nothing can be written."""
        if not upstream.bandwidth or not cap_at(upstream, now_ms()):
            return
        cap = cap_at(upstream, now_ms()) or 0
        try:
            free_at = self._book(upstream, count / cap)
        except OSError as error:
            log.warning("bandwidth_not_kept", upstream=upstream.name, reason=error.strerror)
            return
        while (wait_s := free_at - time.monotonic()) > 0:
            await asyncio.sleep(min(wait_s, _LOOK_S))
            if not cap_at(upstream, now_ms()):
                # the hours are over
                return

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
