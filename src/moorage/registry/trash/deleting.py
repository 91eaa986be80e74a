"""Deleting a manifest: it and what only it needs go to the trash, at once and together.

Source: distribution-spec main (967efdc), "Deleting Manifests"; what else goes along is ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from moorage.clock import now_ms
from moorage.database import Database, Transaction
from moorage.errors import ContentNeeded, ManifestUnknown
from moorage.oci.digest import Digest
from moorage.oci.names import RepositoryName, Tag
from moorage.records.audit.rows import Actor, record
from moorage.registry.blobs.rows import find_user
from moorage.registry.manifests import rows as manifest_rows
from moorage.registry.manifests import trash_rows as trashed
from moorage.registry.repositories.rows import find_repository
from moorage.registry.tags import rows as tag_rows
from moorage.registry.trash import rows
from moorage.registry.trash.rows import Reason

log = structlog.get_logger()

_AT_ONCE = 100

_NAMED = 20
"""So many tags stand in a line of the log or the audit; there may be tens of thousands."""

_SIGNATURE_ENDINGS = ("", ".sig", ".att", ".sbom")
"""After `sha256-<hex>`, a client's list of referrers or what cosign wrote: their tags say whose they are."""


@dataclass(frozen=True, slots=True)
class Deleted:
    """What a deletion took. `frees_bytes`: what leaves the disk some time after `purge_at`, in ms."""

    deletion: int
    digests: list[Digest]
    tags: list[Tag]
    frees_bytes: int
    purge_at: int


async def delete_manifest(
    db: Database,
    repository: RepositoryName,
    digest: Digest,
    deleted_by: Actor,
    grace_ms: int,
    *,
    may_break: bool = False,
) -> Deleted:
    """Put a manifest and every tag that points to it into the trash, with what only it needs.

    `may_break`: also one that an index needs, which then cannot be pulled whole.
    Raises ManifestUnknown (404), ContentNeeded (409), TagImmutable (409).
    """

    def work(tx: Transaction) -> Deleted:
        repository_id = find_repository(tx, repository)
        held = (
            None
            if repository_id is None
            else manifest_rows.find_held(tx, repository_id, [digest]).get(digest)
        )
        if repository_id is None or held is None:
            raise ManifestUnknown(name=repository, reference=digest)
        parent = find_user(tx, repository_id, held.digest)
        if parent is not None and not may_break:
            raise ContentNeeded(digest=digest, needed_by=parent)
        deleted = put_in_trash(tx, repository_id, held.row_id, "asked", deleted_by, now_ms() + grace_ms)
        record(
            tx,
            deleted_by,
            "delete",
            repository,
            detail=" ".join(["manifest", digest, *name_some(deleted.tags)]),
        )
        return deleted

    deleted = await db.write(work)
    log.info(
        "manifest_deleted",
        repository=repository,
        digest=digest,
        tags=name_some(deleted.tags),
        along=len(deleted.digests) - 1,
        deletion=deleted.deletion,
        deleted_by=str(deleted_by),
    )
    return deleted


def name_some(tags: Sequence[Tag]) -> list[str]:
    """The first tags, and how many there are where these are not all."""
    more = [f"and {len(tags) - _NAMED} more, {len(tags)} in all"] if len(tags) > _NAMED else []
    return [*tags[:_NAMED], *more]


def put_in_trash(
    tx: Transaction, repository_id: int, row_id: int, reason: Reason, deleted_by: Actor, purge_at: int
) -> Deleted:
    """Put a served manifest, its tags, and the children and referrers that only it keeps into the trash.

    Signatures that are known by their tags alone, as cosign writes them, go along too; but not by a rule.
    """
    (first,) = manifest_rows.list_digests(tx, [row_id])
    deletion_id = rows.insert(tx, repository_id, first, reason, str(deleted_by), purge_at)
    tags: list[Tag] = []
    # by many at a time: an image may have tens of thousands of signatures, and nobody writes meanwhile
    seen = {row_id}
    wave = [row_id]
    while wave:
        ahead: list[int] = []
        for start in range(0, len(wave), _AT_ONCE):
            some = wave[start : start + _AT_ONCE]
            for each in [row_id] if row_id in some else tag_rows.list_tagged(tx, some):
                tags += _untag(tx, repository_id, each, deletion_id, deleted_by)
            trashed.put_in_trash(tx, some, deletion_id)
            ahead += trashed.list_loose_dependants(tx, some)
            # a rule of retention has decided about each tag by itself
            if reason in {"asked", "evicted"}:
                ahead += _signatures(tx, repository_id, some)
        wave = [each for each in dict.fromkeys(ahead) if each not in seen]
        seen.update(wave)
    taken = [digest for _, digest in trashed.list_in_deletion(tx, deletion_id)]
    frees_bytes = rows.measure(tx, deletion_id)
    others = [digest for digest in taken if digest != first]
    return Deleted(deletion_id, [first, *others], tags, frees_bytes, purge_at)


def _untag(
    tx: Transaction, repository_id: int, row_id: int, deletion_id: int, deleted_by: Actor
) -> list[Tag]:
    (digest,) = manifest_rows.list_digests(tx, [row_id])
    tags = tag_rows.delete_of(tx, repository_id, row_id, digest, str(deleted_by))
    rows.insert_tags(tx, deletion_id, digest, tags)
    return [tag for tag, _ in tags]


def _signatures(tx: Transaction, repository_id: int, row_ids: Sequence[int]) -> list[int]:
    """The manifests whose only tags say that they belong to one of these, and that no index needs."""
    names = {
        Tag(digest.replace(":", "-") + ending): digest
        for digest in manifest_rows.list_digests(tx, row_ids)
        for ending in _SIGNATURE_ENDINGS
    }
    found: list[int] = []
    for name, held, digest in tag_rows.list_named(tx, repository_id, list(names)):
        if find_user(tx, repository_id, digest) is not None:
            continue
        if {names.get(tag) for tag, _ in tag_rows.list_of(tx, held)} == {names[name]}:
            found.append(held)
    return found
