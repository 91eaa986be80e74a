"""The table `retention_rule` and all its SQL; and what a plan reads of tags and of what leaves with them."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple, TypeVar

from moorage.clock import now_ms
from moorage.database import Database, Row, Transaction
from moorage.errors import RuleUnknown

T = TypeVar("T")
NewestBy = Literal["time", "version"]
ASKED_AT_ONCE: Final = 200


class RetentionRule(NamedTuple):
    """Which of the tags of a pattern stay, in the repositories of another. None says nothing.

    `scope` is as in a grant, `pattern` as `registry.tags.patterns` has it. Times are in milliseconds since
    1970-01-01 UTC; before `in_effect_from` it takes nothing, unless it is asked to.
    """

    id: int
    scope: str
    pattern: str
    keep_newest: int | None
    newest_by: NewestBy
    keep_pushed_ms: int | None
    keep_pulled_ms: int | None
    in_effect_from: int
    created_at: int
    created_by: str


_COLUMNS: Final = (
    "id, scope, pattern, keep_newest, newest_by, keep_pushed_ms, keep_pulled_ms, in_effect_from, created_at,"
    " created_by"
)


async def list_rules(db: Database, after: int = 0, limit: int = 1_000_000) -> list[RetentionRule]:
    """At most `limit` rules of a greater id than `after`, in order."""
    rows = await db.all(
        f"SELECT {_COLUMNS} FROM retention_rule WHERE id > ? ORDER BY id LIMIT ?", (after, limit)
    )
    return [RetentionRule(*row) for row in rows]


def read_rules(tx: Transaction) -> list[RetentionRule]:
    """All rules, inside a transaction."""
    return [RetentionRule(*row) for row in tx.all(f"SELECT {_COLUMNS} FROM retention_rule ORDER BY id")]


async def get_rule(db: Database, rule_id: int) -> RetentionRule:
    """One rule.

    Raises RuleUnknown (404).
    """
    row = await db.one(f"SELECT {_COLUMNS} FROM retention_rule WHERE id = ?", (rule_id,))
    if row is None:
        raise RuleUnknown(id=rule_id)
    return RetentionRule(*row)


def insert_rule(
    tx: Transaction,
    scope: str,
    pattern: str,
    *,
    keep_newest: int | None,
    newest_by: NewestBy,
    keep_pushed_ms: int | None,
    keep_pulled_ms: int | None,
    in_effect_from: int,
    created_by: str,
) -> RetentionRule:
    """Add a rule."""
    row = tx.one(
        "INSERT INTO retention_rule (scope, pattern, keep_newest, newest_by, keep_pushed_ms, keep_pulled_ms,"
        f" in_effect_from, created_at, created_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING {_COLUMNS}",
        (
            scope,
            pattern,
            keep_newest,
            newest_by,
            keep_pushed_ms,
            keep_pulled_ms,
            in_effect_from,
            now_ms(),
            created_by,
        ),
    )
    assert row is not None  # noqa: S101 - just inserted
    return RetentionRule(*row)


def delete_rule(tx: Transaction, rule_id: int) -> None:
    """Remove a rule.

    Raises RuleUnknown (404).
    """
    if not tx.run("DELETE FROM retention_rule WHERE id = ?", (rule_id,)):
        raise RuleUnknown(id=rule_id)


def put_in_effect(tx: Transaction, rule_id: int, now: int) -> bool:
    """Let a rule take what it does not keep; False when it did already."""
    return bool(
        tx.run(
            "UPDATE retention_rule SET in_effect_from = ? WHERE id = ? AND in_effect_from > ?",
            (now, rule_id, now),
        )
    )


async def read_pulls_since(db: Database) -> int:
    """From when on pulls are known of."""
    row = await db.one("SELECT since FROM pull_counting WHERE id = 1")
    assert row is not None  # noqa: S101 - the migration put it there
    return int(row[0])


# the tags of a repository


class TagRow(NamedTuple):
    """A tag, what it points to, and what is known of it."""

    name: str
    manifest: int
    digest: str
    depth: int
    subject: str | None
    version_key: str
    moved_at: int
    is_pinned: int
    pulled_at: int | None


_TAGS: Final = """
    SELECT t.name, m.id, m.digest, m.depth, m.subject, t.version_key, t.moved_at, p.name IS NOT NULL,
        nullif(max(coalesce(n.last_at, 0), coalesce(d.last_at, 0)), 0)
    FROM tag t JOIN manifest m ON m.id = t.manifest
    LEFT JOIN tag_pin p ON p.repository = t.repository AND p.name = t.name
    LEFT JOIN pull n ON n.repository = t.repository AND n.reference = t.name
    LEFT JOIN pull d ON d.repository = t.repository AND d.reference = m.digest
"""


async def list_tags(db: Database, repository_id: int, after: str) -> list[TagRow]:
    """Some of a repository's tags, after one, in order."""
    rows = await db.all(
        f"{_TAGS} WHERE t.repository = ? AND t.name > ? ORDER BY t.name LIMIT ?",
        (repository_id, after, ASKED_AT_ONCE),
    )
    return [TagRow(*row) for row in rows]


def list_tags_of(tx: Transaction, manifest: int) -> list[TagRow]:
    """The tags of a manifest as they are in the transaction."""
    return [TagRow(*row) for row in tx.all(f"{_TAGS} WHERE t.manifest = ? ORDER BY t.name", (manifest,))]


def count_tags(tx: Transaction, repository_id: int, names: Sequence[str]) -> int:
    """How many of these tags there are still."""
    found = 0
    for some in chunks(names):
        row = tx.one(
            f"SELECT count(*) FROM tag WHERE repository = ? AND name IN ({_marks(some)})",
            (repository_id, *some),
        )
        found += int(row[0]) if row else 0
    return found


async def find_pulled_children(db: Database, manifest: int) -> int | None:
    """When a child of an index, however deep, was last pulled by its digest."""
    row = await db.one(
        """
        WITH RECURSIVE child (id, repository, digest) AS (
            SELECT c.id, c.repository, c.digest FROM manifest_reference e
            JOIN manifest c ON c.repository = e.repository AND c.digest = e.target WHERE e.manifest = ?
            UNION
            SELECT c.id, c.repository, c.digest FROM child
            JOIN manifest_reference e ON e.manifest = child.id
            JOIN manifest c ON c.repository = e.repository AND c.digest = e.target
        )
        SELECT max(p.last_at) FROM child
        JOIN pull p ON p.repository = child.repository AND p.reference = child.digest
        """,
        (manifest,),
    )
    return None if row is None or row[0] is None else int(row[0])


def is_served(tx: Transaction, manifest: int) -> bool:
    """Whether a manifest is here and not in the trash."""
    row = tx.one(
        "SELECT 1 FROM manifest m WHERE m.id = ? AND NOT EXISTS (SELECT 1 FROM trash WHERE manifest = m.id)",
        (manifest,),
    )
    return row is not None


def is_needed(tx: Transaction, manifest: int) -> bool:
    """Whether a served index needs a manifest, or a served subject has it belong to it."""
    row = tx.one(
        """
        SELECT EXISTS (
            SELECT 1 FROM manifest_reference p WHERE p.target = m.digest AND p.repository = m.repository
            AND NOT EXISTS (SELECT 1 FROM trash WHERE manifest = p.manifest)
        ) OR EXISTS (
            SELECT 1 FROM manifest s WHERE s.repository = m.repository AND s.digest = m.subject
            AND NOT EXISTS (SELECT 1 FROM trash WHERE manifest = s.id)
        ) OR EXISTS (
            SELECT 1 FROM manifest s WHERE s.repository = m.repository AND s.sha512 = m.subject
            AND NOT EXISTS (SELECT 1 FROM trash WHERE manifest = s.id)
        ) FROM manifest m WHERE m.id = ?
        """,
        (manifest,),
    )
    return row is not None and bool(row[0])


async def find_manifests(
    db: Database, repository_id: int, digests: Sequence[str]
) -> dict[str, tuple[int, bool]]:
    """Of digests of either algorithm, the row of the manifest here, and whether it is in the trash."""
    found: dict[str, tuple[int, bool]] = {}
    for some in chunks(digests):
        await asyncio.sleep(0)
        for column in ("digest", "sha512"):
            rows = await db.all(
                f"SELECT m.{column}, m.id, t.manifest IS NOT NULL FROM manifest m"
                " LEFT JOIN trash t ON t.manifest = m.id"
                f" WHERE m.repository = ? AND m.{column} IN ({_marks(some)})",
                (repository_id, *some),
            )
            found |= {row[0]: (row[1], bool(row[2])) for row in rows}
    return found


# what leaves with a manifest


async def list_parents(db: Database, manifests: Sequence[int]) -> list[tuple[int, int]]:
    """Of manifests, which served ones refer to them, as (manifest, parent)."""
    return await _pairs(
        db,
        """
        SELECT m.id, e.manifest FROM manifest m
        JOIN manifest_reference e ON e.target = m.digest AND e.repository = m.repository
        WHERE m.id IN ({marks}) AND NOT EXISTS (SELECT 1 FROM trash WHERE manifest = e.manifest)
        """,
        manifests,
    )


async def list_subjects(db: Database, manifests: Sequence[int]) -> list[tuple[int, int]]:
    """Of manifests, their subjects that are served, as (manifest, subject)."""
    return await _pairs(
        db,
        """
        SELECT m.id, s.id FROM manifest m
        JOIN manifest s ON s.repository = m.repository AND s.digest = m.subject
        WHERE m.id IN ({marks}) AND NOT EXISTS (SELECT 1 FROM trash WHERE manifest = s.id)
        UNION ALL
        SELECT m.id, s.id FROM manifest m
        JOIN manifest s ON s.repository = m.repository AND s.sha512 = m.subject
        WHERE m.id IN ({marks}) AND NOT EXISTS (SELECT 1 FROM trash WHERE manifest = s.id)
        """,
        manifests,
        twice=True,
    )


async def list_untagged_dependants(db: Database, manifests: Sequence[int]) -> list[tuple[int, int]]:
    """Children and referrers of manifests that have no tag and are served, as (manifest, dependant)."""
    return await _pairs(
        db,
        """
        SELECT e.manifest, m.id FROM manifest_reference e
        JOIN manifest m ON m.repository = e.repository AND m.digest = e.target
        WHERE e.manifest IN ({marks}) AND NOT EXISTS (SELECT 1 FROM tag WHERE manifest = m.id)
        AND NOT EXISTS (SELECT 1 FROM trash WHERE manifest = m.id)
        UNION ALL
        SELECT d.id, m.id FROM manifest d
        JOIN manifest m ON m.repository = d.repository AND m.subject IN (d.digest, d.sha512)
        WHERE d.id IN ({marks}) AND NOT EXISTS (SELECT 1 FROM tag WHERE manifest = m.id)
        AND NOT EXISTS (SELECT 1 FROM trash WHERE manifest = m.id)
        """,
        manifests,
        twice=True,
    )


async def _pairs(
    db: Database, sql: str, manifests: Sequence[int], *, twice: bool = False
) -> list[tuple[int, int]]:
    pairs: list[tuple[int, int]] = []
    for some in chunks(manifests):
        values = [*some, *some] if twice else some
        # rows are read on the loop: others go in between
        await asyncio.sleep(0)
        pairs += [(row[0], row[1]) for row in await db.all(sql.format(marks=_marks(some)), values)]
    return pairs


async def list_targets(db: Database, manifests: Sequence[int]) -> list[tuple[int, str]]:
    """What manifests refer to, as (manifest, digest)."""
    found: list[tuple[int, str]] = []
    for some in chunks(manifests):
        rows: list[Row] = await db.all(
            f"SELECT manifest, target FROM manifest_reference WHERE manifest IN ({_marks(some)})", some
        )
        found += [(row[0], row[1]) for row in rows]
    return found


async def measure_if_used_by(db: Database, digest: str, users: int) -> int:
    """The bytes of a live blob that no more edges of served manifests lead to than so many; else 0."""
    row = await db.one(
        """
        SELECT b.size, (SELECT count(*) FROM (
            SELECT 1 FROM manifest_reference e
            JOIN repository r ON r.id = e.repository AND r.deleted_at IS NULL
            WHERE e.target = b.digest AND NOT EXISTS (SELECT 1 FROM trash WHERE manifest = e.manifest)
            LIMIT ?))
        FROM blob b WHERE b.digest = ? AND b.state = 'live'
        """,
        (users + 1, digest),
    )
    return 0 if row is None or row[1] > users else int(row[0])


def chunks(values: Iterable[T]) -> list[Sequence[T]]:
    """Values a few at a time, as many as one question may hold."""
    listed = list(values)
    return [listed[start : start + ASKED_AT_ONCE] for start in range(0, len(listed), ASKED_AT_ONCE)]


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
