"""Retention: the endpoints and their documents."""

import asyncio
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from moorage.api.gate import Needs
from moorage.api.manage.documents import IdPage, Page, Pattern, collect, time_of
from moorage.api.manage.jobs import JobReply, show
from moorage.api.manage.routes import Ask, NoQuery, Route
from moorage.errors import FieldInvalid, NameUnknown, RuleUnknown
from moorage.identity.access.patterns import check_pattern
from moorage.identity.managing.administering import check_may_administer, may_see_rules
from moorage.lifecycle.retention import rows, rules, running
from moorage.lifecycle.retention.planning import Plan, Rules, plan_repository
from moorage.lifecycle.retention.rows import RetentionRule
from moorage.lifecycle.retention.saying import describe
from moorage.oci.names import RepositoryName, is_repository_name
from moorage.records.jobs.managing import get_job
from moorage.registry.repositories.rows import get_repository

Count = Annotated[int, Meta(ge=1, le=rules.KEEP_NEWEST_MAX)]
Seconds = Annotated[int, Meta(ge=3600, le=36_500 * 86_400, description="in seconds")]
TagPattern = Annotated[
    str, Meta(min_length=1, max_length=255, description="tags: `v1.*`, or an expression after `re:`")
]


class RetentionRuleReply(Struct, frozen=True):
    """A rule. A tag of its pattern stays that one of the `keep_` is true of; null says nothing.

    By the schedule it takes nothing before `in_effect_from`.
    """

    id: int
    scope: str
    pattern: str
    keep_newest: int | None
    newest_by: rows.NewestBy
    keep_pushed_s: int | None
    keep_pulled_s: int | None
    in_effect_from: datetime
    created_at: datetime
    created_by: str
    says: str


class NewRetentionRule(Struct, frozen=True, forbid_unknown_fields=True):
    """A rule to be made. What was pushed counts as pulled then; ages only ever keep."""

    scope: Pattern
    pattern: TagPattern
    keep_newest: Count | None = None
    newest_by: rows.NewestBy = "time"
    keep_pushed_s: Seconds | None = None
    keep_pulled_s: Seconds | None = None


class PlanQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Of which repositories, and which part: whole repositories, with at least `n` tags."""

    scope: Pattern = "*"
    n: Annotated[int, Meta(ge=1, le=10_000, description="how many at least")] = 1000
    after: Annotated[str, Meta(max_length=255, description="what `next` of the page before says")] = ""


class PlannedTag(Struct, frozen=True):
    """What is to become of a tag, and the rule that decided; null where none did.

    `frees_bytes`: what leaves the disk with it; what several tags need is counted at the first of them.
    """

    repository: str
    tag: str
    decision: Literal["keep", "remove"]
    why: str
    rule: int | None
    frees_bytes: int


class RunAsked(Struct, frozen=True, forbid_unknown_fields=True):
    """Over which repositories to follow the rules now, also those that wait; those of it wait no longer."""

    scope: Pattern


def show_rule(rule: RetentionRule) -> RetentionRuleReply:
    """A rule as the API shows it."""
    return RetentionRuleReply(
        rule.id,
        rule.scope,
        rule.pattern,
        rule.keep_newest,
        rule.newest_by,
        None if rule.keep_pushed_ms is None else rule.keep_pushed_ms // 1000,
        None if rule.keep_pulled_ms is None else rule.keep_pulled_ms // 1000,
        time_of(rule.in_effect_from),
        time_of(rule.created_at),
        rule.created_by,
        describe(rule),
    )


async def list_all(ask: Ask[None, IdPage]) -> Page[RetentionRuleReply]:
    """A page of the rules that the caller could remove; for auditors of all."""
    db, caller = ask.services.db, ask.caller
    return await collect(
        lambda after, limit: rows.list_rules(db, after, limit),
        ask.query.after,
        ask.query.n,
        lambda rule: rule.id,
        lambda rule: may_see_rules(db, caller, rule.scope),
        show_rule,
    )


async def create(ask: Ask[NewRetentionRule, NoQuery]) -> RetentionRuleReply:
    """Make a rule."""
    new = ask.body
    keeps = rules.Keeps(
        new.keep_newest,
        new.newest_by,
        None if new.keep_pushed_s is None else timedelta(seconds=new.keep_pushed_s),
        None if new.keep_pulled_s is None else timedelta(seconds=new.keep_pulled_s),
    )
    wait = ask.services.settings.retention.wait
    return show_rule(
        await rules.create_rule(ask.services.db, ask.caller, ask.actor, new.scope, new.pattern, keeps, wait)
    )


async def get(ask: Ask[None, NoQuery]) -> RetentionRuleReply:
    """One rule."""
    rule = await rows.get_rule(ask.services.db, ask.id)
    if not await may_see_rules(ask.services.db, ask.caller, rule.scope):
        raise RuleUnknown(id=ask.id)
    return show_rule(rule)


async def delete(ask: Ask[None, NoQuery]) -> None:
    """Remove a rule."""
    await rules.delete_rule(ask.services.db, ask.caller, ask.actor, ask.id)


async def plan(ask: Ask[None, PlanQuery]) -> Page[PlannedTag]:
    """What a run over these repositories would do now, tag by tag."""
    db, query = ask.services.db, ask.query
    scope = check_pattern(query.scope)
    found = await running.read_rules(db, running.ALL_BEGUN)
    planned: list[PlannedTag] = []
    if is_repository_name(scope):
        if not await ask.services.gate.may(ask.caller, scope, "pull"):
            raise NameUnknown(name=scope)
        made = await plan_repository(db, await get_repository(db, scope), scope, found)
        return Page(_show_plan(made), None)
    if query.after and not is_repository_name(query.after):
        raise FieldInvalid(field="after", reason="want what `next` of the page before says")
    last = query.after
    async for name in running.list_ruled(db, scope, found, query.after):
        # rows are read on the loop: others go in between
        await asyncio.sleep(0)
        if not await ask.services.gate.may(ask.caller, name, "pull"):
            continue
        if len(planned) >= query.n:
            return Page(planned, last)
        planned += await _plan_there(ask, name, found)
        last = name
    return Page(planned, None)


async def _plan_there(ask: Ask[None, PlanQuery], name: RepositoryName, found: Rules) -> list[PlannedTag]:
    """Nothing for a repository that has gone since it was listed."""
    try:
        repository_id = await get_repository(ask.services.db, name)
    except NameUnknown:
        return []
    return _show_plan(await plan_repository(ask.services.db, repository_id, name, found))


def _show_plan(plan: Plan) -> list[PlannedTag]:
    return [
        PlannedTag(
            plan.repository,
            each.tag.name,
            "keep" if each.is_kept else "remove",
            each.why,
            each.rule,
            plan.frees_bytes.get(each.tag.name, 0),
        )
        for each in plan.decisions
    ]


async def run(ask: Ask[RunAsked, NoQuery]) -> JobReply:
    """Follow the rules now."""
    db, scope = ask.services.db, check_pattern(ask.body.scope)
    await check_may_administer(db, ask.caller, scope)
    return show(await get_job(db, await running.ask_for_run(db, scope, ask.actor)))


ROUTES: Final = (
    Route(
        "GET",
        "/retention/rules",
        list_all,
        Needs.ACCOUNT,
        Page[RetentionRuleReply],
        "The rules of retention that one could remove; for auditors all.",
        query=IdPage,
    ),
    Route(
        "POST",
        "/retention/rules",
        create,
        Needs.ACCOUNT,
        RetentionRuleReply,
        "Say which tags stay, in repositories of which one has `admin`; the others go to the trash.",
        status=201,
        body=NewRetentionRule,
    ),
    Route("GET", "/retention/rules/{id}", get, Needs.ACCOUNT, RetentionRuleReply, "One rule of retention."),
    Route(
        "DELETE",
        "/retention/rules/{id}",
        delete,
        Needs.ACCOUNT,
        None,
        "Remove a rule of retention.",
        status=204,
    ),
    Route(
        "GET",
        "/retention/plan",
        plan,
        Needs.ACCOUNT,
        Page[PlannedTag],
        "What a run would do now to each tag that one may pull, and the bytes that it would free.",
        query=PlanQuery,
    ),
    Route(
        "POST",
        "/retention/runs",
        run,
        Needs.ACCOUNT,
        JobReply,
        "Follow the rules now, in repositories of which one has `admin`.",
        status=202,
        body=RunAsked,
    ),
)
