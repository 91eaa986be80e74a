"""Waiting until servers do nothing: what one does later must not count as the cost of the next thing."""

import time
from collections.abc import Sequence

from bench.servers import Server

QUIET_S = 11.0
"""So long without work is quiet: Moorage looks for work to be done later every 10 s."""

_LOOK_EVERY_S = 0.5
_BUSY_SHARE = 0.04
"""More than this share of a core is work; two ticks of the CPU clock between two looks."""
_GIVE_UP_AFTER_S = 90.0


def wait_until_quiet(servers: Sequence[Server]) -> dict[str, float]:
    """Wait until all of `servers` are quiet; give the CPU seconds each has used meanwhile.

    A server whose process is not known counts as quiet. After 90 s the wait ends anyhow.
    """
    known = {server.name: server for server in servers if server.cpu_seconds() is not None}
    first = {name: server.cpu_seconds() or 0.0 for name, server in known.items()}
    last = dict(first)
    began = busy_at = time.monotonic()
    while known and time.monotonic() - busy_at < QUIET_S and time.monotonic() - began < _GIVE_UP_AFTER_S:
        time.sleep(_LOOK_EVERY_S)
        now = {name: server.cpu_seconds() or 0.0 for name, server in known.items()}
        if any(now[name] - last[name] > _BUSY_SHARE * _LOOK_EVERY_S for name in known):
            busy_at = time.monotonic()
        last = now
    return {name: last[name] - first[name] for name in known}
