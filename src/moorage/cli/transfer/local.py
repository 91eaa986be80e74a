"""What every such command shares: the folder it works on, what it shows meanwhile, and how it ends."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

import typer

from moorage.cli.manage.session import REGISTRY_VARIABLE, refuse
from moorage.cli.settings import load_or_exit

if TYPE_CHECKING:
    from moorage.app import Holding as Holding  # noqa: PLC0414 - the commands' name for it

T = TypeVar("T")
DryOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")]


class Place(NamedTuple):
    """Which data folder, as it was said on the command line."""

    config: Path | None
    data: Path | None


def work_on_folder(place: Place, work: Callable[["Holding"], Awaitable[T]]) -> T:
    """Run `work` on what a data folder holds; a refusal is a sentence and exit code 1."""
    if not (place.config or place.data) and os.environ.get(REGISTRY_VARIABLE):
        refuse(
            f"this works on the data folder itself, not over the network as ${REGISTRY_VARIABLE} asks for:"
            " run it where the folder is, and name it with --data"
        )
    from moorage.app import StartRefused, open_holding
    from moorage.errors import RegistryError

    async def run() -> T:
        async with open_holding(load_or_exit(place.config, data=place.data)) as holding:
            return await work(holding)

    try:
        return asyncio.run(run())
    except StartRefused as refusal:
        refuse(str(refusal))
    except RegistryError as refusal:
        refuse(f"{refusal}. What came so far is kept; run it again to go on.")


@contextmanager
def shown(*, is_quiet: bool) -> Iterator[Callable[[str, float, float | None], None]]:
    """A bar on standard error, if a person looks: said what is done, how much of how much."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, highlight=False)
    columns: list[Any] = [BarColumn(), TaskProgressColumn(), TimeElapsedColumn()]
    columns.append(TextColumn("{task.description}", markup=False))
    with Progress(
        *columns, console=console, transient=True, disable=is_quiet or not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=None)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)


async def watched(work: Awaitable[T], look: Callable[[], None], every_s: float = 0.2) -> T:
    """Await `work`, looking at how far it is now and then."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            look()
            await asyncio.wait({task}, timeout=every_s)
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise
    return task.result()


def in_bytes(count: int) -> str:
    """A size as a person reads it."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:  # noqa: PLR2004 - what a unit is
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
