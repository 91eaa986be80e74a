"""Backups into the folder of the settings: the endpoints and their documents."""

import asyncio
from typing import Any

from msgspec import Struct

from moorage.api.manage import jobs
from moorage.api.manage.jobs import JobReply
from moorage.api.manage.routes import Ask, NoQuery
from moorage.database import Transaction
from moorage.errors import Unsupported
from moorage.records.audit.rows import record
from moorage.records.jobs.managing import get_job
from moorage.records.jobs.rows import enqueue
from moorage.transfer.backup_folder import BackupFolder, Generation


class BackupsReply(Struct, frozen=True):
    """The whole backups of the folder, the oldest first. `folder` is null where none is set."""

    folder: str | None
    generations: dict[str, Generation]


async def list_all(ask: Ask[None, NoQuery]) -> BackupsReply:
    """What backups there are."""
    root = ask.services.settings.backup.folder
    if root is None:
        return BackupsReply(None, {})
    return BackupsReply(str(root), await asyncio.to_thread(BackupFolder(root).read_all))


async def make(ask: Ask[Any, NoQuery]) -> JobReply:
    """Ask for a backup."""
    if ask.services.settings.backup.folder is None:
        raise Unsupported(reason="backup.folder is not set; moorage backup DIR needs no setting")
    actor = ask.actor

    def work(tx: Transaction) -> int:
        record(tx, actor, "ask for backup", "store")
        return enqueue(tx, "backup", {}, str(actor))

    job_id = await ask.services.db.write(work)
    return jobs.show(await get_job(ask.services.db, job_id))
