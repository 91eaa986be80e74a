"""`moorage token`: secrets that stand for an account, with limits of their own."""

from typing import Annotated, Any

import typer

from moorage.cli.manage.session import Session, managing
from moorage.cli.manage.showing import shown
from moorage.cli.manage.words import read_scope

app = typer.Typer(help="Tokens: for CI, for scripts, instead of a password.", no_args_is_help=True)
IdArgument = Annotated[int, typer.Argument(metavar="ID", show_default=False)]
ForOption = Annotated[
    str | None, typer.Option("--for", metavar="ACCOUNT", help="Default: yourself.", show_default=False)
]


@app.command()
@managing
def create(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.", show_default=False)],
    *,
    account: ForOption = None,
    scopes: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            metavar="ACTIONS:PATTERN",
            help="Only this, as 'push:team/*'; may be repeated. Default: all that the account may.",
            show_default=False,
        ),
    ] = None,
    days: Annotated[
        int | None, typer.Option("--days", help="How long. Default: 90.", show_default=False)
    ] = None,
) -> None:
    """Make a token. Its secret is shown this once."""
    body: dict[str, Any] = {"name": name, "account": account, "expires_in_days": days}
    body = {key: value for key, value in body.items() if value is not None}
    if scopes:
        body["scopes"] = [read_scope(each) for each in scopes]
    token = session.client.post("tokens", body=body)
    if session.show.as_json:
        session.show.json(token)
        return
    typer.echo(f"Token {token['id']} ({name}) of {token['account']}, until {shown(token['expires_at'])}:\n")
    typer.echo(f"  {token['secret']}\n")
    typer.echo("It is not shown again. It is a password for `docker login`, and a Bearer token for the API.")


@app.command("list")
@managing
def list_all(session: Session, *, account: ForOption = None) -> None:
    """List tokens."""
    columns = {
        "id": "ID",
        "name": "NAME",
        "account": "ACCOUNT",
        "scopes": "SCOPES",
        "expires_at": "EXPIRES",
        "last_used_at": "LAST USED",
        "last_used_from": "FROM",
        "revoked_at": "REVOKED",
    }
    session.show.table(session.client.items("tokens", account=account), columns, "There are no tokens.")


@app.command()
@managing
def show(session: Session, token: IdArgument) -> None:
    """Show a token, without its secret."""
    session.show.facts(session.client.get("tokens", str(token)))


@app.command()
@managing
def revoke(session: Session, token: IdArgument) -> None:
    """Let a token count no more, from this moment."""
    session.client.delete("tokens", str(token))
    session.show.done(f"Token {token} is revoked.", {"id": token})
