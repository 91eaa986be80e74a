"""The trash: what was deleted, bringing it back, and deleting a manifest by its digest."""

from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta, Struct

from moorage.api.deletions import DeletedReply, Frees, describe_deleted, frees_at
from moorage.api.manage.documents import Limit, Page, Repository, collect, time_of
from moorage.api.manage.repositories import (
    DeletedRepositoryReply,
    check_name,
    check_seen,
    show_deleted,
)
from moorage.api.manage.routes import Ask, NoQuery
from moorage.clock import now_ms
from moorage.errors import DeletionUnknown, Unsupported, UpstreamStateInvalid
from moorage.identity.access.deciding import Action
from moorage.mirrors.rows import find_upstream_of_deleted
from moorage.oci.digest import parse_digest
from moorage.registry.repositories.rows import DeletedRepository, list_deleted, read_deleted
from moorage.registry.trash import rows
from moorage.registry.trash.deleting import delete_manifest
from moorage.registry.trash.repositories import purge_repository, restore_repository
from moorage.registry.trash.restoring import purge_deletion, restore_deletion
from moorage.registry.trash.rows import Deletion

_LAST = 2**62
AfterDeletion = Annotated[int, Meta(ge=0, le=_LAST, description="what `next` of the page before says")]


class DeletionReply(Struct, frozen=True):
    """A deletion in the trash. `manifests`: how many of its manifests are in there still.

    `reason`: `asked`, by a rule of `retention`, `untagged`: nothing led to it, or `evicted` from a mirror.
    """

    deletion: int
    repository: str
    digest: str
    tags: list[str]
    manifests: int
    reason: str
    deleted_at: datetime
    deleted_by: str
    restorable_until: datetime
    frees: Frees


class TrashPage(Struct, frozen=True, forbid_unknown_fields=True):
    """Which deletions: the newest first; of one repository or of all."""

    n: Limit = 100
    after: AfterDeletion = _LAST
    repository: Repository | None = None


class DeletedPage(Struct, frozen=True, forbid_unknown_fields=True):
    """Which deleted repositories: the newest first."""

    n: Limit = 100
    after: AfterDeletion = _LAST


class RestoredReply(Struct, frozen=True):
    """What is served again. `taken`: tags that point elsewhere by now and were left so."""

    repository: str
    digests: list[str]
    tags: list[str]
    taken: list[str]


class RepositoryRestoration(Struct, frozen=True, forbid_unknown_fields=True):
    """`name`: another than it had."""

    name: Repository | None = None


class RestoredRepositoryReply(Struct, frozen=True):
    """A repository that is served again."""

    name: str


class ByDigest(Struct, frozen=True, forbid_unknown_fields=True):
    """Which manifest."""

    digest: Annotated[str, Meta(max_length=200)]


async def delete(ask: Ask[None, ByDigest]) -> DeletedReply:
    """Put a manifest, its tags and what only it needs into the trash."""
    name, settings = await check_seen(ask), ask.services.settings.delete
    _check_enabled(ask)
    await ask.services.gate.check_action(ask.caller, name, "delete")
    deleted = await delete_manifest(
        ask.services.db,
        name,
        parse_digest(ask.query.digest),
        ask.actor,
        settings.grace_ms,
        may_break=settings.needed,
    )
    return describe_deleted(name, deleted, settings)


async def list_all(ask: Ask[None, TrashPage]) -> Page[DeletionReply]:
    """A page of the deletions in repositories that the caller may pull from."""
    db, gate, query = ask.services.db, ask.services.gate, ask.query
    wanted = None if query.repository is None else check_name(query.repository)
    found = await collect(
        lambda before, limit: rows.list_deletions(db, wanted, before, limit),
        query.after,
        query.n,
        lambda deletion: deletion.id,
        lambda deletion: gate.may(ask.caller, deletion.repository, "pull"),
        lambda deletion: deletion,
    )
    return Page([await _show(ask, each) for each in found.items], found.next)


async def get(ask: Ask[None, NoQuery]) -> DeletionReply:
    """One deletion."""
    return await _show(ask, await _find(ask))


async def restore(ask: Ask[None, NoQuery]) -> RestoredReply:
    """Serve what a deletion took, with its tags."""
    deletion = await _find(ask, "push")
    restored = await restore_deletion(ask.services.db, deletion.id, ask.actor)
    return RestoredReply(
        restored.repository, list(restored.digests), list(restored.tags), list(restored.taken)
    )


async def purge(ask: Ask[None, NoQuery]) -> DeletionReply:
    """Let a deletion's time in the trash be over; it cannot be restored then."""
    deletion = await _find(ask, "delete")
    _check_enabled(ask)
    shown = await _show(ask, deletion._replace(purge_at=0))
    await purge_deletion(ask.services.db, deletion.id, ask.actor)
    return shown


async def list_repositories(ask: Ask[None, DeletedPage]) -> Page[DeletedRepositoryReply]:
    """A page of the deleted repositories that the caller could pull from."""
    db, gate = ask.services.db, ask.services.gate
    found = await collect(
        lambda before, limit: list_deleted(db, before, limit),
        ask.query.after,
        ask.query.n,
        lambda deleted: deleted.id,
        lambda deleted: gate.may(ask.caller, deleted.name, "pull"),
        lambda deleted: deleted,
    )
    return Page([await show_deleted(db, each) for each in found.items], found.next)


async def restore_whole(ask: Ask[RepositoryRestoration, NoQuery]) -> RestoredRepositoryReply:
    """Serve a deleted repository again, under its name or another."""
    deleted = await _find_repository(ask, "push")
    name = None if ask.body.name is None else check_name(ask.body.name)
    if name is not None:
        await ask.services.gate.check_action(ask.caller, name, "push")
    if name not in {None, deleted.name}:
        upstream = await find_upstream_of_deleted(ask.services.db, deleted.id)
        if upstream is not None:
            raise UpstreamStateInvalid(reason=f"{deleted.name} mirrors {upstream}, so it keeps its name")
    return RestoredRepositoryReply(await restore_repository(ask.services.db, deleted.id, name, ask.actor))


async def purge_whole(ask: Ask[None, NoQuery]) -> DeletedRepositoryReply:
    """Let a deleted repository's time in the trash be over."""
    deleted = await _find_repository(ask, "delete")
    _check_enabled(ask)
    shown = await show_deleted(ask.services.db, deleted._replace(purge_at=0))
    await purge_repository(ask.services.db, deleted.id, ask.actor)
    return shown


def _check_enabled(ask: Ask[Any, Any]) -> None:
    """Raises Unsupported (405)."""
    if not ask.services.settings.delete.enabled:
        raise Unsupported(reason="deleting is switched off (delete.enabled)")


async def _find(ask: Ask[Any, Any], action: Action | None = None) -> Deletion:
    """The deletion in the path, of a repository the caller may pull from and do `action` in.

    Raises DeletionUnknown (404), Denied (403).
    """
    deletion = await rows.read(ask.services.db, ask.id)
    if deletion is None or not await ask.services.gate.may(ask.caller, deletion.repository, "pull"):
        raise DeletionUnknown(deletion=ask.id)
    if action is not None:
        await ask.services.gate.check_action(ask.caller, deletion.repository, action)
    return deletion


async def _find_repository(ask: Ask[Any, Any], action: Action) -> DeletedRepository:
    """The same of a deleted repository, by the name it had."""
    deleted = await read_deleted(ask.services.db, ask.id)
    if deleted is None or not await ask.services.gate.may(ask.caller, deleted.name, "pull"):
        raise DeletionUnknown(repository=ask.id)
    await ask.services.gate.check_action(ask.caller, deleted.name, action)
    return deleted


async def _show(ask: Ask[Any, Any], deletion: Deletion) -> DeletionReply:
    db = ask.services.db
    until = time_of(deletion.purge_at or now_ms())
    frees_bytes = await rows.measure_shown(db, deletion.id)
    return DeletionReply(
        deletion.id,
        deletion.repository,
        deletion.digest,
        list(await rows.read_tags(db, deletion.id)),
        deletion.manifests,
        deletion.reason,
        time_of(deletion.deleted_at),
        deletion.deleted_by,
        until,
        frees_at(frees_bytes, until, ask.services.settings.delete.delay),
    )
