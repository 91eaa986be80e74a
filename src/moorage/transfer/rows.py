"""What a database that was brought back is told, over all tables."""

from collections.abc import Sequence

from moorage.clock import now_ms
from moorage.database import Transaction
from moorage.oci.digest import Digest
from moorage.registry.blobs import rows as blob_rows


def settle_restored(tx: Transaction) -> None:
    """Forget what was under way when the copy was made, and has no files here."""
    tx.run("DELETE FROM upload")
    tx.run("DELETE FROM garbage_pause")
    tx.run("DELETE FROM stray_file")
    # a backup of what was restored, for one, is not to come among those of the registry itself
    tx.run(
        "UPDATE job SET state = 'cancelled', finished_at = ?, holder = NULL, leased_until = NULL,"
        " error = 'the store was restored' WHERE state IN ('queued', 'running')",
        (now_ms(),),
    )
    # all that the rows name is brought, and nothing else: there is nothing to mistrust
    tx.run(
        "UPDATE store_state SET mistrusted = NULL, mistrusted_at = NULL, checked_at = NULL, report = NULL"
        " WHERE id = 1"
    )


def lose(tx: Transaction, lost: Sequence[tuple[Digest, int]]) -> None:
    """Say of blobs, by digest and generation, that their bytes are not here: a push brings them back."""
    for digest, generation in lost:
        blob_rows.mark_damaged(tx, digest, generation)
