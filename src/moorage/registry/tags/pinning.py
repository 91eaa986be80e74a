"""Pins: tags that no rule of retention may take."""

from moorage.database import Database, Transaction
from moorage.errors import NameUnknown, TagUnknown
from moorage.oci.names import RepositoryName, Tag
from moorage.records.audit.rows import Actor, record
from moorage.registry.repositories.rows import find_repository
from moorage.registry.tags import rows


async def pin_tag(db: Database, repository: RepositoryName, tag: Tag, pinned_by: Actor) -> None:
    """Let retention never take a tag that there is.

    Raises NameUnknown, TagUnknown (404).
    """

    def work(tx: Transaction) -> None:
        repository_id = find_repository(tx, repository)
        if repository_id is None:
            raise NameUnknown(name=repository)
        if rows.find_target(tx, repository_id, tag) is None:
            raise TagUnknown(name=repository, tag=tag)
        rows.pin(tx, repository_id, tag, str(pinned_by))
        record(tx, pinned_by, "tag.pin", repository, detail=tag)

    await db.write(work)


async def unpin_tag(db: Database, repository: RepositoryName, tag: Tag, unpinned_by: Actor) -> None:
    """Let retention decide about a tag again, whether it is there now or not.

    Raises NameUnknown, TagUnknown (404) for one that is not pinned.
    """

    def work(tx: Transaction) -> None:
        repository_id = find_repository(tx, repository)
        if repository_id is None:
            raise NameUnknown(name=repository)
        if not rows.unpin(tx, repository_id, tag):
            raise TagUnknown(name=repository, tag=tag, reason="no such tag is pinned")
        record(tx, unpinned_by, "tag.unpin", repository, detail=tag)

    await db.write(work)
