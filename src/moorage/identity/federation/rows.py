"""The table `sign_in` and all its SQL: people who were sent to a provider and may come back."""

import msgspec

from moorage.clock import now_ms
from moorage.database import Transaction
from moorage.identity.tokens.rows import hash_secret


class Visit(msgspec.Struct, frozen=True):
    """What has to be known when someone comes back: `browser` is the hash of a secret in a cookie."""

    browser: str
    nonce: str
    verifier: str


def insert_visit(tx: Transaction, state: str, visit: Visit, address: str, expires_at: int) -> None:
    """Someone is sent to the provider. Who has not come back in time is forgotten."""
    tx.run("DELETE FROM sign_in WHERE expires_at <= ?", (now_ms(),))
    tx.run(
        "INSERT INTO sign_in (state, browser, nonce, verifier, address, expires_at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (hash_secret(state), visit.browser, visit.nonce, visit.verifier, address, expires_at),
    )


def count_visits(tx: Transaction, address: str) -> int:
    """How many may still come back to this address."""
    row = tx.one("SELECT count(*) FROM sign_in WHERE address = ? AND expires_at > ?", (address, now_ms()))
    return 0 if row is None else int(row[0])


def take_visit(tx: Transaction, state: str) -> Visit | None:
    """Someone comes back: once. None for one who was never sent, came before, or took too long."""
    row = tx.one(
        "SELECT browser, nonce, verifier FROM sign_in WHERE state = ? AND expires_at > ?",
        (hash_secret(state), now_ms()),
    )
    tx.run("DELETE FROM sign_in WHERE state = ?", (hash_secret(state),))
    return None if row is None else Visit(*row)
