"""What a deletion took and frees, as `/v2` and the API say it."""

from datetime import UTC, datetime, timedelta

from msgspec import Struct

from moorage.config import DeleteSettings
from moorage.registry.trash.deleting import Deleted


class Frees(Struct, frozen=True):
    """Bytes that leave the disk: now, and later, not before `at`."""

    now_bytes: int
    later_bytes: int
    at: datetime | None


class DeletedReply(Struct, frozen=True):
    """What a deletion took. `deletion` restores it, until `restorable_until`."""

    deletion: int
    repository: str
    digests: list[str]
    tags: list[str]
    restorable_until: datetime
    frees: Frees


def describe_deleted(repository: str, deleted: Deleted, settings: DeleteSettings) -> DeletedReply:
    """The document of a deletion."""
    purge_at = datetime.fromtimestamp(deleted.purge_at / 1000, UTC)
    return DeletedReply(
        deleted.deletion,
        repository,
        list(deleted.digests),
        list(deleted.tags),
        purge_at,
        frees_at(deleted.frees_bytes, purge_at, settings.delay),
    )


def frees_at(later_bytes: int, purge_at: datetime, delay: timedelta) -> Frees:
    """What leaves the disk when the trash has given it up and the last lease on it is over."""
    return Frees(0, later_bytes, purge_at + delay if later_bytes else None)
