"""`moorage key`: the keys that sign what docker shows with each push and pull."""

import typer

from moorage.cli.manage.session import Session, managing

app = typer.Typer(
    help="The keys that sign bearer tokens; they are rotated by themselves.", no_args_is_help=True
)


@app.command("list")
@managing
def list_all(session: Session) -> None:
    """List the keys, without their private halves."""
    found = session.client.get("keys")
    columns = {"kid": "KEY", "created_at": "CREATED", "retires_at": "RETIRES"}
    session.show.table(found["keys"], columns, "There are no keys yet.")


@app.command()
@managing
def rotate(session: Session) -> None:
    """Sign with a new key from now on; what the old ones signed stays good for its few minutes."""
    key = session.client.post("keys", body={})
    session.show.done(f"New tokens are signed with {key['kid']}.", key)
