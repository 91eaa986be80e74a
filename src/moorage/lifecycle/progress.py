"""How far a long piece of work is, told to whoever follows it."""

from typing import Protocol


class Progress(Protocol):
    """A job that runs, or a terminal."""

    async def say(self, done: int, total: int | None, unit: str, note: str = "") -> None:
        """So much is done, of so much where that is known. What it raises ends the work."""
        ...


class Silence:
    """Told to no one."""

    async def say(self, done: int, total: int | None, unit: str, note: str = "") -> None:
        """Nothing."""
