"""Jobs that leave a trace, for workers that are real processes.

    python -m tests.faults.errands work FOLDER LEASE_S     a job worker
    python -m tests.faults.errands run ...                 the command `moorage ...`, its workers do errands

An errand writes a line to `starts` in its folder, counts to `turns`, each after `turn_s`, and writes a
line to `ends`. Where `hold` names its attempts, it stays in the middle in these until it is killed or told
to stop.
"""

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from moorage import app
from moorage.config import JobSettings
from moorage.databases.sqlite import SqliteDatabase
from moorage.health import Health
from moorage.records.jobs.running import Handler, Running
from moorage.records.jobs.working import JobWorker

KIND = "errand"


@dataclass(frozen=True, slots=True)
class Trace:
    """A line that an errand left."""

    job: int
    attempt: int
    pid: int


def read(folder: Path, name: str) -> list[Trace]:
    """The lines of `starts` or `ends`, in their order."""
    path = folder / name
    lines = path.read_text().splitlines() if path.exists() else []
    return [Trace(*map(int, line.split())) for line in lines]


def handler(folder: Path) -> Handler:
    """Who does errands in a folder."""

    def leave(name: str, running: Running) -> None:
        fd = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(fd, f"{running.id} {running.attempt} {os.getpid()}\n".encode())
        os.close(fd)

    async def do(running: Running) -> Mapping[str, object]:
        leave("starts", running)
        turns = int(running.arguments.get("turns", 1))
        for turn in range(turns):
            await running.say(turn + 1, turns, "turns")
            await asyncio.sleep(float(running.arguments.get("turn_s", 0.002)))
            while running.attempt in running.arguments.get("hold", ()):
                await running.say(turn + 1, turns, "turns", "held")
                await asyncio.sleep(0.01)
        leave("ends", running)
        return {"turns": turns}

    return do


def main(command: str, *arguments: str) -> None:
    """Work, or run the command."""
    if command == "work":
        folder, lease_s = arguments
        asyncio.run(_work(Path(folder), float(lease_s)))
        return
    wired = app._handlers
    app._handlers = lambda opened: {
        **wired(opened),
        KIND: handler(opened.services.settings.storage.data),
    }
    sys.argv = ["moorage", *arguments]
    from moorage.cli.main import main as moorage  # noqa: PLC0415 - after the handlers are there

    moorage()


async def _work(folder: Path, lease_s: float) -> None:
    db = SqliteDatabase(folder / "moorage.db", Health())
    await JobWorker(db, folder, {KIND: handler(folder)}, {}, JobSettings(), lease_s).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
