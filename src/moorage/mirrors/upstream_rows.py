"""The tables `upstream`, `upstream_disconnection` and `upstream_version`, and all their SQL."""

from typing import NamedTuple

import msgspec

from moorage.clock import now_ms
from moorage.database import Database, Row, Transaction
from moorage.errors import UpstreamUnknown
from moorage.mirrors.upstreams import Upstream


class Disconnection(NamedTuple):
    """Since when an upstream is not asked, in milliseconds since 1970-01-01 UTC, and who said so."""

    at: int
    by: str


async def read_version(db: Database) -> int:
    """What every change of upstreams, disconnections and lines raises."""
    row = await db.one("SELECT version FROM upstream_version")
    assert row is not None  # noqa: S101 - the migration put it there
    return int(row[0])


async def read_upstreams(db: Database) -> list[Upstream]:
    """All that were made by the API or the command line, by name."""
    return [_upstream(row) for row in await db.all("SELECT settings FROM upstream ORDER BY name")]


async def read_disconnected(db: Database) -> set[str]:
    """The names of upstreams that are not to be asked."""
    return {row[0] for row in await db.all("SELECT name FROM upstream_disconnection")}


async def read_disconnections(db: Database) -> dict[str, Disconnection]:
    """Those upstreams that are not to be asked, with since when and who said so."""
    rows = await db.all("SELECT name, at, by FROM upstream_disconnection")
    return {name: Disconnection(at, by) for name, at, by in rows}


def read_upstreams_in(tx: Transaction) -> list[Upstream]:
    """All rows, inside a transaction."""
    return [_upstream(row) for row in tx.all("SELECT settings FROM upstream ORDER BY name")]


def find_upstream_in(tx: Transaction, name: str) -> Upstream | None:
    """An upstream, inside a transaction."""
    row = tx.one("SELECT settings FROM upstream WHERE name = ?", (name,))
    return None if row is None else _upstream(row)


def insert_upstream(tx: Transaction, upstream: Upstream, created_by: str) -> None:
    """Add an upstream whose name no other row has."""
    tx.run(
        "INSERT INTO upstream (name, settings, created_at, created_by) VALUES (?, ?, ?, ?)",
        (upstream.name, _settings(upstream), now_ms(), created_by),
    )


def update_upstream(tx: Transaction, upstream: Upstream) -> None:
    """Let an upstream's row say this.

    Raises UpstreamUnknown (404).
    """
    if not tx.run("UPDATE upstream SET settings = ? WHERE name = ?", (_settings(upstream), upstream.name)):
        raise UpstreamUnknown(name=upstream.name)


def delete_upstream(tx: Transaction, name: str) -> None:
    """Forget an upstream, and what is known of its lines.

    Raises UpstreamUnknown (404).
    """
    if not tx.run("DELETE FROM upstream WHERE name = ?", (name,)):
        raise UpstreamUnknown(name=name[:64])
    tx.run("DELETE FROM upstream_disconnection WHERE name = ?", (name,))
    tx.run("DELETE FROM upstream_line WHERE upstream = ?", (name,))


def insert_disconnection(tx: Transaction, name: str, by: str) -> bool:
    """Let an upstream be asked no more; whether it was until now."""
    values = (name, now_ms(), by)
    # no conflict clause that changes nothing: it would raise the version all the same
    if tx.one("SELECT 1 FROM upstream_disconnection WHERE name = ?", (name,)) is not None:
        return False
    return tx.run("INSERT INTO upstream_disconnection (name, at, by) VALUES (?, ?, ?)", values) > 0


def delete_disconnection(tx: Transaction, name: str) -> bool:
    """Let an upstream be asked again; whether it was not until now. Its lines are tried at once."""
    if not tx.run("DELETE FROM upstream_disconnection WHERE name = ?", (name,)):
        return False
    tx.run("UPDATE upstream_line SET retry_at = ? WHERE upstream = ? AND state = 'open'", (now_ms(), name))
    return True


def _upstream(row: Row) -> Upstream:
    return msgspec.json.decode(row[0], type=Upstream)


def _settings(upstream: Upstream) -> str:
    return msgspec.json.encode(upstream).decode()
