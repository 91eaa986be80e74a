"""Giving a repository another name."""

from datetime import timedelta

import structlog

from moorage.clock import now_ms
from moorage.database import Database, Transaction
from moorage.errors import NameTaken, NameUnknown
from moorage.identity.access.rows import record_deletion
from moorage.oci.names import RepositoryName
from moorage.records.audit.rows import Actor, record
from moorage.registry.repositories import rows
from moorage.registry.tags.keeping import check_has_no_fixed_tag
from moorage.registry.uploads.rows import move_all

log = structlog.get_logger()


async def rename_repository(
    db: Database, name: RepositoryName, renamed: RepositoryName, old_names: timedelta, renamed_by: Actor
) -> None:
    """Give a repository another name; whatever it holds stays where it is.

    For as long as `old_names` says it can be pulled from by the old name too, unless someone pushes to that:
    then there is another repository of the name. Uploads that are open go on under the new name. Rights are
    by name, so they stay behind; a token from before says nothing of either name.
    Raises NameUnknown (404), NameTaken, TagImmutable (409).
    """
    await check_has_no_fixed_tag(db, name, "moved")

    def work(tx: Transaction) -> None:
        repository_id = rows.find_repository(tx, name)
        if repository_id is None:
            raise NameUnknown(name=name)
        if rows.find_repository(tx, renamed) is not None:
            raise NameTaken(name=renamed, taken_by="a repository of this name")
        rows.rename(tx, repository_id, renamed)
        if old_names:
            rows.add_alias(tx, repository_id, name, now_ms() + int(old_names.total_seconds() * 1000))
        move_all(tx, name, renamed)
        for each in (name, renamed):
            record_deletion(tx, each)
        record(tx, renamed_by, "repository.rename", name, detail=f"to {renamed}")
        record(tx, renamed_by, "repository.rename", renamed, detail=f"from {name}")

    await db.write(work)
    log.info("repository_renamed", repository=name, renamed=renamed, renamed_by=str(renamed_by))
