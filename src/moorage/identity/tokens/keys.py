"""The keys that sign bearer tokens: made and replaced by themselves.

A key signs for thirty days and verifies for a day more, longer than any token it signed lasts. It is made
in the transaction that finds none young enough, so two workers never make two.
"""

from typing import Final

from joserfc.jwk import ECKey

from moorage.clock import now_ms
from moorage.database import Database, Transaction
from moorage.identity.tokens import rows
from moorage.identity.tokens.rows import SigningKey
from moorage.records.audit.rows import Actor, record

SIGNS_FOR_MS: Final = 30 * 86_400_000
_VERIFIES_MS: Final = SIGNS_FOR_MS + 86_400_000


async def rotate_if_due(db: Database) -> None:
    """Make a key where there is none, or the newest has signed for thirty days."""
    keys = await rows.list_keys(db)
    if not keys or _is_due(keys[0]):
        await rotate(db, is_forced=False)


async def rotate(db: Database, *, is_forced: bool, by: Actor | None = None) -> SigningKey:
    """Make a new key that signs from now on; the key that signs. Without force only where one is due.

    `by`: who asked for it, where someone did.
    """
    made = _make()

    def work(tx: Transaction) -> SigningKey:
        newest = rows.newest_key(tx)
        if newest is not None and not is_forced and not _is_due(newest):
            return newest
        rows.drop_retired_keys(tx)
        rows.insert_key(tx, made)
        if by is not None:
            record(tx, by, "key.rotate", made.id)
        return made

    return await db.write(work)


def _is_due(key: SigningKey) -> bool:
    return now_ms() - key.created_at >= SIGNS_FOR_MS


def _make() -> SigningKey:
    key = ECKey.generate_key("P-256", private=True)
    now = now_ms()
    return SigningKey(key.thumbprint(), key.as_pem(private=True).decode(), now, now + _VERIFIES_MS)
