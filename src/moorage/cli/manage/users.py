"""`moorage user`: people and robots."""

from typing import Annotated, Any

import typer

from moorage.cli.manage.asking import PasswordStdinOption, ask_new_password, ask_password
from moorage.cli.manage.session import Session, managing

app = typer.Typer(help="People and robots.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]
RoleOption = Annotated[
    str | None,
    typer.Option(
        "--role",
        help="member, auditor (looks at everything) or admin (may do everything).",
        show_default=False,
    ),
]
DescriptionOption = Annotated[
    str | None, typer.Option("--description", help="For people to read.", show_default=False)
]
_COLUMNS = {
    "name": "NAME",
    "kind": "KIND",
    "role": "ROLE",
    "is_disabled": "DISABLED",
    "has_password": "PASSWORD",
    "description": "DESCRIPTION",
    "created_at": "CREATED",
}


@app.command("add")
@managing
def add(
    session: Session,
    name: NameArgument,
    *,
    is_robot: Annotated[bool, typer.Option("--robot", help="A robot: it has tokens, no password.")] = False,
    role: RoleOption = None,
    description: DescriptionOption = None,
    password_stdin: PasswordStdinOption = False,
    has_none: Annotated[
        bool, typer.Option("--no-password", help="A person who signs in elsewhere, or gets a password later.")
    ] = False,
) -> None:
    """Add a person, whose password is asked for, or a robot.

    A person gets a namespace of the same name, private and their own.
    """
    body = _given(name=name, kind="robot" if is_robot else "person", role=role, description=description)
    if not is_robot and not has_none:
        body["password"] = ask_new_password(name, from_stdin=password_stdin)
    account = session.client.post("accounts", body=body)
    sentence = f"{account['name']} is a {account['kind']} and {account['role']} now."
    if is_robot:
        sentence += f" Give it a token: moorage token create ci --for {name}"
    session.show.done(sentence, account)


@app.command("list")
@managing
def list_all(session: Session) -> None:
    """List all people and robots."""
    session.show.table(session.client.items("accounts"), _COLUMNS, "There are no accounts yet.")


@app.command()
@managing
def show(session: Session, name: NameArgument) -> None:
    """Show a person or a robot."""
    session.show.facts(session.client.get("accounts", name))


@app.command("set")
@managing
def change(
    session: Session, name: NameArgument, *, role: RoleOption = None, description: DescriptionOption = None
) -> None:
    """Change the role or the description."""
    body = _given(role=role, description=description)
    if not body:
        raise typer.BadParameter("say what to change: --role or --description")
    account = session.client.patch("accounts", name, body=body)
    session.show.done(f"{name} is {account['role']} now.", account)


@app.command()
@managing
def disable(session: Session, name: NameArgument) -> None:
    """Let no one sign in as this account, nor by its tokens, from this moment."""
    account = session.client.patch("accounts", name, body={"is_disabled": True})
    session.show.done(f"{name} is disabled.", account)


@app.command()
@managing
def enable(session: Session, name: NameArgument) -> None:
    """Let a disabled account sign in again."""
    account = session.client.patch("accounts", name, body={"is_disabled": False})
    session.show.done(f"{name} is enabled.", account)


@app.command()
@managing
def passwd(session: Session, name: NameArgument, *, password_stdin: PasswordStdinOption = False) -> None:
    """Set a password.

    Your own needs the present one too: with --password-stdin, on the line before the new one.
    """
    body = {}
    if session.client.get("whoami")["name"] == name:
        body["current_password"] = ask_password(name, from_stdin=password_stdin)
    body["password"] = ask_new_password(name, from_stdin=password_stdin)
    session.client.put("accounts", name, "password", body=body)
    session.show.done(f"{name} has a new password.", {"name": name})


@app.command()
@managing
def remove(session: Session, name: NameArgument) -> None:
    """Remove an account with its tokens and grants. What it owned is the administrators' then."""
    session.client.delete("accounts", name)
    session.show.done(f"{name} is removed.", {"name": name})


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
