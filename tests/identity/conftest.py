"""Real rows in a folder of the test's own, no network."""

from tests.offline import offline
from tests.registry.conftest import Clock, anyio_backend, clock, db, health

__all__ = ["Clock", "anyio_backend", "clock", "db", "health", "offline"]
