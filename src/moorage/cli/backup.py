"""`moorage backup`, `moorage restore`: on the machine where the data lies."""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moorage.cli.manage.client import Unreachable
from moorage.cli.manage.session import JsonOption, refusals_told
from moorage.cli.manage.showing import Show, counted, shown
from moorage.cli.manage.store import amount
from moorage.cli.settings import ConfigOption, DataOption, load_or_exit
from moorage.config import Settings

if TYPE_CHECKING:
    from moorage.lifecycle.progress import Progress
    from moorage.transfer.backing_up import BackedUp, Wanted

_LINE_EVERY_S = 5.0

FolderArgument = Annotated[
    Path | None,
    typer.Argument(metavar="[DIR]", help="Where backups are; else backup.folder.", show_default=False),
]


def backup(
    folder: FolderArgument = None,
    data: DataOption = None,
    config: ConfigOption = None,
    *,
    keep: Annotated[
        int | None,
        typer.Option("--keep", help="How many backups stay. Default: 7.", min=1, show_default=False),
    ] = None,
    by_link: Annotated[
        bool,
        typer.Option("--link", help="Share the files with the store, on one file system: no second copy."),
    ] = False,
    is_verifying: Annotated[
        bool, typer.Option("--verify", help="Read again what is there already, not only what comes.")
    ] = False,
    is_listing: Annotated[bool, typer.Option("--list", help="Only list the backups that there are.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Back the registry up while it runs: all that it holds, its accounts and its certificate.

    What the folder has already is not copied again. The folder holds secrets: keep it as you keep the data.
    Exit 1 when the registry had lost something; the backup is whole but for that.
    """
    settings = load_or_exit(config, data=data)
    with refusals_told():
        root = folder or settings.backup.folder
        if root is None:
            raise Unreachable("name a folder for the backups, or set backup.folder")
        if is_listing:
            _list(root, Show(as_json=as_json))
            return
        from moorage.transfer.backing_up import Wanted

        wanted = Wanted(keep or settings.backup.keep, by_link or settings.backup.by_link, is_verifying)
        with _progress(is_silent=as_json) as progress:
            made = asyncio.run(_back_up(settings, root, wanted, progress))
    if as_json:
        typer.echo(json.dumps(asdict(made), indent=2))
    else:
        _tell(root, made)
    if made.missing:
        raise typer.Exit(1)


async def _back_up(settings: Settings, root: Path, wanted: "Wanted", progress: "Progress") -> "BackedUp":
    """Raises Unreachable."""
    from moorage.app import StartRefused, open_for_backup
    from moorage.errors import RegistryError
    from moorage.identity.callers.caller import OPERATOR
    from moorage.transfer.backing_up import make_backup
    from moorage.transfer.backup_folder import BackupFolder, BackupRefused

    try:
        async with open_for_backup(settings) as source:
            backups = BackupFolder.make(root, settings.storage.data)
            return await make_backup(source, backups, wanted, progress, OPERATOR.actor)
    except (StartRefused, BackupRefused, RegistryError) as refusal:
        raise Unreachable(str(refusal)) from refusal
    except OSError as error:
        raise Unreachable(f"{root}: {error.strerror}") from error


def _tell(root: Path, made: "BackedUp") -> None:
    how = ", ".join(f"{count:,} {how}" for how, count in sorted(made.how.items()))
    held = f"{counted(made.blobs, 'blob')} of {amount(made.bytes)}"
    typer.echo(f"{made.generation} in {root}: {held} ({how or 'none'})")
    if made.removed_generations:
        typer.echo(
            f"removed {', '.join(made.removed_generations)}, and {counted(made.removed_blobs, 'blob')} of"
            f" {amount(made.removed_bytes)} that only they had"
        )
    for digest in made.missing:
        typer.echo(f"✗ {digest} is lost in the registry itself: moorage store damaged", err=True)


def _list(root: Path, show: Show) -> None:
    """Raises Unreachable."""
    from moorage.transfer.backup_folder import BackupFolder, BackupRefused

    folder = BackupFolder(root)
    try:
        folder.check()
        found = folder.read_all()
    except BackupRefused as refusal:
        raise Unreachable(str(refusal)) from refusal
    rows = [
        {
            "generation": name,
            "made_at": each.made_at,
            "version": each.version,
            "blobs": each.blobs,
            "bytes": each.bytes if show.as_json else amount(each.bytes),
            "missing": each.missing if show.as_json else len(each.missing),
        }
        for name, each in found.items()
    ]
    columns = {key: key.replace("_", " ").upper() for key in (rows[0] if rows else {})}
    show.table(rows, columns, "There are no backups yet.")


def restore(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the backups are.", show_default=False)],
    data: Annotated[
        Path, typer.Option("--data", help="Folder to make: empty, or not there yet.", show_default=False)
    ],
    *,
    at: Annotated[
        str | None, typer.Option("--at", help="Which backup. Default: the newest.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a data folder of a backup; every blob is compared with its digest. Serve it with --data.

    One that was cut goes on where it was. Tokens and passwords are those of then: what was revoked since
    counts again. Exit 1 when the backup lacks something.
    """
    from moorage.databases.snapshots import SqliteRestored
    from moorage.transfer.backup_folder import BackupFolder, BackupRefused
    from moorage.transfer.restoring import restore as make

    _quiet()
    with refusals_told(), _progress(is_silent=as_json) as progress:
        backups = BackupFolder(folder)
        try:
            backups.check()
            made = asyncio.run(make(backups, data, at, SqliteRestored(), progress))
        except BackupRefused as refusal:
            raise Unreachable(str(refusal)) from refusal
    if as_json:
        typer.echo(json.dumps(asdict(made), indent=2))
    else:
        there = f", {made.were_there:,} of them there already" if made.were_there else ""
        typer.echo(
            f"{data} is as the registry was at {shown(made.made_at)}: {counted(made.blobs, 'blob')} of"
            f" {amount(made.bytes)}{there}, each compared with its digest."
        )
        typer.echo(f"Serve it: moorage serve --data {data}")
        for digest in made.missing:
            typer.echo(f"✗ {digest} is not whole in the backup; it is 404 until it is pushed again", err=True)
    if made.missing:
        raise typer.Exit(1)


def _quiet() -> None:
    from dataclasses import replace

    from moorage import logs
    from moorage.config import LogSettings

    logs.configure(replace(LogSettings(), level="error"))


@contextmanager
def _progress(*, is_silent: bool) -> Iterator["Progress"]:
    """A bar on a terminal, a line now and then elsewhere, both on standard error."""
    from moorage.lifecycle.progress import Silence

    if is_silent:
        yield Silence()
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[far]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("", total=None, far="")

            class Bar:
                async def say(self, done: int, total: int | None, unit: str, note: str = "") -> None:
                    bar.update(
                        task, description=note, completed=done, total=total, far=_far(done, total, unit)
                    )

            yield Bar()
    else:
        yield _Lines()


class _Lines:
    """A line every few seconds."""

    def __init__(self) -> None:
        self._due_at = time.monotonic() + _LINE_EVERY_S

    async def say(self, done: int, total: int | None, unit: str, note: str = "") -> None:
        """How far it is."""
        if time.monotonic() >= self._due_at:
            typer.echo(f"{note}: {_far(done, total, unit)}", err=True)
            self._due_at = time.monotonic() + _LINE_EVERY_S


def _far(done: int, total: int | None, unit: str) -> str:
    if unit == "bytes":
        return amount(done) if total is None else f"{amount(done)} of {amount(total)}"
    return f"{done:,} {unit}" if total is None else f"{done:,} of {total:,} {unit}"
