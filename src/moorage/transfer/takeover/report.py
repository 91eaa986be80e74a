"""What an import did, or would do, and how far it is."""

from dataclasses import dataclass, field

from moorage.transfer.takeover.source import Means, Problem

PROBLEMS_MAX = 10_000
"""So many are kept to be told; the others are counted."""


@dataclass(slots=True)
class Report:
    """Counts of what came, or would; `means` bytes by how they come.

    `skipped` is broken there; `kept` is otherwise here by someone's will, and stays as it is.
    """

    repositories: int = 0
    manifests: int = 0
    tags: int = 0
    blobs: int = 0
    bytes: int = 0
    means: dict[Means, int] = field(default_factory=dict)
    known_manifests: int = 0
    known_tags: int = 0
    skipped: list[Problem] = field(default_factory=list)
    kept: list[Problem] = field(default_factory=list)
    untold: int = 0

    def count_blob(self, size: int, means: Means) -> None:
        """One more blob of so many bytes."""
        self.blobs += 1
        self.bytes += size
        self.means[means] = self.means.get(means, 0) + size

    def skip(self, problem: Problem) -> None:
        """Tell of something broken."""
        self._tell(self.skipped, problem)

    def keep(self, problem: Problem) -> None:
        """Tell of something that stays as it is here."""
        self._tell(self.kept, problem)

    def _tell(self, problems: list[Problem], problem: Problem) -> None:
        if len(self.skipped) + len(self.kept) < PROBLEMS_MAX:
            problems.append(problem)
        else:
            self.untold += 1


@dataclass(slots=True)
class Progress:
    """How far it is, for whoever shows it; changed as the work goes on."""

    repositories: int = 0
    repositories_total: int = 0
    repository: str = ""
    manifests: int = 0
    manifests_total: int = 0
    bytes: int = 0
