"""As the registry's own tests have it: real rows, real bytes, a clock that the test moves, no network."""

from tests.registry.conftest import (
    anyio_backend,
    clock,
    db,
    health,
    offline,
    registry,
    settings,
    store,
    threads,
    uploads,
)

__all__ = [
    "anyio_backend",
    "clock",
    "db",
    "health",
    "offline",
    "registry",
    "settings",
    "store",
    "threads",
    "uploads",
]
