"""How much one client may have an upstream asked for that it does not have.

Each made-up tag or digest costs the upstream a question, and when it has had enough it answers nobody. So
each client has an allowance, of which only "there is no such thing" and "not allowed" take: who pulls what
there is never runs out of it. Of an IPv6 address its /64 counts.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import structlog

from moorage.addresses import network_of
from moorage.errors import TooManyMisses
from moorage.identity.callers.caller import Caller
from moorage.mirrors.asking import NotAllowed, NotThere

BURST: Final = 300
"""So many at once: an image of some hundred platforms or signatures that are looked for in vain."""

PER_S: Final = 1.0
"""And so many a second from then on."""

AHEAD: Final = 64
"""Questions under way that may all turn out to be for nothing, more than the client has left."""

CLIENTS_MAX: Final = 10_000
"""Of more than that those that asked longest ago are forgotten."""

_LOG_AGAIN_S: Final = 60.0

log = structlog.get_logger()


def client_of(caller: Caller, peer: str) -> str:
    """Who counts as one: an account, or the network of an address. `peer`: the connection's other end."""
    if caller.account is not None:
        return f"account {caller.account.name}"
    return f"address {network_of(caller.address or peer)}"


@dataclass(slots=True)
class _Allowance:
    """What a client has left, at a moment of the machine's uptime; below 0 it is in debt."""

    left: float
    at_s: float
    asking: int = 0
    logged_at_s: float = -math.inf

    def refill(self, now_s: float) -> None:
        self.left = min(BURST, self.left + (now_s - self.at_s) * PER_S)
        self.at_s = now_s


class Misses:
    """The allowances as one process keeps them. No client (None) has no limit: the registry's own jobs."""

    def __init__(self) -> None:
        self._allowances: OrderedDict[str, _Allowance] = OrderedDict()

    def check(self, client: str | None, upstream: str) -> None:
        """See that this client may have a question asked.

        Raises TooManyMisses (429).
        """
        allowance = None if client is None else self._allowances.get(client)
        if allowance is None:
            return
        now_s = time.monotonic()
        allowance.refill(now_s)
        if allowance.left >= 1 and allowance.asking < allowance.left + AHEAD:
            return
        wait_s = max(1, math.ceil((1 - allowance.left) / PER_S))
        if now_s - allowance.logged_at_s >= _LOG_AGAIN_S:
            allowance.logged_at_s = now_s
            log.warning("mirror_misses_limited", client=client, upstream=upstream, retry_after_s=wait_s)
        raise TooManyMisses(
            retry_after_s=wait_s,
            upstream=upstream,
            reason=f"{client} has used up what may be asked of {upstream} in vain; what is here is served"
            f" as ever. Check the names, and ask again in {wait_s} s",
        )

    @contextmanager
    def asking(self, client: str | None) -> Iterator[None]:
        """While a question for this client is under way: it is charged if there is no such thing."""
        if client is None:
            yield
            return
        allowance = self._allowances.get(client) or _Allowance(BURST, time.monotonic())
        self._allowances[client] = allowance
        self._allowances.move_to_end(client)
        if len(self._allowances) > CLIENTS_MAX:
            self._allowances.popitem(last=False)
        allowance.asking += 1
        try:
            yield
        except (NotThere, NotAllowed):
            allowance.refill(time.monotonic())
            allowance.left -= 1
            raise
        finally:
            allowance.asking -= 1
