"""What one connection may take."""

from dataclasses import dataclass

HEADERS_MAX = 100
HEADERS_MAX_BYTES = 32 * 1024
TARGET_MAX_BYTES = 8 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds; `connections` per worker process."""

    header_timeout_s: float = 10.0
    """From the first byte of a request to the last of its header."""
    idle_timeout_s: float = 75.0
    """Between requests on a connection that is kept."""
    reader_idle_s: float = 60.0
    """For a client to take any byte of a reply that waits for it."""
    connections: int = 2000
    drain_s: float = 30.0
    """For requests under way when the worker is told to stop."""
