"""`moorage upstream`: other registries whose images are had through this one."""

from typing import Annotated

import typer

from moorage.cli.manage.asking import PasswordStdinOption
from moorage.cli.manage.client import Fact
from moorage.cli.manage.namespaces import Visibility
from moorage.cli.manage.session import Session, managing
from moorage.cli.manage.showing import shown_bytes
from moorage.cli.manage.upstream_options import (
    WHAT,
    MaybeNameArgument,
    NameArgument,
    UrlOption,
    UsernameOption,
    ask_secret,
    build_body,
    describing,
)
from moorage.cli.manage.upstream_status import show_status

app = typer.Typer(
    help="Upstreams: other registries, as docker.io, whose images are fetched once and kept.",
    no_args_is_help=True,
)


@app.command("list")
@managing
def list_all(session: Session) -> None:
    """List the upstreams."""
    columns = {
        "name": "NAME",
        "url": "ADDRESS",
        "username": "USER",
        "is_root": "ROOT",
        "alternatives": "ALTERNATIVES",
        "budget": "BUDGET",
        "source": "FROM",
    }
    found = list(session.client.items("upstreams"))
    rows = found if session.show.as_json else [_listed(each) for each in found]
    session.show.table(rows, columns, "There are no upstreams. The first: moorage upstream add docker.io")


def _listed(upstream: Fact) -> Fact:
    budget = upstream["budget_bytes"]
    return {
        **upstream,
        "alternatives": [each["url"] for each in upstream["alternatives"]],
        "budget": "all" if budget is None else shown_bytes(budget),
        "source": "settings" if upstream["is_configured"] else "upstream add",
    }


@app.command()
@managing
def show(session: Session, name: NameArgument) -> None:
    """Show an upstream."""
    session.show.facts(session.client.get("upstreams", name))


@app.command()
@managing
@describing
def add(
    session: Session,
    name: NameArgument,
    body: Fact,
    *,
    visibility: Annotated[
        Visibility | None,
        typer.Option(
            "--visibility",
            help="Who may pull without a grant; else public, or private if it has credentials.",
            rich_help_panel=WHAT,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Add an upstream: docker.io, ghcr.io, quay.io, any registry by its host, or another name and --url.

    Its images are then pulled as HOST/docker.io/library/nginx, or, when clients are set up for it, by their
    usual names: see moorage connect.
    """
    if visibility is not None:
        body["visibility"] = visibility
    made = session.client.post("upstreams", body={**body, "name": name})
    session.show.done(
        f"{name} is mirrored from {made['url']}: pull it as HOST/{_example(name)}.\n"
        f"Whether it answers: moorage upstream test {name}. To pull by the usual names: moorage connect",
        made,
    )


@app.command("set")
@managing
@describing
def change(session: Session, name: NameArgument, body: Fact) -> None:
    """Change what is given of an upstream; a list is replaced by what is given, 'none' empties it.

    With another address the password has to be given again.
    """
    if not body:
        raise typer.BadParameter("say what to change; see --help")
    changed = session.client.patch("upstreams", name, body=body)
    session.show.done(f"{name} is changed.", changed)


@app.command()
@managing
def remove(
    session: Session,
    name: NameArgument,
    *,
    keep: Annotated[bool, typer.Option("--keep-images", help="Its images become local ones.")] = False,
    delete: Annotated[bool, typer.Option("--delete-images", help="Its images go to the trash.")] = False,
) -> None:
    """Forget an upstream. If there are images of it, say what becomes of them."""
    if keep and delete:
        raise typer.BadParameter("give --keep-images or --delete-images, not both")
    images = "keep" if keep else "delete" if delete else None
    removed = session.client.delete("upstreams", name, images=images)
    said = [f"{name} is no upstream any more."]
    if removed["kept"]:
        said.append(f"{removed['kept']:,} repositories stay as local ones.")
    if removed["deleted"]:
        said.append(f"{removed['deleted']:,} repositories are in the trash: moorage trash list")
    session.show.done("\n".join(said), removed)


@app.command("test")
@managing
def try_lines(
    session: Session,
    name: NameArgument,
    *,
    url: UrlOption = None,
    username: UsernameOption = None,
    password_stdin: PasswordStdinOption = False,
) -> None:
    """Ask an upstream and its alternatives whether they answer; exit 1 if one does not.

    With --url that address is asked, as it would be after a change.
    """
    secret = ask_secret(username, from_stdin=password_stdin)
    body = build_body(url=url, username=username, password=secret)
    tested = session.client.post("upstreams", name, "test", body=body)
    addresses = tested["addresses"]
    if session.show.as_json:
        session.show.json(tested)
    else:
        for each in addresses:
            what = f"answers, in {each['seconds']:.2f} s" if each["error"] is None else each["error"]
            typer.echo(f"{each['url']}: {what}")
    if any(each["error"] is not None for each in addresses):
        raise typer.Exit(1)


@app.command()
@managing
def disconnect(session: Session, name: MaybeNameArgument = None) -> None:
    """Let an upstream, or all, be asked no more. What is here is served on, however old."""
    path = ("upstreams", "disconnection") if name is None else ("upstreams", name, "disconnection")
    switched = session.client.put(*path)
    names = switched["upstreams"]
    already = "There is no upstream." if name is None else f"{name} was disconnected already."
    done = (
        f"Disconnected: {', '.join(names)}. To connect again: moorage upstream connect {name or ''}".rstrip()
    )
    session.show.done(done if names else already, switched)


@app.command()
@managing
def connect(session: Session, name: MaybeNameArgument = None) -> None:
    """Let an upstream, or all, be asked again."""
    path = ("upstreams", "disconnection") if name is None else ("upstreams", name, "disconnection")
    switched = session.client.delete(*path)
    names = switched["upstreams"]
    done = f"Connected: {', '.join(names)}." if names else "It was not disconnected."
    session.show.done(done, switched)


@app.command()
@managing
def status(session: Session, name: MaybeNameArgument = None) -> None:
    """Show whether upstreams answer, what they last said, what is kept of them, and what that saves."""
    if name is None:
        found = list(session.client.items("upstreams", "status"))
    else:
        found = [session.client.get("upstreams", name, "status")]
    show_status(session, found)


def _example(name: str) -> str:
    return f"{name}/library/nginx" if name == "docker.io" else f"{name}/REPOSITORY"
