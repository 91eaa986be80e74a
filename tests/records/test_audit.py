"""The audit: added to, never changed."""

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from moorage.database import Transaction
from moorage.databases import sqlite
from moorage.databases.sqlite import SqliteDatabase
from moorage.health import Health
from moorage.records.audit.rows import Actor, Filter, list_entries, record

ADA = Actor("ada", "192.0.2.1", 7)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[SqliteDatabase]:
    path = tmp_path / "moorage.db"
    sqlite.prepare(path)
    db = SqliteDatabase(path, Health())
    yield db
    db.close()


@pytest.mark.anyio
async def test_audit_is_only_ever_added_to(db: SqliteDatabase) -> None:
    await db.write(lambda tx: record(tx, ADA, "push", "team/app", detail="sha256:abc v1"))

    for sql in (
        "UPDATE audit SET actor = 'bert'",
        "DELETE FROM audit",
        "REPLACE INTO audit SELECT * FROM audit",
    ):

        def work(tx: Transaction, sql: str = sql) -> int:
            return tx.run(sql)

        with pytest.raises(apsw.ConstraintError, match="append-only"):
            await db.write(work)
    (entry,) = await list_entries(db, Filter(), 10)
    assert (entry.actor, entry.token, entry.address) == ("ada", 7, "192.0.2.1")
    assert (entry.action, entry.target, entry.outcome) == ("push", "team/app", "allowed")


@pytest.mark.anyio
async def test_target_with_a_star_is_a_prefix_and_nothing_else_is_special(db: SqliteDatabase) -> None:
    def work(tx: Transaction) -> None:
        for target in ("a_b/one", "axb/one", "a_b/two"):
            record(tx, ADA, "push", target)

    await db.write(work)

    found = await list_entries(db, Filter(target="a_b/*"), 10)
    assert [entry.target for entry in found] == ["a_b/two", "a_b/one"]
