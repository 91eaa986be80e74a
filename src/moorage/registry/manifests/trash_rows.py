"""The table `trash`, and the SQL of manifests that are in it.

A manifest in the trash keeps its row and its edges, and no read of `rows.py` finds it; no tag points to it.
"""

from collections.abc import Sequence

from moorage.database import Transaction
from moorage.oci.digest import SHA512, Digest, algorithm_of

_ASKED_AT_ONCE = 500


NOTHING_HAS_IT = """
    NOT EXISTS (SELECT 1 FROM trash WHERE manifest = m.id)
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
"""Of a manifest `m` that is served: no index has it, and no subject of it is served."""

# Of no use but by the manifest it hangs on: untagged besides.
_LOOSE = f"NOT EXISTS (SELECT 1 FROM tag WHERE manifest = m.id) AND {NOTHING_HAS_IT}"


def put_in_trash(tx: Transaction, row_ids: Sequence[int], deletion_id: int) -> None:
    """Serve at most 500 manifests no more. Their tags go before them."""
    tx.run(
        f"INSERT INTO trash (manifest, deletion) VALUES {', '.join(['(?, ?)'] * len(row_ids))}",
        [value for row_id in row_ids for value in (row_id, deletion_id)],
    )


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
            WHERE m.repository = ? AND m.digest IN ({", ".join("?" * len(some))})
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


def list_loose_dependants(tx: Transaction, row_ids: Sequence[int]) -> list[int]:
    """Children and referrers of at most 500 manifests that are in the trash, which nothing else keeps."""
    marks = ", ".join("?" * len(row_ids))
    rows = tx.all(
        f"""
        SELECT m.id FROM manifest_reference e
        JOIN manifest m ON m.repository = e.repository AND m.digest = e.target
        WHERE e.manifest IN ({marks}) AND {_LOOSE}
        UNION
        SELECT m.id FROM manifest d
        JOIN manifest m ON m.repository = d.repository AND m.subject IN (d.digest, d.sha512)
        WHERE d.id IN ({marks}) AND {_LOOSE}
        """,
        (*row_ids, *row_ids),
    )
    return [int(row[0]) for row in rows]
