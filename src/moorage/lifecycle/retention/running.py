"""Doing what the rules say, as a job: repository by repository, a few manifests in each transaction.

Each is looked at again in the transaction that takes it: what was pushed, pulled, pinned or deleted since the
plan, or a rule that came or went, makes the plan void; another is made then, a few times at most. A worker
that is killed leaves nothing half done, and the next one plans anew.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from moorage.config import DeleteSettings
from moorage.database import Database, Transaction
from moorage.errors import TagImmutable
from moorage.identity.access.patterns import is_match
from moorage.lifecycle.garbage.timing import trusted_now_ms
from moorage.lifecycle.retention import rows
from moorage.lifecycle.retention.deciding import Decision
from moorage.lifecycle.retention.planning import Plan, Rules, plan_repository
from moorage.lifecycle.retention.rows import RetentionRule
from moorage.lifecycle.retention.rules import keep_matching
from moorage.oci.names import RepositoryName, Tag
from moorage.records.audit.rows import Actor, record
from moorage.records.jobs.running import Running
from moorage.registry.repositories.rows import find_repository, get_repository, list_repositories
from moorage.registry.tags import immutability_rows
from moorage.registry.tags import rows as tag_rows
from moorage.registry.trash.deleting import put_in_trash

KIND: Final = "retention"
_AT_ONCE: Final = 20
_PLANS_MAX: Final = 3
_NAMES_AT_ONCE: Final = 500

log = structlog.get_logger()


class PlanVoid(Exception):
    """Something that the plan rests on is not so any more."""


@dataclass(slots=True)
class Outcome:
    """What was done: tags that are gone, manifests in the trash, bytes that leave the disk in time."""

    repositories: int = 0
    tags: int = 0
    manifests: int = 0
    frees_bytes: int = 0
    unfinished: int = 0
    """Repositories in which something was always happening: the next run has them."""


async def read_rules(db: Database) -> Rules:
    """All rules as they are now, and what time it is, by a clock that no jump hastens."""
    now = await db.write(trusted_now_ms)
    return Rules(
        await rows.list_rules(db),
        await immutability_rows.list_rules(db, 0, 1_000_000),
        await rows.read_pulls_since(db),
        now,
    )


class Retention:
    """The job's handler. Its arguments: `scope`, a pattern of repositories; without it, all of them."""

    def __init__(self, db: Database, settings: DeleteSettings) -> None:
        self._db = db
        self._settings = settings

    async def run(self, running: Running) -> Mapping[str, object]:
        """Remove what no rule keeps; what came of it."""
        if not self._settings.enabled:
            return {"refused": "deleting is switched off (delete.enabled)"}
        scope = str(running.arguments.get("scope", "*"))
        done = Outcome()
        async for repository in list_ruled(self._db, scope):
            await self._clear(repository, running, done)
            done.repositories += 1
            await running.say(done.tags, None, "tags", repository)
        return {
            "repositories": done.repositories,
            "tags": done.tags,
            "manifests": done.manifests,
            "frees_bytes": done.frees_bytes,
            "unfinished": done.unfinished,
        }

    async def _clear(self, repository: RepositoryName, running: Running, done: Outcome) -> None:
        for _ in range(_PLANS_MAX):
            try:
                await self._carry_out(repository, running, done)
            except PlanVoid:
                continue
            return
        done.unfinished += 1

    async def _carry_out(self, repository: RepositoryName, running: Running, done: Outcome) -> None:
        """Raises PlanVoid."""
        rules = await read_rules(self._db)
        concerning = keep_matching(rules.retention, repository)
        repository_id = await _find(self._db, repository)
        if repository_id is None or not concerning:
            return
        narrowed = Rules(concerning, rules.immutability, rules.pulls_since, rules.now)
        plan = await plan_repository(self._db, repository_id, repository, narrowed)
        works = order(plan)
        for start in range(0, len(works), _AT_ONCE):
            some = works[start : start + _AT_ONCE]
            batch = Batch(repository_id, plan, rules, some, self._settings.grace_ms)
            removed = await self._db.write(batch.work)
            done.tags += removed.tags
            done.manifests += removed.manifests
            done.frees_bytes += removed.frees_bytes
            await running.say(done.tags, None, "tags", repository)
            await asyncio.sleep(0)
        if works:
            log.info("retention_done", repository=repository, tags=len(plan.removed))


async def list_ruled(db: Database, scope: str):  # noqa: ANN201
    """The repositories of a pattern that a rule concerns."""
    scopes = sorted({rule.scope for rule in await rows.list_rules(db)})
    after = ""
    while scopes:
        names = await list_repositories(db, after, _NAMES_AT_ONCE)
        for name in names:
            if is_match(scope, name) and any(is_match(each, name) for each in scopes):
                yield RepositoryName(name)
        if len(names) < _NAMES_AT_ONCE:
            return
        after = names[-1]
        await asyncio.sleep(0)
