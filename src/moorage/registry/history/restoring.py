"""Putting a tag back to where it was."""

from datetime import UTC, datetime
from typing import NamedTuple

import structlog

from moorage.database import Database, Transaction
from moorage.errors import NameUnknown, TagNotRestored
from moorage.oci.digest import Digest, algorithm_of
from moorage.oci.names import RepositoryName, Tag
from moorage.records.audit.rows import Actor, record
from moorage.registry.manifests import rows as manifest_rows
from moorage.registry.repositories.rows import find_repository
from moorage.registry.tags import rows as tag_rows
from moorage.registry.trash.restoring import restore
from moorage.registry.trash.rows import find_deletion_of

log = structlog.get_logger()


class RestoredTag(NamedTuple):
    """Where a tag points now, by the sha256 digest; and what other tags came out of the trash with it."""

    digest: Digest
    also: tuple[Tag, ...]


async def restore_tag(
    db: Database,
    repository: RepositoryName,
    tag: Tag,
    *,
    at: int | None,
    to: Digest | None,
    restored_by: Actor,
) -> RestoredTag:
    """Point a tag to where it pointed `at` a time (milliseconds since 1970-01-01 UTC), or `to` a digest.

    An image in the trash comes out of it, with the tags that went there with it. Raises NameUnknown (404),
    TagNotRestored, ContentGone, TagImmutable (409).
    """

    def work(tx: Transaction) -> RestoredTag:
        repository_id = find_repository(tx, repository)
        if repository_id is None:
            raise NameUnknown(name=repository)
        wanted = to if to is not None else _find_then(tx, repository_id, repository, tag, at or 0)
        deletion = find_deletion_of(tx, repository_id, wanted)
        back = [] if deletion is None else restore(tx, deletion, restored_by).tags
        held = manifest_rows.find_held(tx, repository_id, [wanted]).get(wanted)
        if held is None:
            raise TagNotRestored(
                reason=f"{wanted} is not in {repository} and not in its trash: push it again", tag=tag
            )
        algorithm = algorithm_of(wanted)
        tag_rows.move(tx, repository_id, tag, held.row_id, held.digest, algorithm, str(restored_by))
        record(tx, restored_by, "tag.restore", repository, detail=f"{tag} {held.digest}")
        return RestoredTag(held.digest, tuple(each for each in back if each != tag))

    done = await db.write(work)
    log.info("tag_restored", repository=repository, tag=tag, digest=done.digest, restored_by=str(restored_by))
    return done


def _find_then(tx: Transaction, repository_id: int, repository: RepositoryName, tag: Tag, at: int) -> Digest:
    """Where the tag pointed at a time.

    Raises TagNotRestored (409).
    """
    event = tag_rows.find_event_at(tx, repository_id, tag, at)
    if event is not None and event.to_digest is not None:
        return event.to_digest
    then = datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    said = "was not there yet" if event is None else "had been deleted"
    raise TagNotRestored(reason=f"{repository}:{tag} {said} at {then}", tag=tag)
