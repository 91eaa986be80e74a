"""`moorage admin`: the first administrator, made on the data folder itself."""

from typing import Annotated

import typer

from moorage.cli.manage.asking import PasswordStdinOption, ask_new_password
from moorage.cli.manage.session import Session, managing, refuse

app = typer.Typer(help="The first administrator.", no_args_is_help=True)


@app.command()
@managing
def claim(
    session: Session,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", show_default=False)] = None,
    *,
    password_stdin: PasswordStdinOption = False,
) -> None:
    """Make the first administrator, as the link does that the first start prints."""
    if next(iter(session.client.items("accounts")), None) is not None:
        refuse(
            "this registry has been claimed. To make another administrator:"
            " moorage user add NAME --role admin; for a forgotten password: moorage user passwd NAME"
        )
    name = name or typer.prompt("Name of the first administrator", err=True)
    password = ask_new_password(name, from_stdin=password_stdin)
    body = {"name": name, "kind": "person", "role": "admin", "password": password}
    account = session.client.post("accounts", body=body)
    session.show.done(
        f"{account['name']} administers this registry now; everyone has to sign in from this moment.", account
    )
