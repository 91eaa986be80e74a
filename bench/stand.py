"""What every row needs, and the form of a row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench.crew import Crew
from bench.measures import Measure
from bench.servers import OwnServer, Server

Figures = Mapping[str, float]
"""What one round of one row gave for one server, by the key of its measure; a key may be absent."""


@dataclass(frozen=True, slots=True)
class Stand:
    """The crew, a folder, and how much to do."""

    crew: Crew
    folder: Path
    run_name: str
    """New at every run, so that content pushed is new to any server."""
    is_quick: bool
    started: list[OwnServer] = field(default_factory=list)
    """All servers that were ever started: what must be stopped at the end."""

    @property
    def load_s(self) -> int:
        """How long small requests are made."""
        return 1 if self.is_quick else 4


class Row(Protocol):
    """One thing that registries do, measured in turn on each of them."""

    @property
    def name(self) -> str:
        """The word for `--only`."""

    @property
    def title(self) -> str:
        """What is done."""

    @property
    def measures(self) -> Sequence[Measure]:
        """The lines of the table."""

    @property
    def needs_quiet(self) -> bool:
        """What was loaded may be worked on later; wait for that before the first round."""

    @property
    def is_once(self) -> bool:
        """One round is enough: it takes long, and what it measures hardly varies."""

    def prepare(self, stand: Stand, server: Server) -> None:
        """Load into `server` what the rounds ask for."""

    def measure(self, stand: Stand, server: Server, number: int) -> Figures:
        """Run round `number` (0 is the first) on `server`.

        Raises WrongReply when an answer was not right.
        """
