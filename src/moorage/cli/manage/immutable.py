"""`moorage immutable`: tags that stay where they are."""

from typing import Annotated

import typer

from moorage.cli.manage.session import Session, managing

app = typer.Typer(
    help="Immutable tags: what they point to cannot be changed, nor they deleted.", no_args_is_help=True
)


@app.command()
@managing
def add(
    session: Session,
    scope: Annotated[
        str,
        typer.Argument(
            metavar="SCOPE", help="team/app, or 'team/*' in quotes for all of team.", show_default=False
        ),
    ],
    pattern: Annotated[
        str | None,
        typer.Argument(metavar="[TAGS]", help="As '1.*', or re:EXPRESSION.", show_default=False),
    ] = None,
    *,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            help="versions: all like 1.2.3, v1.2.3-rc1, 2024.1.31; 1, 1.2, latest and branches still move.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Fix the tags of a pattern, those that are there and those to come. Signatures can still be written."""
    from moorage.registry.tags.immutability import PRESETS, said

    if (pattern is None) == (preset is None):
        raise typer.BadParameter("give either TAGS or --preset versions")
    if preset is not None:
        pattern = PRESETS.get(preset)
        if pattern is None:
            raise typer.BadParameter(f"there is no preset {preset!r}; there is: {', '.join(PRESETS)}")
    rule = session.client.post("immutability", body={"scope": scope, "pattern": pattern})
    session.show.done(f"Rule {rule['id']} fixes tags in {rule['scope']}: {said(rule['pattern'])}.", rule)
    if preset is None and pattern in PRESETS:
        typer.echo(
            f"moorage: that is the one tag called {pattern}. For the preset:"
            f" moorage immutable remove {rule['id']}, then"
            f" moorage immutable add '{scope}' --preset {pattern}",
            err=True,
        )


@app.command("list")
@managing
def list_all(session: Session) -> None:
    """List the rules that fix tags."""
    from moorage.registry.tags.immutability import said

    columns = {"id": "ID", "scope": "SCOPE", "pattern": "TAGS", "created_by": "BY", "created_at": "CREATED"}
    rules = list(session.client.items("immutability"))
    if not session.show.as_json:
        rules = [rule | {"pattern": said(rule["pattern"])} for rule in rules]
    session.show.table(rules, columns, "No rule fixes tags.")


@app.command()
@managing
def remove(
    session: Session, rules: Annotated[list[int], typer.Argument(metavar="ID...", show_default=False)]
) -> None:
    """Remove rules: their tags can be moved and deleted again."""
    for each in rules:
        session.client.delete("immutability", str(each))
    session.show.done(f"Removed: {', '.join(map(str, rules))}.", {"ids": rules})
