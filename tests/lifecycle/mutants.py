"""Collectors of garbage that are wrong on purpose: what is to find faults must find these.

Each replaces something of the real one by means of what it is given, as `monkeypatch.setattr`.
"""

from collections.abc import Callable, Iterable
from typing import Any

from moorage.database import Database, Transaction
from moorage.lifecycle.garbage import rows as garbage_rows
from moorage.lifecycle.garbage.collecting import Collected, Garbage
from moorage.oci.digest import Digest
from moorage.registry.blobs import rows as blob_rows
from moorage.registry.blobs.rows import Blob
from moorage.registry.blobs.serving import BlobServer
from moorage.registry.blobs.store import BlobStore
from moorage.registry.blobs.total_rows import add_to_total
from moorage.registry.repositories import rows as repository_rows
from moorage.registry.trash import rows as trash_rows
from moorage.registry.uploads.uploading import Uploads
from moorage.storage.filesystem import FilesystemStore
from moorage.threads import in_thread

Replace = Callable[[Any, str, Any], None]
Plant = Callable[[Replace], None]

_TAGGED = "EXISTS (SELECT 1 FROM tag WHERE manifest = e.manifest)"
_SERVED = "NOT EXISTS (SELECT 1 FROM trash WHERE manifest = e.manifest)"


def look_without_lease(replace: Replace) -> None:
    """A HEAD answers and promises nothing."""

    async def renew(*_: object) -> bool:
        return True

    replace(BlobServer, "_renew_lease", renew)


def ignore_children(replace: Replace) -> None:
    """D2: only what a tag points to itself keeps its blobs."""
    _keep_only_by(replace, _TAGGED)


def forget_trash(replace: Replace) -> None:
    """What is in the trash keeps nothing."""
    _keep_only_by(replace, _SERVED)


def _keep_only_by(replace: Replace, condition: str) -> None:
    """A reference counts only under a condition on its manifest."""

    def end_leases(tx: Transaction, before_ms: int, limit: int) -> tuple[int, list[Digest]]:
        ended = tx.all(
            "DELETE FROM lease WHERE (repository, digest) IN"
            " (SELECT repository, digest FROM lease WHERE until <= ? LIMIT ?) RETURNING repository, digest",
            (before_ms, limit),
        )
        loose = [
            (repository_id, Digest(digest))
            for repository_id, digest in ended
            if tx.one(
                f"SELECT 1 FROM manifest_reference e WHERE target = ? AND repository = ? AND {condition}",
                (digest, repository_id),
            )
            is None
        ]
        for repository_id, digest in loose:
            blob_rows.unlink(tx, repository_id, digest)
        return len(ended), [digest for _, digest in loose]

    def mark_garbage(tx: Transaction, digests: Iterable[Digest]) -> int:
        marked = 0
        for digest in dict.fromkeys(digests):
            row = tx.one(
                f"""
                SELECT size FROM blob WHERE digest = ? AND state = 'live'
                AND NOT EXISTS (SELECT 1 FROM repository_blob WHERE digest = blob.digest)
                AND NOT EXISTS (
                    SELECT 1 FROM manifest_reference e WHERE target = blob.digest AND {condition}
                )
                """,
                (digest,),
            )
            if row is not None:
                tx.run("UPDATE blob SET state = 'deleting' WHERE digest = ?", (digest,))
                add_to_total(tx, -1, -row[0])
                marked += 1
        return marked

    replace(garbage_rows, "end_leases", end_leases)
    replace(garbage_rows, "mark_garbage", mark_garbage)


def reuse_generations(replace: Replace) -> None:
    """D12: a file may get the name of one that was removed, or is just being."""
    find = blob_rows.find_generation

    async def find_generation(db: Database, digest: Digest) -> tuple[int, bool]:
        row = await db.one("SELECT 1 FROM blob WHERE digest = ?", (digest,))
        return (0, False) if row is None else await find(db, digest)

    replace(blob_rows, "find_generation", find_generation)
    replace(blob_rows, "_retired_generation", lambda _: 0)


def forget_before_unlink(replace: Replace) -> None:
    """The row goes first, and what then comes by this digest gets the generation of the file that goes."""
    reuse_generations(replace)

    async def remove(self: Garbage, done: Collected) -> bool:
        garbage = await garbage_rows.list_garbage(self._db, 100)
        if garbage:
            await self._db.write(lambda tx: garbage_rows.forget_garbage(tx, garbage))
            files = [(blob.digest, blob.generation) for blob in garbage]
            await in_thread(self._threads, self._store.remove_blobs, files)
            done.removed_blobs += len(garbage)
        return bool(garbage)

    replace(Garbage, "_remove", remove)


def unlink_any_generation(replace: Replace) -> None:
    """What is unlinked is whatever the blob's file is by now."""
    remove = FilesystemStore.remove_blobs

    def remove_all(self: FilesystemStore, blobs: Iterable[tuple[Digest, int]]) -> None:
        remove(self, [(digest, generation + more) for digest, generation in blobs for more in range(3)])

    replace(FilesystemStore, "remove_blobs", remove_all)


def purge_while_restorable(replace: Replace) -> None:
    """What is being purged piece by piece can be restored all the same."""
    replace(repository_rows, "make_due", lambda *_: None)
    replace(trash_rows, "make_due", lambda *_: None)


class _Careless:
    """A store that removes nothing."""

    def __init__(self, store: BlobStore) -> None:
        self._real = store

    def __getattr__(self, name: str) -> Any:
        return (lambda _: None) if name == "remove_blobs" else getattr(self._real, name)


def leave_replaced_files(replace: Replace) -> None:
    """Garbage that is pushed anew leaves its old file behind."""
    commit = Uploads._commit

    async def commit_only(self: Uploads, *arguments: Any) -> Blob:
        store, self._store = self._store, _Careless(self._store)
        try:
            return await commit(self, *arguments)
        finally:
            self._store = store

    replace(Uploads, "_commit", commit_only)


def ignore_the_new(replace: Replace) -> None:
    """D13: an age limit on the side that keeps: what was pushed within a day keeps nothing."""
    day = "(unixepoch() - 24 * 3600) * 1000"
    _keep_only_by(replace, f"(SELECT pushed_at FROM manifest WHERE id = e.manifest) < {day}")
