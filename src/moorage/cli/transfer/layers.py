"""What a copy shows: a bar for each layer on a terminal, else a line for each that is done."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from moorage.cli.transfer.local import in_bytes
from moorage.oci.descriptor import Descriptor
from moorage.oci.digest import Digest, encoded_of
from moorage.transfer.between.ports import How, Watch

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

_WORDS: dict[How, str] = {
    "sent": "copied",
    "mounted": "mounted from another repository",
    "there": "there already",
    "left out": "left out: not at the source, to be fetched from elsewhere",
}
_SHOWN = 12


class Quiet:
    """Nothing is shown."""

    def image(self, name: str, blobs: int) -> None:
        """See `Watch`."""

    def begin(self, target: Descriptor) -> None:
        """See `Watch`."""

    def moved(self, target: Descriptor, count: int) -> None:
        """See `Watch`."""

    def end(self, target: Descriptor, how: How) -> None:
        """See `Watch`."""

    def leave(self, target: Descriptor) -> None:
        """See `Watch`."""


class Lines(Quiet):
    """A line for each image and each layer that is done."""

    def __init__(self, console: "Console") -> None:
        self._console = console

    def image(self, name: str, blobs: int) -> None:
        """See `Watch`."""
        if blobs:
            self._print(f"{_short(name)}: {blobs} layers and configs")

    def end(self, target: Descriptor, how: How) -> None:
        """See `Watch`."""
        self._print(f"  {_short(target.digest)}  {in_bytes(target.size):>10}  {_WORDS[how]}")

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)


class Bars(Lines):
    """Besides, a bar for each layer that is on its way."""

    def __init__(self, console: "Console", progress: "Progress") -> None:
        super().__init__(console)
        self._progress = progress
        self._tasks: dict[Digest, TaskID] = {}

    def begin(self, target: Descriptor) -> None:
        """See `Watch`."""
        task = self._progress.add_task(f"  {_short(target.digest)}", total=target.size)
        self._tasks[target.digest] = task

    def moved(self, target: Descriptor, count: int) -> None:
        """See `Watch`."""
        self._progress.advance(self._tasks[target.digest], count)

    def end(self, target: Descriptor, how: How) -> None:
        """See `Watch`."""
        self.leave(target)
        super().end(target, how)

    def leave(self, target: Descriptor) -> None:
        """See `Watch`."""
        self._progress.remove_task(self._tasks.pop(target.digest))


@contextmanager
def watching(*, is_quiet: bool) -> Iterator[Watch]:
    """Show a copy on standard error."""
    if is_quiet:
        yield Quiet()
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield Lines(console)
        return
    columns: list[Any] = [TextColumn("{task.description}", markup=False), BarColumn()]
    columns += [DownloadColumn(binary_units=True), TransferSpeedColumn()]
    with Progress(*columns, console=console, transient=True) as progress:
        yield Bars(console, progress)


def _short(name: str) -> str:
    """A digest cut short, a tag as it is."""
    return encoded_of(name)[:_SHOWN] if ":" in name else name
