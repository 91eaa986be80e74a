"""`moorage trust`: on a client, let its programs trust a registry's root once it has been compared."""

import http.client
import os
import shutil
import ssl
import subprocess
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from moorage.cli.manage.remote import why_not
from moorage.web.trust import (
    ROOT,
    ROOT_MAX_BYTES,
    Trust,
    certificate_path,
    containerd_hosts,
    fingerprint,
    is_address,
)

_ANSWERS_WITHIN_S = 15.0
_PROGRAMS = {"docker": "dockerd", "containerd": "containerd", "podman": "podman"}
_ALSO_PODMAN = ("skopeo", "buildah")
_SYSTEMS = {"debian": "update-ca-certificates", "rhel": "update-ca-trust"}
_SEARCH_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


class Client(StrEnum):
    """Who is to trust the registry."""

    DOCKER = "docker"
    CONTAINERD = "containerd"
    PODMAN = "podman"
    SYSTEM = "system"


def trust(
    address: Annotated[str, typer.Argument(metavar="HOST:PORT", help="The registry as you name it.")],
    expected: Annotated[
        str | None,
        typer.Option(
            "--fingerprint", help="SHA-256 of its root: ask nothing, refuse any other.", show_default=False
        ),
    ] = None,
    clients: Annotated[
        list[Client] | None,
        typer.Option("--for", help="Who is to trust it; may be repeated. Default: all found here."),
    ] = None,
    root: Annotated[Path, typer.Option(help="Write below this folder, as for an image being built.")] = Path(
        "/"
    ),
) -> None:
    """Let this machine's clients trust the registry at HOST:PORT."""
    if not is_address(address):
        _refuse(f"{address!r} is not HOST:PORT, as registry.local:5000")
    certificate = fetch_root(address)
    found = fingerprint(certificate)
    show_root(address, certificate)
    check_fingerprint(found, expected)
    chosen = [each.value for each in clients or _find_clients(root)]
    if not chosen:
        _refuse("found no docker, containerd, podman, skopeo or buildah here; say for whom with --for")
    for each in chosen:
        try:
            _install(each, address, certificate, root)
        except PermissionError as error:
            line = Trust(address, found).line("debian" if each == "system" else each)
            _refuse(f"may not write {error.filename}. Run this again as root, or paste this line:\n  {line}")
        except (OSError, subprocess.SubprocessError) as error:
            _refuse(f"could not let {each} trust it: {error}")


def show_root(address: str, certificate: bytes, *, err: bool = False) -> None:
    """Say whose root it is, and its fingerprint; with `err` on standard error."""
    typer.echo(f"{address} shows a root certificate: {_subject_of(certificate)}", err=err)
    typer.echo(f"  SHA-256 {fingerprint(certificate)}", err=err)


def check_fingerprint(found: str, expected: str | None) -> None:
    """Go on only if the fingerprint is the right one, by what was given or by what a person says."""
    if expected is not None:
        if expected.replace(":", "").lower() != found.replace(":", "").lower():
            _refuse(
                "this is not the fingerprint that was expected: somebody may be in between. Nothing done."
            )
        return
    typer.echo("Compare it with what the registry printed at its start, or ask its administrator.")
    if not typer.confirm("Is it the same?", default=False):
        _refuse("nothing was done")


def fetch_root(address: str) -> bytes:
    """The root as the registry shows it; nobody is trusted yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection(address, timeout=_ANSWERS_WITHIN_S, context=context)
    try:
        connection.request("GET", ROOT.decode())
        reply = connection.getresponse()
        content = reply.read(ROOT_MAX_BYTES)
    except ssl.SSLError as error:
        _refuse(f"{address} does not speak TLS ({error.reason or error}); is this a Moorage with TLS?")
    except (OSError, http.client.HTTPException) as error:
        _refuse(f"{address} does not answer: {why_not(error)}")
    finally:
        connection.close()
    if reply.status != http.HTTPStatus.OK:
        _refuse(f"{address} has no root of its own (status {reply.status}): see https://{address}/trust")
    return content


def _subject_of(certificate: bytes) -> str:
    from cryptography import x509

    try:
        subject = x509.load_der_x509_certificate(certificate).subject.rfc4514_string()
        # it is whoever answered who chose it: it must not draw on the screen
        return subject if subject.isascii() and subject.isprintable() else ascii(subject)
    except ValueError:
        _refuse("what it shows is no certificate")


def _find_clients(root: Path) -> list[Client]:
    """Whose programs are here; below another root, whose folders are there."""
    if root != Path("/"):
        folders = {Client.DOCKER: "docker", Client.CONTAINERD: "containerd", Client.PODMAN: "containers"}
        return [client for client, folder in folders.items() if (root / "etc" / folder).is_dir()]
    found = [Client(word) for word, program in _PROGRAMS.items() if _which(program)]
    if Client.PODMAN not in found and any(map(_which, _ALSO_PODMAN)):
        found.append(Client.PODMAN)
    return found


def _which(program: str) -> str | None:
    return shutil.which(program, path=_SEARCH_PATH)


def _install(client: str, address: str, certificate: bytes, root: Path) -> None:
    """Raises OSError, SubprocessError."""
    text = ssl.DER_cert_to_PEM_cert(certificate)
    if client != Client.SYSTEM:
        path = certificate_path(client, address)
        _write(root / path.relative_to("/"), text)
        if client == Client.CONTAINERD:
            hosts = path.with_name("hosts.toml").relative_to("/")
            _write(root / hosts, containerd_hosts(address))
            typer.echo('  (its config.toml must have config_path = "/etc/containerd/certs.d")')
        return
    for system, program in _SYSTEMS.items():
        if _which(program):
            _write(root / certificate_path(system, address).relative_to("/"), text)
            if root == Path("/"):
                subprocess.run([program], check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own word
                typer.echo(f"ran {program}; programs that run already have to be restarted")
            return
    _refuse("no update-ca-certificates or update-ca-trust here: install the package ca-certificates")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.tmp")
    beside.write_text(text, encoding="utf-8")
    beside.chmod(0o644)
    beside.replace(path)
    typer.echo(f"wrote {path}")


def _refuse(sentence: str) -> NoReturn:
    typer.echo(f"moorage: {sentence}", err=True)
    raise typer.Exit(1)
