"""What is read of many tables to show a repository's tags, and all SQL of that."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from moorage.database import Database
from moorage.oci.digest import Digest
from moorage.oci.names import Tag

Sort = Literal["version", "time", "pulled", "name"]
Order = Literal["asc", "desc"]

_SHOWN_AT_ONCE = 100
PARTS_MAX = 1_000
BLOBS_MAX = 5_000
"""An image of more manifests or blobs than these is not added up."""


class Place(NamedTuple):
    """Where a tag stands in an order: before or after others by `key`, then by its name.

    `key` is what it is sorted by: its version key, the milliseconds of its last push or pull, or "" for
    nothing: by name, or never pulled.
    """

    key: str
    name: str


class TagRow(NamedTuple):
    """A tag with what its rows say. Times are in milliseconds since 1970-01-01 UTC, None for never.

    `digest` is in the algorithm it was pushed by; `manifest` is the manifest's row.
    """

    name: Tag
    digest: Digest
    sha256: Digest
    manifest: int
    media_type: str
    artifact_type: str | None
    manifest_bytes: int
    pushed_at: int
    pushed_by: str
    is_pinned: bool
    pulls: int
    pulled_at: int | None
    digest_pulls: int
    digest_pulled_at: int | None


class Config(NamedTuple):
    """The blob that an image names as its config."""

    digest: Digest
    size: int
    generation: int


_PLACES = {
    "version": """
        SELECT version_key, name FROM tag WHERE repository = ? AND (version_key, name) {than} (?, ?)
        ORDER BY version_key {order}, name {order} LIMIT ?
    """,
    "time": """
        SELECT moved_at, name FROM tag WHERE repository = ? AND (moved_at, name) {than} (?, ?)
        ORDER BY moved_at {order}, name {order} LIMIT ?
    """,
    "pulled": """
        SELECT last_at, reference FROM pull
        WHERE repository = ? AND instr(reference, ':') = 0 AND (last_at, reference) {than} (?, ?)
        ORDER BY last_at {order}, reference {order} LIMIT ?
    """,
}
_BY_NAME = "SELECT '', name FROM tag WHERE repository = ? AND name {than} ? ORDER BY name {order} LIMIT ?"
_NEVER_PULLED = """
    SELECT '', name, EXISTS (SELECT 1 FROM pull WHERE repository = t.repository AND reference = t.name)
    FROM tag t WHERE repository = ? AND name {than} ? ORDER BY name {order} LIMIT ?
"""
_LAST_NAME = "\x7f"
"""After every tag."""
_LAST_TIME = 2**63 - 1
_LAST_VERSION = "~"
"""After every version key."""


def _sql(text: str, order: Order) -> str:
    return text.format(order=order.upper(), than=">" if order == "asc" else "<")


async def list_places(
    db: Database, repository_id: int, sort: Sort, order: Order, after: Place | None, limit: int
) -> list[Place]:
    """At most `limit` tags after a place, in order. By pulls: only such as were pulled."""
    if sort == "name":
        start: str = after.name if after is not None else "" if order == "asc" else _LAST_NAME
        rows = await db.all(_sql(_BY_NAME, order), (repository_id, start, limit))
        return [Place("", row[1]) for row in rows]
    key: int | str
    if after is not None:
        key, name = (after.key if sort == "version" else int(after.key)), after.name
    elif order == "asc":
        key, name = ("" if sort == "version" else -1), ""
    else:
        key, name = (_LAST_VERSION if sort == "version" else _LAST_TIME), _LAST_NAME
    # by time there is no index, which each push would have to write: all of a repository's tags are sorted
    ask = db.scan if sort == "time" else db.all
    rows = await ask(_sql(_PLACES[sort], order), (repository_id, key, name, limit))
    return [Place(str(row[0]), row[1]) for row in rows]


async def list_never_pulled(
    db: Database, repository_id: int, order: Order, after: Place | None, limit: int
) -> tuple[list[Place], Place | None]:
    """Of the next `limit` tags by name those that were never pulled; and the last looked at, if any."""
    start = after.name if after is not None else "" if order == "asc" else _LAST_NAME
    rows = await db.all(_sql(_NEVER_PULLED, order), (repository_id, start, limit))
    return [Place("", row[1]) for row in rows if not row[2]], Place("", rows[-1][1]) if rows else None


async def read_tags(db: Database, repository_id: int, names: Sequence[str]) -> dict[str, TagRow]:
    """Those of at most 100 tags that are there, by name."""
    assert len(names) <= _SHOWN_AT_ONCE  # noqa: S101 - a caller's mistake
    rows = await db.all(
        f"""
        SELECT t.name, CASE t.algorithm WHEN 'sha512' THEN m.sha512 ELSE m.digest END, m.digest, m.id,
            m.media_type, m.artifact_type, m.size, t.moved_at, t.moved_by, n.name IS NOT NULL,
            coalesce(p.pulls, 0), p.last_at, coalesce(d.pulls, 0), d.last_at
        FROM tag t JOIN manifest m ON m.id = t.manifest
        LEFT JOIN tag_pin n ON n.repository = t.repository AND n.name = t.name
        LEFT JOIN pull p ON p.repository = t.repository AND p.reference = t.name
        LEFT JOIN pull d ON d.repository = t.repository AND d.reference = m.digest
        WHERE t.repository = ? AND t.name IN ({", ".join("?" * len(names))})
        """,
        (repository_id, *names),
    )
    return {row[0]: TagRow(*row) for row in rows}


async def list_tags_of(db: Database, manifest_id: int, limit: int) -> list[str]:
    """At most `limit` tags of a manifest, in order."""
    rows = await db.all(
        "SELECT name FROM tag WHERE manifest = ? ORDER BY repository, name LIMIT ?", (manifest_id, limit)
    )
    return [str(row[0]) for row in rows]


async def find_config(db: Database, manifest_id: int) -> Config | None:
    """The config of an image, if its bytes are here."""
    row = await db.one(
        """
        SELECT b.digest, b.size, b.generation FROM manifest_reference r
        JOIN blob b ON b.digest = r.target AND b.state = 'live'
        WHERE r.manifest = ? AND r.kind = 'config'
        """,
        (manifest_id,),
    )
    return None if row is None else Config(*row)


async def read_payload(db: Database, manifest_id: int) -> bytes | None:
    """A manifest's bytes."""
    row = await db.one("SELECT payload FROM manifest WHERE id = ?", (manifest_id,))
    return None if row is None else row[0]


async def measure(db: Database, manifest_id: int) -> int | None:
    """Bytes of the blobs that an image needs, or all images of an index, each blob once; those that are here.

    None where there are more manifests or blobs than are added up.
    """
    row = await db.one(
        """
        WITH RECURSIVE part (id) AS (
            SELECT ?
            UNION
            SELECT m.id FROM part p
            JOIN manifest_reference r ON r.manifest = p.id AND r.kind = 'manifest'
            JOIN manifest m ON m.repository = r.repository AND m.digest = r.target
            LIMIT ?
        ), need (repository, target) AS (
            SELECT DISTINCT r.repository, r.target FROM part p
            JOIN manifest_reference r ON r.manifest = p.id LIMIT ?
        )
        SELECT (SELECT count(*) FROM part), count(*), coalesce(sum(b.size), 0) FROM need n
        LEFT JOIN repository_blob l ON l.repository = n.repository AND l.digest = n.target
        LEFT JOIN blob b ON b.digest = l.digest
        """,
        (manifest_id, PARTS_MAX + 1, BLOBS_MAX + 1),
    )
    assert row is not None  # noqa: S101 - it counts
    parts, blobs, size = row
    return None if parts > PARTS_MAX or blobs > BLOBS_MAX else int(size)
