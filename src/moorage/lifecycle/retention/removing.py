"""One transaction of a run: a few manifests, each looked at again before it goes.

What was pushed, pulled, pinned or deleted since the plan, or a rule that came or went, makes the plan void.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from moorage.clock import now_ms
from moorage.database import Transaction
from moorage.identity.access.patterns import is_match, namespace_of
from moorage.lifecycle.retention import rows
from moorage.lifecycle.retention.deciding import Decision
from moorage.lifecycle.retention.planning import Plan, tags_by_manifest
from moorage.oci.names import Tag
from moorage.records.audit.rows import Actor, record
from moorage.registry.repositories.rows import find_repository
from moorage.registry.tags import immutability_rows
from moorage.registry.tags import rows as tag_rows
from moorage.registry.tags.immutability_rows import ImmutabilityRule
from moorage.registry.trash.deleting import name_some, put_in_trash


class PlanVoid(Exception):
    """Something that the plan rests on is not so any more."""


@dataclass(frozen=True, slots=True)
class Work:
    """A manifest of which tags go, and whether it goes with them."""

    manifest: int
    tags: Sequence[Decision]
    leaves: bool


@dataclass(slots=True)
class Removed:
    """What a transaction removed. `frees_bytes`: what leaves the disk when the trash is emptied of it."""

    tags: int = 0
    manifests: int = 0
    frees_bytes: int = 0


def order(plan: Plan) -> list[Work]:
    """What is to be done, in an order in which it can be: tags alone, then what keeps others before those."""
    shared = tags_by_manifest(decision.tag for decision in plan.decisions)
    decisions = {decision.tag.name: decision for decision in plan.decisions}
    all_works = {
        row: Work(row, [decisions[tag.name] for tag in those], row in plan.leaving)
        for row, those in shared.items()
        if not all(decisions[tag.name].is_kept for tag in those)
    }
    return [
        *(work for row, work in all_works.items() if row not in plan.leaving),
        *(all_works[row] for row in plan.leaving if row in all_works),
    ]


@dataclass(slots=True)
class Batch:
    """A few works of a plan. `remove` may run again from its start."""

    repository_id: int
    plan: Plan
    works: Sequence[Work]
    grace_ms: int
    removed: Removed = field(default_factory=Removed)

    def remove(self, tx: Transaction) -> Removed:
        """All of them, or none.

        Raises PlanVoid.
        """
        self.removed = Removed()
        self._check_ground(tx)
        for work in self.works:
            self._check(tx, work)
            if work.leaves:
                self._put_in_trash(tx, work)
            else:
                self._unlink(tx, work)
        return self.removed

    def _check_ground(self, tx: Transaction) -> None:
        """What all of it rests on: the rules, the repository's name, the tags that are the newest."""
        plan, rules = self.plan, self.plan.rules
        if (
            rows.read_rules(tx) != rules.retention
            or self._read_fixing(tx) != plan.immutability
            or find_repository(tx, plan.repository) != self.repository_id
            or rows.count_tags(tx, self.repository_id, plan.newest) != len(plan.newest)
        ):
            raise PlanVoid

    def _read_fixing(self, tx: Transaction) -> list[ImmutabilityRule]:
        name = self.plan.repository
        near = immutability_rows.read_rules_near(tx, namespace_of(name))
        return [rule for rule in near if is_match(rule.scope, name)]

    def _check(self, tx: Transaction, work: Work) -> None:
        """The manifest's tags, of which none may have come, gone, moved, or been pinned or pulled."""
        is_asked = any(rule.keep_pulled_ms is not None for rule in self.plan.rules.retention)
        planned = {decision.tag.name: decision for decision in work.tags}
        found = rows.list_tags_of(tx, work.manifest)
        if [row.name for row in found] != sorted(planned):
            raise PlanVoid
        for row in found:
            decision = planned[row.name]
            tag = decision.tag
            is_pulled = is_asked and (row.pulled_at or 0) > (tag.pulled_at or 0)
            if row.moved_at != tag.moved_at or (not decision.is_kept and (row.is_pinned or is_pulled)):
                raise PlanVoid
            if not decision.is_kept and tag.subject is not None and tag.belongs == "served":
                self._check_subject(tx, tag.subject)
        if work.leaves and rows.is_needed(tx, work.manifest):
            raise PlanVoid

    @staticmethod
    def _check_subject(tx: Transaction, subject: int) -> None:
        """What a signature belongs to has gone before it."""
        if rows.is_served(tx, subject):
            raise PlanVoid

    def _unlink(self, tx: Transaction, work: Work) -> None:
        for decision in work.tags:
            if not decision.is_kept:
                actor = self._actor(decision)
                tag_rows.delete(tx, self.repository_id, Tag(decision.tag.name), str(actor))
                self._record(tx, actor, f"tag {decision.tag.name}")
                self.removed.tags += 1

    def _put_in_trash(self, tx: Transaction, work: Work) -> None:
        actor = self._actor(work.tags[0])
        deleted = put_in_trash(
            tx, self.repository_id, work.manifest, "retention", actor, now_ms() + self.grace_ms
        )
        self._record(tx, actor, " ".join(["manifest", deleted.digests[0], *name_some(deleted.tags)]))
        self.removed.tags += len(deleted.tags)
        self.removed.manifests += len(deleted.digests)
        self.removed.frees_bytes += deleted.frees_bytes

    def _record(self, tx: Transaction, actor: Actor, detail: str) -> None:
        record(tx, actor, "delete", self.plan.repository, detail=detail)

    @staticmethod
    def _actor(decision: Decision) -> Actor:
        return Actor(f"retention rule {decision.rule}")
