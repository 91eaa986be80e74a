"""What an upstream has said that it does not have, believed for a while: it is not asked again at once."""

import time
from collections import OrderedDict
from typing import Final

from moorage.oci.names import RepositoryName

ABSENT_S: Final = 30.0
"""How long an upstream's word that it has no such thing is believed."""

_ABSENT_MAX: Final = 10_000

Key = tuple[RepositoryName, str]


class Absent:
    """As one process has heard it."""

    def __init__(self) -> None:
        self._absent: OrderedDict[Key, tuple[float, str]] = OrderedDict()

    def find(self, key: Key) -> str | None:
        """What the upstream said when it was asked for this a short while ago."""
        until_s, reason = self._absent.get(key, (0.0, ""))
        return reason if time.monotonic() < until_s else None

    def note(self, key: Key, reason: str) -> None:
        """It has just said so; what was said longest ago is forgotten where there is too much."""
        self._absent[key] = time.monotonic() + ABSENT_S, reason
        self._absent.move_to_end(key)
        if len(self._absent) > _ABSENT_MAX:
            self._absent.popitem(last=False)
