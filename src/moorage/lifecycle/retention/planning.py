"""What the rules come to in one repository: a decision for each tag, what leaves, and what that frees."""

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from moorage.database import Database
from moorage.identity.access.patterns import is_match
from moorage.lifecycle.retention import rows
from moorage.lifecycle.retention.deciding import Decision, Judge, TagState
from moorage.lifecycle.retention.leaving import find_leaving, measure
from moorage.lifecycle.retention.rows import RetentionRule, TagRow
from moorage.oci.names import RepositoryName
from moorage.registry.tags.immutability import find_fixing, read_rules_for
from moorage.registry.tags.immutability_rows import ImmutabilityRule

# tag ::= "sha256-" hex [ ".sig" | ".att" | ".sbom" ] ; cosign's; without an ending the list of referrers
_OF_SUBJECT: Final = re.compile(
    r"(sha256|sha512)-([0-9a-f]{64}|[0-9a-f]{128})(?:\.(?:sig|att|sbom))?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Rules:
    """All that decides. `pulls_since`: from when on pulls are known of; times in ms since 1970-01-01 UTC.

    `begun_to`: rules up to this one are taken to be in effect, whether or not they wait.
    """

    retention: Sequence[RetentionRule]
    pulls_since: int
    now: int
    begun_to: int = 0

    def concerning(self, repository: str) -> list[RetentionRule]:
        """Those of a repository, as they are in effect."""
        return [
            rule._replace(in_effect_from=0) if rule.id <= self.begun_to else rule
            for rule in self.retention
            if is_match(rule.scope, repository)
        ]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to become of a repository's tags, in the order of their names.

    `leaving`: the manifests that go with tags to the trash, each with the tag it goes with; `frees_bytes` by
    tag, what several need counted at the first of them; `newest`: tags that have to stay for it to hold.
    """

    repository: RepositoryName
    rules: Rules
    immutability: Sequence[ImmutabilityRule]
    decisions: Sequence[Decision]
    leaving: dict[int, str] = field(default_factory=dict)
    frees_bytes: dict[str, int] = field(default_factory=dict)
    newest: Sequence[str] = ()

    @property
    def removed(self) -> list[Decision]:
        """The tags that go."""
        return [each for each in self.decisions if not each.is_kept]


async def plan_repository(db: Database, repository_id: int, repository: RepositoryName, rules: Rules) -> Plan:
    """What the rules come to in a repository at this moment. Reads only, a few rows at a time."""
    fixing = await read_rules_for(db, repository)
    tags = await _read_tags(db, repository_id, repository, fixing)
    # a hundred thousand of them take a second: in a thread, others go on meanwhile
    judge, decisions = await asyncio.to_thread(_decide, tags, rules, repository)
    await _ask_for_children(db, judge, decisions)
    leaving = await _follow(db, tags, decisions)
    ordered = [decisions[tag.name] for tag in tags]
    frees_bytes = await measure(db, leaving)
    return Plan(repository, rules, fixing, ordered, leaving, frees_bytes, judge.newest)


def _decide(
    tags: Sequence[TagState], rules: Rules, repository: RepositoryName
) -> tuple[Judge, dict[str, Decision]]:
    judge = Judge(tags, rules.concerning(repository), rules.now, rules.pulls_since)
    return judge, {tag.name: judge.decide(tag) for tag in tags}


async def _read_tags(
    db: Database, repository_id: int, repository: RepositoryName, fixing: Sequence[ImmutabilityRule]
) -> list[TagState]:
    read: list[TagRow] = []
    while True:
        some = await rows.list_tags(db, repository_id, read[-1].name if read else "")
        read += some
        if len(some) < rows.ASKED_AT_ONCE:
            break
        await asyncio.sleep(0)
    belongings = {row.name: subject for row in read if (subject := _subject_of(row)) is not None}
    subjects = await rows.find_manifests(db, repository_id, list(dict.fromkeys(belongings.values())))

    def state_all() -> list[TagState]:
        return [_state(row, repository, fixing, belongings.get(row.name), subjects) for row in read]

    return await asyncio.to_thread(state_all)


def _subject_of(row: TagRow) -> str | None:
    """The digest of what a tag is there for: by its name, else by its manifest."""
    named = _OF_SUBJECT.fullmatch(row.name)
    return row.subject if named is None else f"{named[1]}:{named[2]}"


def _state(
    row: TagRow,
    repository: RepositoryName,
    fixing: Sequence[ImmutabilityRule],
    subject: str | None,
    subjects: dict[str, tuple[int, bool]],
) -> TagState:
    rule = find_fixing(fixing, repository, row.name)
    fixed = "pinned" if row.is_pinned else None if rule is None else f"immutable by rule {rule.id}"
    found = None if subject is None else subjects.get(subject)
    # a list of referrers is of what it lists, not of itself
    subject_id = None if found is None or found[0] == row.manifest else found[0]
    is_signature = _OF_SUBJECT.fullmatch(row.name) is not None
    return TagState(
        row.name,
        row.manifest,
        row.moved_at,
        row.pulled_at,
        row.version_key,
        fixed,
        # a referrer with a tag of its own, whose subject is gone, stands for itself
        "served"
        if subject_id is not None and not (found and found[1])
        else "trashed"
        if subject_id is not None
        else "gone"
        if is_signature
        else "itself",
        subject_id if is_signature else None,
    )


async def _ask_for_children(db: Database, judge: Judge, decisions: dict[str, Decision]) -> None:
    """An index is pulled when one of its children is: look, where that may keep it."""
    asked: dict[int, int | None] = {}
    for name, decision in decisions.items():
        if decision.is_kept or not judge.asks_for_pulls:
            continue
        tag = decision.tag
        if tag.manifest not in asked:
            asked[tag.manifest] = await rows.find_pulled_children(db, tag.manifest)
            await asyncio.sleep(0)
        pulled_at = asked[tag.manifest]
        if pulled_at is not None:
            decisions[name] = judge.decide(tag.pulled(pulled_at))


async def _follow(db: Database, tags: Sequence[TagState], decisions: dict[str, Decision]) -> dict[int, str]:
    """Let signatures go with what they sign, theirs with them; the manifests that leave, each with a tag."""
    signatures: dict[int, list[TagState]] = {}
    for tag in tags:
        if tag.belongs == "served" and tag.subject is not None and tag.fixed is None:
            signatures.setdefault(tag.subject, []).append(tag)
    shared = await asyncio.to_thread(tags_by_manifest, tags)
    while True:
        leaving = await find_leaving(db, shared, decisions)
        followers = [tag for row in leaving for tag in signatures.pop(row, ())]
        if not followers:
            return leaving
        for tag in followers:
            assert tag.subject is not None  # noqa: S101 - chosen so
            with_tag = decisions[leaving[tag.subject]]
            why = f"goes with {with_tag.tag.name}, which it belongs to"
            decisions[tag.name] = Decision(tag, is_kept=False, why=why, rule=with_tag.rule)


def tags_by_manifest(tags: Iterable[TagState]) -> dict[int, list[TagState]]:
    """Tags that share a manifest, together."""
    shared: dict[int, list[TagState]] = {}
    for tag in tags:
        shared.setdefault(tag.manifest, []).append(tag)
    return shared
