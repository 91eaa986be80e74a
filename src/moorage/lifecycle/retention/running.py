"""Doing what the rules say, as a job: repository by repository, a few manifests in each transaction.

A worker that is killed leaves nothing half done, and the next one plans anew.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from moorage.config import DeleteSettings
from moorage.database import Database, Transaction
from moorage.errors import NameUnknown
from moorage.identity.access.patterns import covers, is_match
from moorage.lifecycle.garbage.timing import find_trusted_now_ms, trusted_now_ms
from moorage.lifecycle.retention import rows
from moorage.lifecycle.retention.planning import Plan, Rules, plan_repository
from moorage.lifecycle.retention.removing import Batch, PlanVoid, Removed, order
from moorage.oci.names import RepositoryName
from moorage.records.audit.rows import Actor, record
from moorage.records.jobs.rows import enqueue
from moorage.records.jobs.running import Running
from moorage.registry.repositories.rows import get_repository, list_repositories

KIND: Final = "retention"
ALL_BEGUN: Final = 1 << 62
_AT_ONCE: Final = 20
_PLANS_MAX: Final = 3
_NAMES_AT_ONCE: Final = 500

log = structlog.get_logger()


async def read_rules(db: Database, begun_to: int = 0) -> Rules:
    """All rules as they are now, and what time it is, by a clock that no jump hastens.

    `begun_to`: as `Rules` has it; `ALL_BEGUN` for a plan.
    """
    return Rules(
        await rows.list_rules(db),
        await rows.read_pulls_since(db),
        await find_trusted_now_ms(db),
        begun_to,
    )


async def has_rules(db: Database) -> bool:
    """Whether there is any rule to follow."""
    return bool(await rows.list_rules(db, 0, 1))


async def list_ruled(
    db: Database, scope: str, rules: Rules, after: str = ""
) -> AsyncIterator[RepositoryName]:
    """The repositories of a pattern that a rule concerns, bytewise after `after`, in order."""
    scopes = sorted({rule.scope for rule in rules.retention})
    while scopes:
        names = await list_repositories(db, after, _NAMES_AT_ONCE)
        for name in names:
            if is_match(scope, name) and any(is_match(each, name) for each in scopes):
                yield RepositoryName(name)
        if len(names) < _NAMES_AT_ONCE:
            return
        after = names[-1]
        await asyncio.sleep(0)


async def ask_for_run(db: Database, scope: str, asked_by: Actor) -> int:
    """Queue a run over the repositories of a pattern; the job. It follows rules that still wait, too.

    Those that lie in the pattern are in effect from now. Who asks has `admin` on all that it names.
    """

    def work(tx: Transaction) -> int:
        now = trusted_now_ms(tx)
        rules = rows.read_rules(tx)
        for rule in rules:
            if covers(scope, rule.scope) and rows.put_in_effect(tx, rule.id, now):
                record(tx, asked_by, "retention.begin", rule.scope, detail=f"rule {rule.id}")
        record(tx, asked_by, "retention.run", scope)
        arguments = {"scope": scope, "begun_to": max((rule.id for rule in rules), default=0)}
        return enqueue(tx, KIND, arguments, asked_by.name, key=f"{KIND} {scope}")

    return await db.write(work)


@dataclass(slots=True)
class Outcome:
    """What was done. `unfinished`: repositories in which too much happened at the time."""

    repositories: int = 0
    tags: int = 0
    manifests: int = 0
    frees_bytes: int = 0
    unfinished: int = 0

    def add(self, removed: Removed) -> None:
        """Count what was removed too."""
        self.tags += removed.tags
        self.manifests += removed.manifests
        self.frees_bytes += removed.frees_bytes


class Retention:
    """The job's handler. Its arguments: `scope`, a pattern of repositories; without it, all of them.

    `begun_to`: rules up to this one do not wait: whoever asked for the run could see them.
    """

    def __init__(self, db: Database, settings: DeleteSettings) -> None:
        self._db = db
        self._settings = settings

    async def run(self, running: Running) -> Mapping[str, object]:
        """Remove what no rule keeps; what came of it."""
        if not self._settings.enabled:
            return {"refused": "deleting is switched off (delete.enabled)"}
        await self._db.write(trusted_now_ms)
        done = Outcome()
        scope = str(running.arguments.get("scope", "*"))
        async for repository in list_ruled(self._db, scope, await read_rules(self._db)):
            await running.say(done.tags, None, "tags", repository)
            await self._clear(repository, running, done)
            done.repositories += 1
        return {
            "repositories": done.repositories,
            "tags": done.tags,
            "manifests": done.manifests,
            "frees_bytes": done.frees_bytes,
            "unfinished": done.unfinished,
        }

    async def _clear(self, repository: RepositoryName, running: Running, done: Outcome) -> None:
        """Plan and carry out; again, where what the plan rests on has changed meanwhile."""
        for _ in range(_PLANS_MAX):
            rules = await read_rules(self._db, int(running.arguments.get("begun_to", 0)))
            try:
                repository_id = await get_repository(self._db, repository)
            except NameUnknown:
                # deleted or renamed meanwhile
                return
            plan = await plan_repository(self._db, repository_id, repository, rules)
            try:
                await self._carry_out(repository_id, plan, running, done)
            except PlanVoid:
                continue
            return
        done.unfinished += 1

    async def _carry_out(self, repository_id: int, plan: Plan, running: Running, done: Outcome) -> None:
        """Raises PlanVoid."""
        works = order(plan)
        for start in range(0, len(works), _AT_ONCE):
            batch = Batch(repository_id, plan, works[start : start + _AT_ONCE], self._settings.grace_ms)
            done.add(await self._db.write(batch.remove))
            await running.say(done.tags, None, "tags", plan.repository)
            await asyncio.sleep(0)
        if works:
            log.info("tags_retired", repository=plan.repository, tags=len(plan.removed))
