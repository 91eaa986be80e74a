"""The `moorage` command."""

import os
import sys
from pathlib import Path
from typing import TextIO

import typer

from moorage.cli import backup, certificate, config, doctor, name, serve, trust, version, worker
from moorage.cli.connect import command as connect
from moorage.cli.manage import (
    access,
    admin,
    apply,
    audit,
    garbage,
    grants,
    groups,
    immutable,
    jobs,
    keys,
    namespaces,
    rehearsing,
    repositories,
    retention,
    store,
    tags,
    tokens,
    trash,
    upstream_status,
    upstreams,
    users,
)
from moorage.cli.transfer import copying, exporting, importing, signing_in
from moorage.cli.usage import Commands

app = typer.Typer(
    name="moorage",
    cls=Commands,
    help="Moorage: a container registry for your own network.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(serve.serve)
app.command()(worker.worker)
app.add_typer(config.app, name="config")
app.command()(doctor.doctor)
app.command()(trust.trust)
app.command()(connect.connect)
app.add_typer(certificate.app, name="certificate")
app.command(context_settings={"ignore_unknown_options": True})(name.name)
app.command()(version.version)
app.add_typer(admin.app, name="admin")
app.add_typer(users.app, name="user")
app.add_typer(groups.app, name="group")
app.add_typer(namespaces.app, name="namespace")
app.add_typer(repositories.app, name="repository")
app.add_typer(tags.app, name="tags")
app.add_typer(immutable.app, name="immutable")
app.add_typer(retention.app, name="retention")
upstreams.app.command()(rehearsing.prefetch)
upstreams.app.command()(rehearsing.rehearse)
app.add_typer(upstreams.app, name="upstream")
app.command()(upstream_status.savings)
app.add_typer(grants.app, name="grant")
app.add_typer(tokens.app, name="token")
app.add_typer(access.app, name="access")
access.app.command()(apply.export)
app.command()(apply.apply)
app.command()(audit.audit)
app.add_typer(keys.app, name="key")
app.command()(trash.delete)
app.add_typer(trash.app, name="trash")
app.add_typer(garbage.app, name="gc")
app.add_typer(jobs.app, name="jobs")
app.command()(access.whoami)
app.add_typer(importing.app, name="import")
app.add_typer(exporting.app, name="export")
app.command()(copying.copy)
app.command()(copying.push)
app.command()(copying.pull)
app.command()(signing_in.login)
app.command()(signing_in.logout)
app.add_typer(store.app, name="store")
app.add_typer(store.scrub_app, name="scrub")
app.command()(store.verify)
app.command()(backup.backup)
app.command()(backup.restore)


def main() -> None:
    """Run the command."""
    _open_standard_streams()
    app()


def _open_standard_streams() -> None:
    """Let nothing else get the numbers of standard streams that were closed: they are written to."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")
