"""What upstreams have said that they do not have, believed for a while by one process."""

import time
from typing import Final

from moorage.oci.names import RepositoryName

ABSENT_S: Final = 30.0
"""How long an upstream's word is believed."""

_ABSENT_MAX: Final = 10_000

_Key = tuple[RepositoryName, str]


class Absences:
    """By repository, and a tag or digest."""

    def __init__(self) -> None:
        self._absent: dict[_Key, tuple[float, str]] = {}

    def find(self, repository: RepositoryName, reference: str) -> str | None:
        """Why there is no such thing, as was said a moment ago; None: nothing was said."""
        until_s, reason = self._absent.get((repository, reference), (0.0, ""))
        return reason if time.monotonic() < until_s else None

    def note(self, repository: RepositoryName, reference: str, reason: str) -> None:
        """It was said that there is no such thing."""
        if len(self._absent) >= _ABSENT_MAX:
            self._absent.clear()
        self._absent[repository, reference] = time.monotonic() + ABSENT_S, reason
