"""`moorage doctor`: what would keep the registry from running well on this machine, or from being reached."""

import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

import typer

from moorage.certificates.choice import uses_tls
from moorage.cli.manage.asking import PasswordStdinOption, ask_password
from moorage.cli.manage.remote import authorization
from moorage.cli.manage.session import (
    AuthorityOption,
    TokenFileOption,
    UserOption,
    read_token,
    refusals_told,
)
from moorage.cli.serve import INSECURE
from moorage.cli.settings import ConfigOption, DataOption, ListenOption, load_or_exit
from moorage.config import Settings
from moorage.setting import GIB, MIB

_SYNC_SLOW_S = 0.1
_FILES_MIN = 4096
_EXPIRY_NEAR = timedelta(days=14)
_MARKS = {"ok": "✓", "warning": "!", "problem": "✗"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found, and what to do about it."""

    check: str
    state: Literal["ok", "warning", "problem"]
    said: str


def doctor(
    address: Annotated[
        str | None,
        typer.Argument(
            metavar="[HOST:PORT]",
            help="A registry that runs, to be looked at as its clients see it. Without it: this machine.",
            show_default=False,
        ),
    ] = None,
    listen: ListenOption = None,
    data: DataOption = None,
    config: ConfigOption = None,
    user: UserOption = None,
    token_file: TokenFileOption = None,
    ca: AuthorityOption = None,
    *,
    password_stdin: PasswordStdinOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
) -> None:
    """Check this machine for what keeps a registry from running well; or a running one from a client's side.

    Exit 1 when something must be mended. Credentials let it try an upload too, which it takes back.
    """
    if address is None:
        settings = load_or_exit(config, listen, data)
        findings = [check(settings) for check in _CHECKS]
    else:
        from moorage.cli.probing.visit import visit

        with refusals_told():
            password = None if user is None else ask_password(user, from_stdin=password_stdin)
            findings = visit(address, authorization(read_token(token_file), user, password), ca)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            typer.echo(f"{_MARKS[finding.state]} {finding.check:9} {finding.said}")
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(1)


def _folder(settings: Settings) -> Finding:
    data = settings.storage.data
    if not data.exists():
        return Finding("folder", "ok", f"{data} is not there yet; the first start makes it")
    if not data.is_dir() or not os.access(data, os.R_OK | os.W_OK | os.X_OK):
        return Finding(
            "folder", "problem", f"{data} cannot be written to by this user; mend its owner or mode"
        )
    if data.stat().st_mode & 0o077:
        return Finding("folder", "warning", f"{data} can be read by other users: chmod 700 {data}")
    exposed = _find_exposed(settings)
    if exposed is not None:
        return Finding("folder", "problem", f"{exposed} can be read by other users: chmod 600 {exposed}")
    return Finding("folder", "ok", f"{data.resolve()}")


def _find_exposed(settings: Settings) -> Path | None:
    """A file with secrets in it, hashes of passwords or private keys, that others could read."""
    data, key = settings.storage.data, settings.tls.key
    files = [*data.glob("moorage.db*"), *data.glob("tls/*"), *([] if key is None else [key])]
    return next((each for each in files if each.exists() and each.stat().st_mode & 0o077), None)


def _existing(settings: Settings) -> str:
    folder = settings.storage.data.resolve()
    while not folder.exists():
        folder = folder.parent
    return str(folder)


def _size(size: int) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / MIB:.0f} MiB"


def _disk(settings: Settings) -> Finding:
    usage = shutil.disk_usage(_existing(settings))
    reserve = min(int(settings.storage.reserve), usage.total // 20)
    said = f"{_size(usage.free)} free of {_size(usage.total)}"
    if usage.free < reserve:
        return Finding(
            "disk", "problem", f"{said}: pushes are refused below {reserve / MIB:.0f} MiB; make room"
        )
    return Finding("disk", "ok", said)


def _sync(settings: Settings) -> Finding:
    try:
        with tempfile.TemporaryFile(dir=_existing(settings)) as file:
            started = time.perf_counter()
            for _ in range(5):
                file.write(b"x" * 4096)
                file.flush()
                os.fsync(file.fileno())
            each_s = (time.perf_counter() - started) / 5
    except OSError as error:
        return Finding(
            "fsync", "problem", f"a file could not be made durable: {error.strerror}; look at the disk"
        )
    if each_s > _SYNC_SLOW_S:
        return Finding(
            "fsync", "warning", f"{each_s * 1000:.0f} ms each: every push waits for two or three of them"
        )
    return Finding("fsync", "ok", f"{each_s * 1000:.1f} ms each")


def _database(settings: Settings) -> Finding:
    import apsw

    path = settings.storage.database
    said = f"SQLite {apsw.sqlitelibversion()}"
    if not path.exists():
        return Finding("database", "ok", f"{said}; none there yet")
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            answer = str(connection.pragma("quick_check", 1))
        finally:
            connection.close()
    except apsw.Error as error:
        return Finding("database", "problem", f"{path}: {error}; move it aside and restore a backup")
    if answer != "ok":
        return Finding("database", "problem", f"{path} is damaged: {answer}; restore a backup")
    return Finding("database", "ok", f"{said}; {path} is sound")


def _jobs(settings: Settings) -> Finding:
    """Whether someone collects garbage, backs up and does what else takes long."""
    from moorage.records.jobs.alive import WORKER, has_worker

    if settings.jobs.beside:
        return Finding("jobs", "ok", "moorage serve does them")
    try:
        is_alive = (settings.storage.data / WORKER).exists() and has_worker(settings.storage.data)
    except OSError as error:
        return Finding("jobs", "warning", f"who does them cannot be seen: {error.strerror}")
    if not is_alive:
        return Finding(
            "jobs",
            "warning",
            "jobs.beside is off and no worker runs here: no garbage is collected. Run moorage worker",
        )
    return Finding("jobs", "ok", "a moorage worker does them")


def _port(settings: Settings) -> Finding:
    server = settings.server
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((server.host, server.port))
        except OSError as error:
            return Finding(
                "port", "warning", f"{server.listen}: {error.strerror} (is Moorage running already?)"
            )
    return Finding("port", "ok", f"{server.listen} is free")


def _files(settings: Settings) -> Finding:
    import resource

    # `serve` raises its soft limit to the hard one
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = max(_FILES_MIN, 2 * settings.limits.connections)
    if hard == resource.RLIM_INFINITY:
        return Finding("files", "ok", "no limit on open files")
    if hard < needed:
        return Finding(
            "files", "warning", f"{hard} open files allowed; raise the limit to {needed} (ulimit -Hn)"
        )
    return Finding("files", "ok", f"{hard} open files allowed")


def _line(settings: Settings) -> Finding:
    """Whether the line is encrypted, and by a certificate that can be used."""
    if not uses_tls(settings):
        if settings.server.is_loopback:
            return Finding("tls", "ok", "plain HTTP, on this machine only")
        return Finding("tls", "warning", f"server.insecure_http is on. {INSECURE}")
    from moorage.certificates.keeping import CertificateRefused
    from moorage.certificates.serving import ServerCertificate

    own = settings.storage.data / "tls" / "server.pem"
    certificate = settings.tls.certificate or own
    if certificate == own and not own.exists():
        return Finding("tls", "ok", "the first start makes a certificate")
    try:
        loaded = ServerCertificate(certificate, settings.tls.key or own)
    except CertificateRefused as refusal:
        return Finding("tls", "problem", str(refusal))
    left = loaded.expires_at - datetime.now(UTC)
    said = f"{certificate} for {loaded.names}, until {loaded.expires_at:%Y-%m-%d}"
    if left < _EXPIRY_NEAR:
        return Finding("tls", "warning", f"{said}: {left.days} days; bring a new one")
    return Finding("tls", "ok", said)


_CHECKS: tuple[Callable[[Settings], Finding], ...] = (
    _folder,
    _disk,
    _sync,
    _database,
    _jobs,
    _port,
    _files,
    _line,
)
