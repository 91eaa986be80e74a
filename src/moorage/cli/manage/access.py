"""`moorage access`: why someone may or may not; and all of it as a file."""

from typing import Annotated

import typer

from moorage.cli.manage.session import Session, managing

app = typer.Typer(help="What someone may do, and why.", no_args_is_help=True)


@app.command()
@managing
def explain(
    session: Session,
    account: Annotated[
        str,
        typer.Argument(
            metavar="WHO", help="An account; anonymous: someone not signed in.", show_default=False
        ),
    ],
    action: Annotated[
        str, typer.Argument(metavar="ACTION", help="pull, push, delete or admin.", show_default=False)
    ],
    repository: Annotated[str, typer.Argument(metavar="REPOSITORY", show_default=False)],
) -> None:
    """Say whether someone may do this to a repository, and by which rule."""
    found = session.client.get("access", "explain", account=account, action=action, repository=repository)
    session.show.done(f"{'yes' if found['is_allowed'] else 'no'}: {found['rule']}", found)


@managing
def whoami(session: Session) -> None:
    """Show as whom the registry knows you."""
    session.show.facts(session.client.get("whoami"))
