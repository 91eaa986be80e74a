"""The tables `manifest` and `manifest_reference`; see also `trash_rows.py`.

A manifest in the trash keeps its row and its edges and is found by no read here;
no tag points to it.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from moorage.clock import now_ms
from moorage.database import Database, Transaction
from moorage.oci.digest import SHA256, SHA512, Algorithm, Digest, algorithm_of
from moorage.oci.manifest import Kind, Manifest
from moorage.oci.names import RepositoryName
from moorage.registry.pulls import rows as pull_rows

_REFERRER_BYTES = 512
"""Of a descriptor in the list, besides its annotations and artifact type."""

_EDGES_AT_ONCE = _ASKED_AT_ONCE = 500


class StoredManifest(msgspec.Struct, frozen=True, gc=False):
    """A manifest as it is served. `digest` is in the algorithm that was asked for or pushed by."""

    digest: Digest
    sha256: Digest
    media_type: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Held:
    """A manifest that something wants to point at: its row, sha256 digest, size in bytes and depth."""

    row_id: int
    digest: Digest
    size: int
    depth: int


@dataclass(frozen=True, slots=True)
class Referrer:
    """A manifest with a subject, as the referrers list shows it. `row_id` orders them."""

    row_id: int
    digest: Digest
    media_type: str
    size: int
    artifact_type: str | None
    annotations: str
    """The JSON object, as text."""


_BY_TAG = """
    SELECT CASE t.algorithm WHEN 'sha512' THEN m.sha512 ELSE m.digest END, m.digest, m.media_type, m.payload
    FROM repository r
    JOIN tag t ON t.repository = r.id AND t.name = ?
    JOIN manifest m ON m.id = t.manifest
    WHERE r.name = ?
"""
_BY_SHA256 = """
    SELECT m.digest, m.digest, m.media_type, m.payload FROM repository r
    JOIN manifest m ON m.repository = r.id AND m.digest = ?
    WHERE r.name = ? AND NOT EXISTS (SELECT 1 FROM trash WHERE manifest = m.id)
"""
_BY_SHA512 = """
    SELECT m.sha512, m.digest, m.media_type, m.payload FROM repository r
    JOIN manifest m ON m.repository = r.id AND m.sha512 = ?
    WHERE r.name = ? AND NOT EXISTS (SELECT 1 FROM trash WHERE manifest = m.id)
"""


async def find_by_tag(db: Database, repository: RepositoryName, tag: str) -> StoredManifest | None:
    """The manifest a tag points to, under the digest the tag was pushed by. One read."""
    row = await db.one(_BY_TAG, (tag, repository))
    return None if row is None else StoredManifest(*row)


async def find_by_digest(db: Database, repository: RepositoryName, digest: Digest) -> StoredManifest | None:
    """A manifest by either of its digests. One read."""
    row = await db.one(_BY_SHA512 if algorithm_of(digest) == SHA512 else _BY_SHA256, (digest, repository))
    return None if row is None else StoredManifest(*row)


async def read_payload(
    db: Database, repository: RepositoryName, digest: Digest, offset: int, length: int
) -> bytes | None:
    """A part of a manifest's bytes, by its sha256 digest; None when it is gone."""
    row = await db.one(
        "SELECT substr(m.payload, ?, ?) FROM repository r"
        " JOIN manifest m ON m.repository = r.id AND m.digest = ? WHERE r.name = ?",
        (offset + 1, length, digest, repository),
    )
    return None if row is None else row[0]


def find_held(tx: Transaction, repository_id: int, digests: Sequence[Digest]) -> dict[Digest, Held]:
    """Which of these digests, of either algorithm, are manifests of this repository."""
    held: dict[Digest, Held] = {}
    for column, algorithm in (("digest", SHA256), ("sha512", SHA512)):
        asked = [digest for digest in dict.fromkeys(digests) if algorithm_of(digest) == algorithm]
        for start in range(0, len(asked), _ASKED_AT_ONCE):
            some = asked[start : start + _ASKED_AT_ONCE]
            found = tx.all(
                f"SELECT {column}, id, digest, size, depth FROM manifest"
                f" WHERE repository = ? AND {column} IN ({_marks(some)})"
                " AND NOT EXISTS (SELECT 1 FROM trash WHERE manifest = manifest.id)",
                (repository_id, *some),
            )
            held |= {Digest(row[0]): Held(*row[1:]) for row in found}
    return held


async def read_known(
    db: Database, repository_id: int, after: str, limit: int
) -> list[tuple[Digest, Digest, bool]]:
    """The sha256 and sha512 digests of a repository's manifests, after one; whether each is in the trash."""
    rows = await db.all(
        """
        SELECT m.digest, m.sha512, t.manifest IS NOT NULL FROM manifest m
        LEFT JOIN trash t ON t.manifest = m.id
        WHERE m.repository = ? AND m.digest > ? ORDER BY m.digest LIMIT ?
        """,
        (repository_id, after, limit),
    )
    return [(Digest(row[0]), Digest(row[1]), bool(row[2])) for row in rows]


def put(
    tx: Transaction,
    repository_id: int,
    manifest: Manifest,
    payload: bytes,
    digests: tuple[Digest, Digest],
    algorithm: Algorithm,
    depth: int,
    pushed_by: str,
    pushed_at: int | None = None,
) -> int:
    """Store a manifest under its (sha256, sha512) digests, or say that it was pushed again; its row.

    Its bytes are written again: they may be damaged.
    `pushed_at`: when it came, in milliseconds, where that is not now.
    """
    subject = manifest.subject
    row = tx.one(
        """
        INSERT INTO manifest (repository, digest, sha512, algorithm, media_type, artifact_type, subject,
            depth, size, annotations, payload, pushed_at, pushed_by)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (repository, digest) DO UPDATE SET algorithm = excluded.algorithm,
            media_type = excluded.media_type, artifact_type = excluded.artifact_type,
            payload = excluded.payload, size = excluded.size, sha512 = excluded.sha512,
            pushed_at = excluded.pushed_at, pushed_by = excluded.pushed_by
        RETURNING id
        """,
        (
            repository_id,
            *digests,
            algorithm,
            manifest.media_type,
            manifest.artifact_type,
            subject.digest if subject else None,
            depth,
            len(payload),
            # only a referrer's are ever shown
            json.dumps(manifest.annotations, ensure_ascii=False) if subject else "{}",
            payload,
            pushed_at or now_ms(),
            pushed_by,
        ),
    )
    assert row is not None  # noqa: S101 - inserted or updated, it has an id
    return int(row[0])


def note_untagged(tx: Transaction, row_id: int) -> None:
    """Note since when no tag leads to a manifest, if none does. That it loses its last a trigger notes."""
    tx.run(
        """
        INSERT INTO untagged (manifest, since) SELECT ?, ?
        WHERE NOT EXISTS (SELECT 1 FROM tag WHERE manifest = ?)
        ON CONFLICT (manifest) DO UPDATE SET since = excluded.since
        """,
        (row_id, now_ms(), row_id),
    )


def put_references(
    tx: Transaction, repository_id: int, row_id: int, edges: Iterable[tuple[Kind, Digest]]
) -> None:
    """Record what a manifest points at, by sha256 digest where the target is here."""
    rows = [(row_id, repository_id, target, kind.value) for kind, target in dict.fromkeys(edges)]
    for start in range(0, len(rows), _EDGES_AT_ONCE):
        some = rows[start : start + _EDGES_AT_ONCE]
        tx.run(
            "INSERT INTO manifest_reference (manifest, repository, target, kind) VALUES "
            + ", ".join(["(?, ?, ?, ?)"] * len(some))
            + " ON CONFLICT (manifest, target, kind) DO NOTHING",
            [value for row in some for value in row],
        )


def delete(tx: Transaction, row_id: int, leased_until: int | None) -> None:
    """Remove a manifest and its edges for good. Its tags go before it.

    What it pointed at is leased until then: a client may have been told just now that it is here. With
    None nothing is: the repository goes too.
    """
    if leased_until is not None:
        tx.run(
            """
            INSERT INTO lease (repository, digest, until)
            SELECT repository, target, ? FROM manifest_reference WHERE manifest = ?
            ON CONFLICT (repository, digest) DO UPDATE SET until = max(until, excluded.until)
            """,
            (leased_until, row_id),
        )
    tx.run("DELETE FROM trash WHERE manifest = ?", (row_id,))
    pull_rows.forget_manifest(tx, row_id)
    tx.run("DELETE FROM manifest_reference WHERE manifest = ?", (row_id,))
    tx.run("DELETE FROM manifest WHERE id = ?", (row_id,))


def list_some_in(tx: Transaction, repository_id: int, limit: int) -> list[int]:
    """At most `limit` manifests of a repository, in the trash or not."""
    rows = tx.all("SELECT id FROM manifest WHERE repository = ? LIMIT ?", (repository_id, limit))
    return [int(row[0]) for row in rows]


def get_content(tx: Transaction, row_id: int) -> tuple[int, str, bytes]:
    """The repository, media type and bytes of a manifest that there is, be it in the trash."""
    row = tx.one("SELECT repository, media_type, payload FROM manifest WHERE id = ?", (row_id,))
    assert row is not None  # noqa: S101 - its id is the caller's
    return row[0], row[1], row[2]


def list_digests(tx: Transaction, row_ids: Sequence[int]) -> list[Digest]:
    """The sha256 digests of manifests, in that order."""
    found: dict[int, Digest] = {}
    for start in range(0, len(row_ids), _ASKED_AT_ONCE):
        some = row_ids[start : start + _ASKED_AT_ONCE]
        rows = tx.all(f"SELECT id, digest FROM manifest WHERE id IN ({_marks(some)})", some)
        found |= {row[0]: Digest(row[1]) for row in rows}
    return [found[row_id] for row_id in row_ids if row_id in found]


async def list_referrers(
    db: Database,
    repository: RepositoryName,
    subject: Digest,
    artifact_types: list[str],
    after: int,
    limit: int,
    max_bytes: int,
) -> tuple[list[Referrer], bool]:
    """Manifests whose subject is `subject`, by either digest, after a row; and whether there are more.

    At most `limit` of them, and no more than `max_bytes` of what is shown of them, but at least one.
    """
    names = await _both_digests(db, repository, subject)
    type_filter = f"AND m.artifact_type IN ({_marks(artifact_types)})" if artifact_types else ""
    sizes = await db.all(
        f"""
        SELECT m.id, length(CAST(m.annotations AS BLOB)) + length(CAST(coalesce(m.artifact_type, '') AS BLOB))
        FROM repository r JOIN manifest m ON m.repository = r.id AND m.subject IN ({_marks(names)})
        WHERE r.name = ? {type_filter} AND m.id > ?
        AND NOT EXISTS (SELECT 1 FROM trash WHERE manifest = m.id) ORDER BY m.id LIMIT ?
        """,
        (*names, repository, *artifact_types, after, limit + 1),
    )
    total_bytes, last = 0, after
    for row_id, size in sizes[:limit]:
        total_bytes += size + _REFERRER_BYTES
        if total_bytes > max_bytes and last != after:
            break
        last = row_id
    rows = await db.all(
        f"""
        SELECT m.id, CASE m.algorithm WHEN 'sha512' THEN m.sha512 ELSE m.digest END,
            m.media_type, m.size, m.artifact_type, m.annotations
        FROM repository r JOIN manifest m ON m.repository = r.id AND m.subject IN ({_marks(names)})
        WHERE r.name = ? {type_filter} AND m.id > ? AND m.id <= ?
        AND NOT EXISTS (SELECT 1 FROM trash WHERE manifest = m.id) ORDER BY m.id
        """,
        (*names, repository, *artifact_types, after, last),
    )
    return [Referrer(*row) for row in rows], len(rows) < len(sizes)


async def _both_digests(db: Database, repository: RepositoryName, digest: Digest) -> list[str]:
    column = "sha512" if algorithm_of(digest) == SHA512 else "digest"
    row = await db.one(
        "SELECT m.digest, m.sha512 FROM repository r"
        f" JOIN manifest m ON m.repository = r.id AND m.{column} = ? WHERE r.name = ?",
        (digest, repository),
    )
    return [digest] if row is None else [row[0], row[1]]


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
