"""`moorage connect`: on a client, let the names it uses go through a registry; show, write or undo it."""

import os
import ssl
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from moorage.cli.connect import containerd, docker, kubernetes, podman, telling
from moorage.cli.connect.files import Files
from moorage.cli.connect.reaching import choose_upstreams, find_root, read_registry
from moorage.cli.connect.setup import Registry, Unwritable
from moorage.cli.manage.asking import ask_password
from moorage.cli.manage.client import Refused, Unreachable
from moorage.cli.manage.remote import authorization
from moorage.cli.manage.session import (
    REGISTRY_VARIABLE,
    AuthorityOption,
    JsonOption,
    RegistryOption,
    TokenFileOption,
    UserOption,
    read_token,
    refuse,
)
from moorage.cli.trust import check_fingerprint, show_root
from moorage.web.trust import certificate_path, fingerprint

_SET_UPS = {
    "docker": docker.set_up,
    "containerd": containerd.set_up,
    "podman": podman.set_up,
    "kubernetes": kubernetes.set_up,
}


class Client(StrEnum):
    """Who is to be connected."""

    DOCKER = "docker"
    CONTAINERD = "containerd"
    PODMAN = "podman"
    KUBERNETES = "kubernetes"


def connect(
    client: Annotated[Client, typer.Argument(help="podman stands for buildah, skopeo and CRI-O too.")],
    registry: RegistryOption = None,
    upstreams: Annotated[
        list[str] | None,
        typer.Option(
            "--upstream",
            metavar="NAME",
            help="As docker.io; may be repeated. Default: all that the registry tells of.",
            show_default=False,
        ),
    ] = None,
    expected: Annotated[
        str | None,
        typer.Option(
            "--fingerprint", help="SHA-256 of its root: ask nothing, refuse any other.", show_default=False
        ),
    ] = None,
    root: Annotated[Path, typer.Option(help="Work below this folder, as for an image being built.")] = Path(
        "/"
    ),
    ca: AuthorityOption = None,
    user: UserOption = None,
    token_file: TokenFileOption = None,
    *,
    write: Annotated[bool, typer.Option("--write", help="Write what is shown, on this machine.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Put back what was there.")] = False,
    daemonset: Annotated[
        bool, typer.Option("--daemonset", help="For kubernetes: print YAML that does it on all nodes.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Let this machine's client pull by the names it uses anyway, through the registry."""
    if daemonset and (client != Client.KUBERNETES or write or as_json):
        raise typer.BadParameter("--daemonset is for kubernetes, and only printed, for kubectl")
    try:
        files = _open(client, root)
        if undo and not daemonset:
            _undo(client, files, as_json=as_json)
            return
        found, is_known = _reach(client, registry, ca, expected, files, must_know=write, is_script=as_json)
        # whoever may be in between gets no credentials
        password = ask_password(user) if user and is_known else None
        credentials = authorization(read_token(token_file), user, password) if is_known else None
        chosen, word = choose_upstreams(found, upstreams or (), credentials)
        if daemonset:
            typer.echo(kubernetes.daemonset(found, chosen, is_undo=undo), nl=False)
            telling.aside(word)
            return
        setup = _SET_UPS[client](files, found, chosen)
        plan = telling.Plan(client, found, chosen, setup, files.plan(setup), word)
        if not as_json:
            telling.show(plan)
        if write:
            files.write(setup, found.url)
        telling.end(plan, is_written=write, as_json=as_json)
    except (Refused, Unreachable) as refusal:
        refuse(str(refusal))
    except Unwritable as trouble:
        _stop(str(trouble))
    except PermissionError as error:
        _stop(f"may not touch {error.filename}: run this again as root")
    except OSError as error:
        _stop(f"{error}. What was there is put back by: moorage connect {client} --undo")


def _open(client: Client, root: Path) -> Files:
    """The machine's files, with the record of what has been written for this client."""
    if client != Client.KUBERNETES:
        return Files(root, client)
    return Files(root, kubernetes.find_kind(Files(root, "containerd")))


def _undo(client: Client, files: Files, *, as_json: bool) -> None:
    if not files.is_connected:
        telling.nothing_to_undo(client, as_json=as_json)
        return
    steps = files.plan_undo()
    if not as_json:
        telling.show_steps(steps)
    left = files.undo()
    telling.end_undo(client, steps, files.reload, as_json=as_json)
    if left:
        _stop("some files are not as we wrote them, and were left: take out what is not wanted by hand")


def _reach(
    client: Client,
    address: str | None,
    authority: Path | None,
    expected: str | None,
    files: Files,
    *,
    must_know: bool,
    is_script: bool,
) -> tuple[Registry, bool]:
    """The registry with its root, and whether it is known to be the one that is meant.

    Raises Unreachable, Unwritable.
    """
    address = address or os.environ.get(REGISTRY_VARIABLE)
    if not address:
        raise Unreachable(f"which registry? Give --registry https://HOST:PORT, or ${REGISTRY_VARIABLE}")
    found = read_registry(address)
    root = find_root(found, authority)
    registry = Registry(found.scheme, found.host, root)
    if not root:
        return registry, True
    certificate = ssl.PEM_cert_to_DER_cert(root)
    show_root(registry.host, certificate, err=True)
    if expected is not None:
        check_fingerprint(fingerprint(certificate), expected)
        return registry, True
    if authority is not None or _is_installed(client, registry, files):
        return registry, True
    if must_know and is_script:
        raise Unreachable("with --json nobody is asked: give --fingerprint with the root's SHA-256")
    if must_know:
        check_fingerprint(fingerprint(certificate), None)
    return registry, must_know


def _is_installed(client: Client, registry: Registry, files: Files) -> bool:
    """Whether this root is what the client trusts for this registry already."""
    if client == Client.KUBERNETES:
        path = kubernetes.root_path(files, registry.host)
    else:
        path = certificate_path(client, registry.host)
    return files.read(path) == registry.root


def _stop(sentence: str) -> NoReturn:
    """End with our own words, which may be several lines."""
    typer.echo(f"moorage: {sentence}", err=True)
    raise typer.Exit(1)
