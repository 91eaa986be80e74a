"""Rows of the audit that belong to no change: sign-ins and refusals."""

import structlog

from moorage.database import Database, Transaction
from moorage.errors import RegistryError
from moorage.records.audit.rows import Actor, Outcome, record

log = structlog.get_logger()


async def record_apart(
    db: Database, actor: Actor, action: str, target: str, outcome: Outcome, detail: str = ""
) -> None:
    """Add a row in a transaction of its own; where none can be written, say so in the log.

    A full disk shall neither keep an administrator out nor make another answer of a refusal.
    """

    def work(tx: Transaction) -> None:
        record(tx, actor, action, target, outcome, detail)

    try:
        await db.write(work)
    except RegistryError as refusal:
        log.error("audit_failed", action=action, actor=actor.name, reason=str(refusal))  # noqa: TRY400 - its reason says all
