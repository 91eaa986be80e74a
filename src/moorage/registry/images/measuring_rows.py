"""How much whole repositories hold, and all SQL of that."""

from collections.abc import Sequence
from typing import NamedTuple

from moorage.database import Database

_ASKED_AT_ONCE = 500


class Measured(NamedTuple):
    """A repository: the bytes of its blobs, its tags, and when one was last pushed in milliseconds."""

    name: str
    bytes: int
    tags: int
    pushed_at: int | None


async def measure_repositories(db: Database, names: Sequence[str]) -> dict[str, Measured]:
    """What each repository holds. One that has just gone holds nothing.

    Each blob counts once for each repository, whoever shares it. Reads its links off the loop.
    """
    measured = {name: Measured(name, 0, 0, None) for name in names}
    for start in range(0, len(names), _ASKED_AT_ONCE):
        some = names[start : start + _ASKED_AT_ONCE]
        rows = await db.scan(
            f"""
            SELECT r.name, (
                SELECT coalesce(sum(b.size), 0) FROM repository_blob l
                JOIN blob b ON b.digest = l.digest AND b.state = 'live' WHERE l.repository = r.id
            ), (SELECT count(*) FROM tag WHERE repository = r.id),
            (SELECT max(moved_at) FROM tag WHERE repository = r.id)
            FROM repository r WHERE r.name IN ({", ".join("?" * len(some))})
            """,
            some,
        )
        measured |= {row[0]: Measured(*row) for row in rows}
    return measured
