"""Making a repository before anything is pushed to it."""

from moorage.database import Database, Transaction
from moorage.errors import NameTaken
from moorage.oci.names import RepositoryName
from moorage.records.audit.rows import Actor, record
from moorage.registry.repositories import rows


async def create_repository(db: Database, name: RepositoryName, created_by: Actor) -> None:
    """Make a repository with nothing in it.

    Raises NameTaken (409).
    """

    def work(tx: Transaction) -> None:
        if rows.find_repository(tx, name) is not None:
            raise NameTaken(name=name, taken_by="a repository of this name")
        rows.ensure_repository(tx, name)
        record(tx, created_by, "repository.create", name)

    await db.write(work)
