"""A registry that was filled before there was a trash or a history of its own: nothing of it is lost."""

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from moorage.databases import sqlite
from moorage.databases.migrating import migrate, migrations

KEPT, LOOSE, ORPHAN, DAMAGED = ("sha256:" + each * 64 for each in "abcd")
IMAGE = "sha256:" + "e" * 64
FILL = f"""
    INSERT INTO repository VALUES (1, 'team/app', 1);
    INSERT INTO blob VALUES ('{KEPT}', NULL, 5000, 1, 'live', 1), ('{LOOSE}', NULL, 10, 1, 'live', 1),
        ('{ORPHAN}', NULL, 10, 1, 'live', 1), ('{DAMAGED}', NULL, 10, 1, 'damaged', 1);
    UPDATE blob_total SET blobs = 3, bytes = 5020;
    INSERT INTO repository_blob VALUES (1, '{KEPT}', 'uploaded', NULL, 1),
        (1, '{LOOSE}', 'uploaded', NULL, 1),
        (1, '{DAMAGED}', 'uploaded', NULL, 1);
    INSERT INTO manifest VALUES (7, 1, '{IMAGE}', 'sha512:e', 'sha256', 'type', NULL, NULL, 0, 2,
        '{{}}', '{{}}', 1, 'ada');
    INSERT INTO manifest_reference VALUES (7, 1, '{KEPT}', 'layer'), (7, 1, '{DAMAGED}', 'layer');
    INSERT INTO tag VALUES (1, 'v1.10.0', 7, 'sha256', 3, 'ada'), (1, 'v1.9.0', 7, 'sha256', 3, 'ada'),
        (1, 'latest', 7, 'sha256', 3, 'ada');
    INSERT INTO tag_event VALUES (1, 1, 'latest', NULL, 'old', 1, 'ada'),
        (2, 1, 'v1.9.0', NULL, '{IMAGE}', 2, 'ada'),
        (3, 1, 'latest', 'old', '{IMAGE}', 3, 'bert');
    INSERT INTO audit (at, actor, address, action, target, outcome) VALUES
        (1, 'ada', '', 'push', 'team/app', 'allowed'), (2, 'bert', '', 'push', 'team/app', 'denied');
"""


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[apsw.Connection]:
    path = tmp_path / "moorage.db"
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA foreign_keys = ON")
    migrate(connection, migrations()[:2])
    connection.execute(FILL)
    connection.close()
    sqlite.prepare(path)
    connection = apsw.Connection(str(path))
    yield connection
    connection.close()


def ask(connection: apsw.Connection, sql: str) -> list[tuple[object, ...]]:
    return list(connection.execute(sql))


def test_history_is_counted_by_tag(filled: apsw.Connection) -> None:
    assert ask(
        filled, "SELECT name, number, from_digest, to_digest, by FROM tag_event ORDER BY name, number"
    ) == [
        ("latest", 1, None, "old", "ada"),
        ("latest", 2, "old", IMAGE, "bert"),
        ("v1.9.0", 1, None, IMAGE, "ada"),
    ]


def test_tags_are_sorted_as_versions(filled: apsw.Connection) -> None:
    rows = ask(filled, "SELECT name FROM tag ORDER BY version_key DESC, name DESC")
    assert rows == [("v1.10.0",), ("v1.9.0",), ("latest",)]


def test_what_nothing_refers_to_is_asked_about_in_a_day(filled: apsw.Connection) -> None:
    assert ask(filled, "SELECT repository, digest, until > unixepoch() * 1000 + 86000000 FROM lease") == [
        (1, LOOSE, 1)
    ]


def test_what_no_repository_links_is_garbage(filled: apsw.Connection) -> None:
    assert ask(filled, "SELECT digest FROM blob WHERE state = 'deleting'") == [(ORPHAN,)]
    assert ask(filled, "SELECT blobs, bytes, disk_bytes FROM blob_total") == [(2, 5010, 3 * 4096)]


def test_edges_and_audit_are_as_they_were(filled: apsw.Connection) -> None:
    assert len(ask(filled, "SELECT * FROM manifest_reference")) == 2
    assert ask(filled, "SELECT id, actor, outcome FROM audit") == [
        (1, "ada", "allowed"),
        (2, "bert", "denied"),
    ]
    with pytest.raises(apsw.ConstraintError, match="append-only"):
        filled.execute("DELETE FROM audit")
    assert ask(filled, "PRAGMA foreign_key_check") == []
    assert ask(filled, "PRAGMA integrity_check") == [("ok",)]
