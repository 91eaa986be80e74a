"""What a client is told of an upstream that was asked in vain; and what only says that nothing is kept."""

from dataclasses import dataclass
from typing import Final

from moorage.errors import (
    DatabaseFull,
    RegistryError,
    StorageFailed,
    StorageFull,
    StorageReadOnly,
    UpstreamFailed,
    UpstreamUnreachable,
)
from moorage.mirrors.asking import Failed, Fetched, UpstreamFailure
from moorage.mirrors.upstreams import Upstream

CANNOT_KEEP: Final = (StorageFull, DatabaseFull, StorageReadOnly, StorageFailed)
"""No room, or a store that cannot be written to: no reason not to give a client what an upstream has.

The last is how some disks say that they are read-only, and an fsync that fails, which makes the store so."""


@dataclass(frozen=True, slots=True)
class Unkept:
    """A manifest as the upstream has it, checked, that could not be kept, and why."""

    fetched: Fetched
    refusal: RegistryError


def refusal_of(upstream: Upstream, failure: UpstreamFailure, state: str) -> RegistryError:
    """How a client is told that an upstream was asked in vain."""
    reason = f"{upstream.name}: {failure}"
    if isinstance(failure, Failed):
        return UpstreamFailed(reason=reason, upstream=upstream.name, state=state)
    return UpstreamUnreachable(reason=reason, upstream=upstream.name, state=state)
