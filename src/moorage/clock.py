"""What time it is: one place, so that a test can move it."""

import time
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def now_ms() -> int:
    """Milliseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1_000_000


def uptime() -> tuple[int, str]:
    """Milliseconds since the machine came up, sleep included, and the name of this boot."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000, _BOOT.read_text("ascii").strip()
