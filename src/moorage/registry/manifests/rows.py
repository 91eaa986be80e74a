"""The tables `manifest`, `manifest_reference` and `trash`, and all their SQL.

A manifest in the trash keeps its row and its edges and is found by none of the reads but `find_in_trash`;
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
    take_from_trash(tx, row_id)
    pull_rows.forget_manifest(tx, row_id)
    tx.run("DELETE FROM manifest_reference WHERE manifest = ?", (row_id,))
    tx.run("DELETE FROM manifest WHERE id = ?", (row_id,))


def list_some_in(tx: Transaction, repository_id: int, limit: int) -> list[int]:
    """At most `limit` manifests of a repository, in the trash or not."""
    rows = tx.all("SELECT id FROM manifest WHERE repository = ? LIMIT ?", (repository_id, limit))
    return [int(row[0]) for row in rows]


def put_in_trash(tx: Transaction, row_id: int, deletion_id: int) -> None:
    """Serve a manifest no more. Its tags go before it."""
    tx.run("INSERT INTO trash (manifest, deletion) VALUES (?, ?)", (row_id, deletion_id))


def take_from_trash(tx: Transaction, row_id: int) -> int | None:
    """Serve a manifest again; the deletion that had it, if one had."""
    row = tx.one("DELETE FROM trash WHERE manifest = ? RETURNING deletion", (row_id,))
    return None if row is None else int(row[0])


def list_trashed_referrers(tx: Transaction, row_id: int, deletion_id: int) -> list[int]:
    """The manifests whose subject this is and that went to the trash with it."""
    rows = tx.all(
        """
        SELECT m.id FROM manifest s
        JOIN manifest m ON m.repository = s.repository AND m.subject IN (s.digest, s.sha512)
        JOIN trash t ON t.manifest = m.id AND t.deletion = ? WHERE s.id = ?
        """,
        (deletion_id, row_id),
    )
    return [int(row[0]) for row in rows]


def list_swept(tx: Transaction, repository_id: int, digests: Sequence[str]) -> list[int]:
    """Those of these manifests that went to the trash by themselves, because nothing led to them.

    A client may have been told before that it need not push them.
    """
    found: list[int] = []
    for start in range(0, len(digests), _ASKED_AT_ONCE):
        some = digests[start : start + _ASKED_AT_ONCE]
        rows = tx.all(
            f"""
            SELECT m.id FROM manifest m JOIN trash t ON t.manifest = m.id
            JOIN deletion d ON d.id = t.deletion AND d.reason = 'untagged'
            WHERE m.repository = ? AND m.digest IN ({_marks(some)})
            """,
            (repository_id, *some),
        )
        found += [int(row[0]) for row in rows]
    return found


def list_in_deletion(tx: Transaction, deletion_id: int, limit: int = -1) -> list[tuple[int, Digest]]:
    """The row and digest of what a deletion has in the trash still, at most `limit` of them."""
    rows = tx.all(
        "SELECT m.id, m.digest FROM trash t JOIN manifest m ON m.id = t.manifest"
        " WHERE t.deletion = ? ORDER BY m.id LIMIT ?",
        (deletion_id, limit),
    )
    return [(row[0], Digest(row[1])) for row in rows]


def keep_with_parents(tx: Transaction, deletion_id: int) -> None:
    """Let what a deletion has in the trash go no sooner than the indexes in the trash that need it."""
    parents = """
        FROM manifest m
        JOIN manifest_reference e ON e.target = m.digest AND e.repository = m.repository
        JOIN trash p ON p.manifest = e.manifest AND p.deletion <> trash.deletion
        WHERE m.id = trash.manifest
    """
    # level by level: a child goes no sooner than an index that goes no sooner than another
    while tx.run(
        f"UPDATE trash SET deletion = (SELECT max(p.deletion) {parents})"
        f" WHERE deletion = ? AND EXISTS (SELECT 1 {parents})",
        (deletion_id,),
    ):
        pass


def list_trashed_children(tx: Transaction, row_id: int) -> list[int]:
    """The manifests in the trash that a manifest refers to."""
    rows = tx.all(
        """
        SELECT m.id FROM manifest_reference e
        JOIN manifest m ON m.repository = e.repository AND m.digest = e.target
        JOIN trash t ON t.manifest = m.id WHERE e.manifest = ?
        """,
        (row_id,),
    )
    return [int(row[0]) for row in rows]


def list_digests(tx: Transaction, row_ids: Sequence[int]) -> list[Digest]:
    """The sha256 digests of manifests, in that order."""
    found = [tx.one("SELECT digest FROM manifest WHERE id = ?", (row_id,)) for row_id in row_ids]
    return [Digest(row[0]) for row in found if row is not None]


def measure_if_loose(tx: Transaction, row_id: int) -> int:
    """The bytes on disk that only this manifest, with all it leads to, needs; 0 if something leads to it."""
    row = tx.one(
        f"""
        WITH RECURSIVE below (id) AS (
            SELECT m.id FROM manifest m WHERE m.id = ? AND {_LOOSE}
            UNION SELECT m.id FROM below
            JOIN manifest_reference e ON e.manifest = below.id
            JOIN manifest m ON m.repository = e.repository AND m.digest = e.target
        )
        SELECT coalesce(sum(b.size), 0) FROM blob b WHERE b.state = 'live'
        AND b.digest IN (SELECT target FROM manifest_reference WHERE manifest IN (SELECT id FROM below))
        AND NOT EXISTS (
            SELECT 1 FROM manifest_reference
            WHERE target = b.digest AND manifest NOT IN (SELECT id FROM below)
        )
        """,
        (row_id,),
    )
    return int(row[0]) if row else 0


def find_in_trash(tx: Transaction, repository_id: int, digest: Digest) -> tuple[int, int] | None:
    """The row of a manifest that is in the trash, and its deletion; by either digest."""
    column = "sha512" if algorithm_of(digest) == SHA512 else "digest"
    row = tx.one(
        "SELECT m.id, t.deletion FROM manifest m JOIN trash t ON t.manifest = m.id"
        f" WHERE m.repository = ? AND m.{column} = ?",
        (repository_id, digest),
    )
    return None if row is None else (row[0], row[1])


# Of no use but by the manifest it hangs on: untagged, in no index, without another subject that is served.
_LOOSE = """
    NOT EXISTS (SELECT 1 FROM trash WHERE manifest = m.id)
    AND NOT EXISTS (SELECT 1 FROM tag WHERE manifest = m.id)
    AND NOT EXISTS (
        SELECT 1 FROM manifest_reference p WHERE p.target = m.digest AND p.repository = m.repository
        AND NOT EXISTS (SELECT 1 FROM trash WHERE manifest = p.manifest)
    )
    AND NOT EXISTS (
        SELECT 1 FROM manifest s WHERE s.repository = m.repository AND s.digest = m.subject
        AND NOT EXISTS (SELECT 1 FROM trash WHERE manifest = s.id)
    )
    AND NOT EXISTS (
        SELECT 1 FROM manifest s WHERE s.repository = m.repository AND s.sha512 = m.subject
        AND NOT EXISTS (SELECT 1 FROM trash WHERE manifest = s.id)
    )
"""


def list_loose_dependants(tx: Transaction, row_id: int) -> list[int]:
    """Children and referrers of a manifest that is in the trash, which nothing else keeps."""
    rows = tx.all(
        f"""
        SELECT m.id FROM manifest_reference e
        JOIN manifest m ON m.repository = e.repository AND m.digest = e.target
        WHERE e.manifest = ? AND {_LOOSE}
        UNION
        SELECT m.id FROM manifest d
        JOIN manifest m ON m.repository = d.repository AND m.subject IN (d.digest, d.sha512)
        WHERE d.id = ? AND {_LOOSE}
        """,
        (row_id, row_id),
    )
    return [int(row[0]) for row in rows]


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


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))
