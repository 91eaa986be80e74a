"""`moorage retention`: rules by which old tags leave, what they would do, and doing it."""

from collections.abc import Iterable
from typing import Annotated, Literal

import typer

from moorage.cli.manage.client import Fact
from moorage.cli.manage.following import finish
from moorage.cli.manage.session import Session, managing, refuse
from moorage.cli.manage.showing import counted, shown, shown_bytes
from moorage.config_file import read_duration

app = typer.Typer(
    help="Rules by which tags that are of no more use leave, through the trash.", no_args_is_help=True
)
ScopeArgument = Annotated[
    str,
    typer.Argument(
        metavar="[REPO]", help="team/app, or 'team/*' in quotes for all of team.", show_default="all"
    ),
]
_RULES = {"id": "ID", "scope": "REPOSITORIES", "says": "SAYS", "in_effect_from": "FROM", "created_by": "BY"}
_PLAN = {
    "repository": "REPOSITORY",
    "tag": "TAG",
    "decision": "DECISION",
    "rule": "RULE",
    "why": "WHY",
    "frees": "FREES",
}


@app.command("list")
@managing
def list_all(session: Session) -> None:
    """List the rules."""
    found = list(session.client.items("retention", "rules"))
    session.show.table(found, _RULES, "There are no rules: all tags stay.")


@app.command()
@managing
def add(
    session: Session,
    scope: Annotated[
        str,
        typer.Argument(
            metavar="REPO", help="team/app, or 'team/*' in quotes for all of team.", show_default=False
        ),
    ],
    tags: Annotated[
        str,
        typer.Argument(
            metavar="TAGS",
            help="Tags the rule speaks of: '*', 'pr-*', or an expression: 're:pr-[0-9]+'.",
            show_default=False,
        ),
    ],
    *,
    newest: Annotated[
        int | None, typer.Option("--newest", help="Keep the newest so many.", min=1, show_default=False)
    ] = None,
    by: Annotated[
        Literal["time", "version"],
        typer.Option("--by", help="Newest by time of push, or by version: then of versions only."),
    ] = "time",
    pushed: Annotated[
        str | None, typer.Option("--pushed", help="Keep what was pushed within, as 30d.", show_default=False)
    ] = None,
    pulled: Annotated[
        str | None,
        typer.Option("--pulled", help="Keep what was pulled or pushed within, as 90d.", show_default=False),
    ] = None,
) -> None:
    """Make a rule: which of these tags stay. A tag that no rule names stays, too.

    The rule waits for a day before the schedule follows it. `moorage retention plan` shows what it would do.
    """
    if newest is None and pushed is None and pulled is None:
        raise typer.BadParameter("say what stays: --newest, --pushed or --pulled")
    body = {
        "scope": scope,
        "pattern": tags,
        "keep_newest": newest,
        "newest_by": by,
        "keep_pushed_s": _seconds(pushed),
        "keep_pulled_s": _seconds(pulled),
    }
    rule = session.client.post("retention", "rules", body=body)
    session.show.done(
        f"Rule {rule['id']}, in {rule['scope']}: {rule['says']}.\n"
        f"It takes nothing before {shown(rule['in_effect_from'])}. What it would do:"
        f" moorage retention plan {_quoted(scope)}",
        rule,
    )


@app.command()
@managing
def remove(
    session: Session, rules: Annotated[list[int], typer.Argument(metavar="ID...", show_default=False)]
) -> None:
    """Remove rules."""
    for each in rules:
        session.client.delete("retention", "rules", str(each))
    session.show.done(f"Removed: {', '.join(map(str, rules))}.", {"ids": rules})


@app.command()
@managing
def plan(session: Session, scope: ScopeArgument = "*") -> None:
    """Show what a run would do now: each tag, whether it stays, by which rule, and what that frees."""
    planned = _read_plan(session, scope)
    if session.show.as_json:
        session.show.json({"tags": planned, **_sum(planned)})
        return
    rows = [
        {**each, "frees": shown_bytes(each["frees_bytes"]) if each["decision"] == "remove" else ""}
        for each in planned
    ]
    session.show.table(rows, _PLAN, "No rule speaks of any tag there.")
    if planned:
        typer.echo(_describe(planned))


@app.command()
@managing
def run(
    session: Session,
    scope: ScopeArgument = "*",
    *,
    is_sure: Annotated[bool, typer.Option("--yes", help="Do not ask before.")] = False,
) -> None:
    """Put what no rule keeps into the trash, now. Rules that still wait begin to count."""
    planned = _read_plan(session, scope)
    removed = [each for each in planned if each["decision"] == "remove"]
    if not is_sure and removed:
        typer.echo(_describe(planned), err=True)
        if not typer.confirm("Put them into the trash?", err=True):
            refuse("nothing was removed")
    job = session.client.post("retention", "runs", body={"scope": scope})
    result = finish(session, job)
    if "refused" in result:
        refuse(result["refused"])
    freed = shown_bytes(result["frees_bytes"])
    session.show.done(
        f"{counted(result['tags'], 'tag')} {'is' if result['tags'] == 1 else 'are'} gone,"
        f" {counted(result['manifests'], 'manifest')} in the trash;"
        f" {freed} will be free when it is emptied of them.",
        result,
    )


def _read_plan(session: Session, scope: str) -> list[Fact]:
    planned: list[Fact] = []
    after: str | None = None
    while True:
        page = session.client.get("retention", "plan", scope=scope, after=after)
        planned += page["items"]
        after = page["next"]
        if after is None:
            return planned


def _sum(planned: Iterable[Fact]) -> Fact:
    removed = [each for each in planned if each["decision"] == "remove"]
    return {"removes": len(removed), "frees_bytes": sum(each["frees_bytes"] for each in removed)}


def _describe(planned: list[Fact]) -> str:
    total = _sum(planned)
    return (
        f"{total['removes']:,} of {counted(len(planned), 'tag')} would go, which frees"
        f" {shown_bytes(total['frees_bytes'])}."
    )


def _seconds(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return int(read_duration(text).total_seconds())
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: want a length of time, as 12h or 30d") from error


def _quoted(scope: str) -> str:
    return f"'{scope}'" if "*" in scope else scope
