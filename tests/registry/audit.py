"""What an operator's audit would find: rows and files that do not belong together."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw


def audit(data: Path) -> list[str]:
    """The faults of a data folder that is at rest, in words; none when all is well."""
    with _reading(data) as connection:
        return _faults(connection, data)


def find_incomplete(data: Path) -> list[str]:
    """I4, of what is served and of what is in the trash: manifests that lack what they need.

    What is being purged may, and an image that a client was let break.
    """
    with _reading(data) as connection:
        return _incomplete(connection)


@contextmanager
def auditing(data: Path) -> Iterator[Callable[[], list[str]]]:
    """Both of these, as often as it is asked: to open a database takes as long as to look at it all."""
    with _reading(data) as connection:
        yield lambda: [*_faults(connection, data), *_incomplete(connection)]


@contextmanager
def _reading(data: Path) -> Iterator[apsw.Connection]:
    connection = apsw.Connection(str(data / "moorage.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        yield connection
    finally:
        connection.close()


def _faults(connection: apsw.Connection, data: Path) -> list[str]:
    return [*_blobs(connection, data), *_uploads(connection, data), *_rows(connection)]


def _incomplete(connection: apsw.Connection) -> list[str]:
    return [f"I4: {name}@{digest} lacks {target}" for name, digest, target in connection.execute(_LACKS)]


_LACKS = """
    SELECT r.name, m.digest, e.target FROM manifest_reference e
    JOIN manifest m ON m.id = e.manifest JOIN repository r ON r.id = m.repository
    LEFT JOIN trash t ON t.manifest = m.id LEFT JOIN deletion d ON d.id = t.deletion
    WHERE coalesce(d.purge_at, 1) <> 0 AND coalesce(r.purge_at, 1) <> 0
    AND NOT EXISTS (
        SELECT 1 FROM blob b WHERE b.digest = e.target AND b.state = 'live' AND (
            t.manifest IS NOT NULL
            OR EXISTS (SELECT 1 FROM repository_blob WHERE repository = m.repository AND digest = b.digest)
        )
    )
    AND NOT EXISTS (
        SELECT 1 FROM manifest c WHERE c.repository = m.repository AND c.digest = e.target AND (
            t.manifest IS NOT NULL OR NOT EXISTS (SELECT 1 FROM trash WHERE manifest = c.id)
        )
    )
"""


def _blobs(connection: apsw.Connection, data: Path) -> Iterator[str]:
    """I3 and I5: each live row has its file, whose bytes are those of its digest; each file has its row."""
    files = {path.name: path for path in (data / "blobs").rglob("*") if path.is_file()}
    live = 0, 0, 0
    for digest, sha512, size, generation, state in connection.execute(
        "SELECT digest, sha512, size, generation, state FROM blob"
    ):
        path = files.pop(f"{digest[7:]}.{generation}", None)
        if state != "live":
            continue
        live = live[0] + 1, live[1] + size, live[2] + (size + 4095) // 4096 * 4096
        if path is None:
            yield f"I3: {digest} is live and has no file of generation {generation}"
            continue
        content = path.read_bytes()
        if (len(content), hashlib.sha256(content).hexdigest()) != (size, digest[7:]):
            yield f"I3: the file of {digest} has other bytes"
        if sha512 is not None and hashlib.sha512(content).hexdigest() != sha512[7:]:
            yield f"I3: the sha512 of {digest} is another"
    yield from (f"I5: {name} has no row" for name in files)
    total = connection.execute("SELECT blobs, bytes, disk_bytes FROM blob_total").fetchone()
    if total != live:
        yield f"I5: {total} counted, {live} there"


def _uploads(connection: apsw.Connection, data: Path) -> Iterator[str]:
    """I5: what counts of an upload is in its file; each file has its row."""
    sizes = {path.name: path.stat().st_size for path in (data / "uploads").iterdir()}
    for upload, received in connection.execute("SELECT id, received FROM upload"):
        if sizes.pop(upload, 0) < received:
            yield f"I5: upload {upload} has fewer bytes than count"
    yield from (f"I5: the file of upload {upload} has no row" for upload in sizes)


_ORPHANS = {
    "I4: a tag without its manifest": """
        SELECT t.name FROM tag t LEFT JOIN manifest m ON m.repository = t.repository AND m.id = t.manifest
        WHERE m.id IS NULL
    """,
    "I5: an edge without its manifest": """
        SELECT e.target FROM manifest_reference e
        LEFT JOIN manifest m ON m.repository = e.repository AND m.id = e.manifest WHERE m.id IS NULL
    """,
    "I3: a link to a blob that is not live": """
        SELECT l.digest FROM repository_blob l LEFT JOIN blob b ON b.digest = l.digest AND b.state = 'live'
        WHERE b.digest IS NULL
    """,
    "I5: a tag whose last event says otherwise": """
        SELECT t.name FROM tag t JOIN manifest m ON m.id = t.manifest WHERE m.digest IS NOT (
            SELECT to_digest FROM tag_event
            WHERE repository = t.repository AND name = t.name ORDER BY number DESC LIMIT 1
        )
    """,
    "I5: a tag that its last event put there and that is not": """
        SELECT e.name FROM tag_event e LEFT JOIN tag t ON t.repository = e.repository AND t.name = e.name
        WHERE e.to_digest IS NOT NULL AND t.name IS NULL AND e.number = (
            SELECT max(number) FROM tag_event WHERE repository = e.repository AND name = e.name
        )
    """,
    "I4: a tag that points into the trash": "SELECT name FROM tag JOIN trash USING (manifest)",
    "I5: a blob that is to go and is needed": """
        SELECT digest FROM blob b WHERE state = 'deleting' AND (
            EXISTS (SELECT 1 FROM repository_blob WHERE digest = b.digest)
            OR EXISTS (SELECT 1 FROM manifest_reference WHERE target = b.digest)
        )
    """,
    "I5: a link of which no one will ever ask whether it is garbage": """
        SELECT l.digest FROM repository_blob l
        WHERE NOT EXISTS (SELECT 1 FROM lease WHERE repository = l.repository AND digest = l.digest)
        AND NOT EXISTS (
            SELECT 1 FROM manifest_reference WHERE repository = l.repository AND target = l.digest
        )
    """,
    "I5: a blob of which no one will ever ask whether it is garbage": """
        SELECT digest FROM blob b WHERE state <> 'deleting'
        AND NOT EXISTS (SELECT 1 FROM repository_blob WHERE digest = b.digest)
        AND NOT EXISTS (SELECT 1 FROM manifest_reference WHERE target = b.digest)
        AND NOT EXISTS (SELECT 1 FROM lease WHERE digest = b.digest)
    """,
    "I5: a row that the database calls broken": "SELECT * FROM pragma_foreign_key_check",
}


def _rows(connection: apsw.Connection) -> Iterator[str]:
    for fault, sql in _ORPHANS.items():
        yield from (f"{fault}: {row[0]}" for row in connection.execute(sql))
