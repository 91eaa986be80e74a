"""What the store holds and what of it goes when: numbers that add up to what the disk says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from moorage.clock import now_ms
from moorage.database import Database
from moorage.lifecycle.garbage import rows
from moorage.oci.digest import Digest
from moorage.oci.names import RepositoryName


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes that the disk holds for a data folder besides blobs, in whole blocks."""

    uploads_bytes: int
    quarantine_bytes: int
    database_bytes: int
    other_bytes: int
    """Keys, locks, and the folders themselves."""


class Disk(Protocol):
    """Where the bytes are, as its owner sees it."""

    def measure(self) -> Usage:
        """What there is besides blobs. Raises StorageFailed (500)."""
        ...

    def measure_free(self) -> int:
        """The bytes that the data folder could still take. Raises StorageFailed (500)."""
        ...


@dataclass(frozen=True, slots=True)
class Holdings:
    """The store's bytes. All blobs are `needed`, in the `trash`, `waiting` or `garbage`."""

    needed_bytes: int
    trash_bytes: int
    """Needed by what is in the trash alone."""
    waiting_bytes: int
    """Needed by nothing; kept until a lease is over."""
    garbage_bytes: int
    """Goes with the next run."""
    shared_bytes: int
    """What images would need more if each had its own copies."""
    blobs: int
    disk_bytes: int
    """All of it, in whole blocks, with what is not a blob."""
    usage: Usage
    obstacle: str | None
    """Why nothing is collected now."""


async def measure_garbage(db: Database) -> int:
    """The bytes that go with the next run."""
    return (await rows.read_totals(db)).garbage_bytes


async def measure_store(db: Database, usage: Usage) -> Holdings:
    """What the store holds; `usage` is for what is no blob. Reads all edges once, off the loop."""
    totals = await rows.read_totals(db)
    trash = await rows.measure_trash(db)
    waiting = await rows.measure_waiting(db)
    blobs_on_disk = totals.disk_bytes + totals.garbage_disk_bytes
    others = usage.uploads_bytes + usage.quarantine_bytes + usage.database_bytes + usage.other_bytes
    return Holdings(
        needed_bytes=totals.bytes - trash - waiting,
        trash_bytes=trash,
        waiting_bytes=waiting,
        garbage_bytes=totals.garbage_bytes,
        shared_bytes=await rows.measure_shared(db),
        blobs=totals.blobs,
        disk_bytes=blobs_on_disk + others,
        usage=usage,
        obstacle=await rows.read_obstacle(db),
    )


@dataclass(frozen=True, slots=True)
class Planned:
    """Something that goes at `at`, in milliseconds, if nothing happens before."""

    at: int
    kind: str
    """`deletion`, `repository`, `lease`."""
    repository: RepositoryName | None
    digest: Digest | None
    frees_bytes: int
    id: int | None


async def plan(db: Database, delay_ms: int, limit: int) -> Sequence[Planned]:
    """What goes when, the soonest first; at most `limit` of each kind.

    What the trash gives up is leased once more, so its bytes go `delay_ms` after; a repository's leases go
    with it. What was purged, whose time is 0, goes as from now.
    """
    now = now_ms()
    found = [
        Planned((at or now) + (0 if kind == "repository" else delay_ms), kind, name, digest, size, number)
        for at, kind, name, digest, size, number in await rows.list_due_trash(db, limit)
    ]
    found += [
        Planned(at, "lease", name, digest, size, None)
        for at, name, digest, size in await rows.list_waiting(db, limit)
    ]
    return sorted(found, key=lambda each: each.at)
