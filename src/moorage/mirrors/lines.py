"""The lines to upstreams: which address is asked, and which is left alone for a while.

A line that fails opens: nobody waits for it until it is due to be tried, which is done beside the requests.
What one process learns all know within a second.
"""

import random
from collections.abc import Mapping
from typing import Final

import structlog

from moorage.clock import now_ms
from moorage.database import Database, Transaction
from moorage.errors import RegistryError
from moorage.mirrors import line_rows as rows
from moorage.mirrors.asking import (
    Busy,
    Failed,
    NotAllowed,
    NotThere,
    Registry,
    Unfit,
    Unreachable,
    UpstreamFailure,
)
from moorage.mirrors.line_rows import Line
from moorage.mirrors.upstreams import Address, Upstream

FAILURES_MAX: Final = 3
"""So many errors in a row open a line; no answer at all opens it at once."""

TRIAL_TIMEOUT_S: Final = 3.0
_AGAIN_MS: Final = 5_000
_AGAIN_MAX_MS: Final = 15_000
_BUSY_MAX_MS: Final = 3_600_000
_TRIAL_MS: Final = 10_000
_ERROR_MAX_CHARS: Final = 300
_ANSWERED_EVERY_MS: Final = 60_000

log = structlog.get_logger()


class Lines:
    """The lines as one process knows them; `learn` what the others have found out."""

    def __init__(self, db: Database, registry: Registry) -> None:
        self._db = db
        self._registry = registry
        self._lines: Mapping[tuple[str, str], Line] = {}

    async def learn(self) -> None:
        """Read what all processes know."""
        self._lines = await rows.read_lines(self._db)

    def get(self, upstream: Upstream, address: Address) -> Line:
        """What is known of a line."""
        return self._lines.get((upstream.name, address.url), Line())

    def usable(self, upstream: Upstream) -> list[Address]:
        """The addresses that may be asked now, in their order."""
        return [each for each in upstream.addresses if self.get(upstream, each).state == "closed"]

    async def find_usable(self, upstream: Upstream) -> list[Address]:
        """The same; without the upstream itself only after a look at what other processes have found out."""
        if not self.is_usable(upstream):
            await self.learn()
        return self.usable(upstream)

    def is_usable(self, upstream: Upstream) -> bool:
        """Whether the upstream itself, not one of its alternatives, may be asked now."""
        return self.get(upstream, upstream.address).state == "closed"

    def describe(self, upstream: Upstream) -> str:
        """The state of the upstream's own line, for a person."""
        line = self.get(upstream, upstream.address)
        if line.state == "closed":
            return "it is being asked"
        wait_s = max(0, (line.retry_at or 0) - now_ms()) // 1000
        return f"{line.last_error}; it is left alone, and tried again in {wait_s} s"

    async def succeeded(self, upstream: Upstream, address: Address, asked_at: int) -> None:
        """An address has answered what it was asked then, in milliseconds since 1970-01-01 UTC."""
        if _is_good(self.get(upstream, address)):
            # another process may have opened it within this second
            await self.learn()
        line = self.get(upstream, address)
        if _is_good(line):
            return
        quota = self._registry.quota_of(address)
        now = now_ms()

        def change(known: Line) -> Line:
            changed = known._replace(answered_at=now)
            # what was asked before the line opened, as one of many perhaps, says nothing of how it is now
            if known.state == "closed" or not asked_at < (known.opened_at or 0) <= now:
                changed = changed._replace(state="closed", failures=0, opened_at=None, retry_at=None)
            if quota is not None:
                changed = changed._replace(quota_limit=quota.limit, quota_left=quota.left, quota_at=now)
            return changed

        after = await self._change(upstream, address, change)
        if line.state != "closed" and after.state == "closed":
            log.info("upstream_line_closed", upstream=upstream.name, address=address.url)

    async def failed(
        self, upstream: Upstream, address: Address, failure: UpstreamFailure, asked_at: int
    ) -> None:
        """An address was asked in vain. That it has no such thing, or none of use, or refuses it: an answer.

        Else whoever asks for that a few times would cut everyone off.
        """
        if isinstance(failure, NotThere | NotAllowed | Unfit):
            await self.succeeded(upstream, address, asked_at)
            return
        now = now_ms()
        sentence = str(failure)[:_ERROR_MAX_CHARS]

        def change(known: Line) -> Line:
            if known.state == "open" and not isinstance(failure, Busy):
                # it was asked before that was known, by one of many perhaps: that is nothing new
                return known._replace(last_error=sentence, failed_at=now)
            failures = known.failures + 1
            changed = known._replace(failures=failures, last_error=sentence, failed_at=now)
            opens = isinstance(failure, Unreachable | Busy) or failures >= FAILURES_MAX
            if not opens and known.state == "closed":
                return changed
            opened_at = known.opened_at or now
            retry_at = now + _wait_ms(failure, now - opened_at)
            return changed._replace(state="open", opened_at=opened_at, retry_at=retry_at)

        before = self.get(upstream, address).state
        after = await self._change(upstream, address, change)
        if before == "closed" and after.state != "closed":
            log.warning("upstream_line_opened", upstream=upstream.name, address=address.url, reason=sentence)

    async def _change(self, upstream: Upstream, address: Address, change: "rows.Change") -> Line:
        def work(tx: Transaction) -> Line:
            changed = change(rows.find_line(tx, upstream.name, address.url))
            rows.put_line(tx, upstream.name, address.url, changed)
            return changed

        try:
            changed = await self._db.write(work)
        except RegistryError:
            # known to this process alone, then
            changed = change(self.get(upstream, address))
        self._lines = {**self._lines, (upstream.name, address.url): changed}
        return changed

    async def try_due(self, upstreams: tuple[Upstream, ...]) -> None:
        """Try the open lines whose time has come. Of several processes one does."""
        for upstream in upstreams:
            for address in upstream.addresses:
                if self.get(upstream, address).is_due(now_ms()):
                    await self._try(upstream, address)

    async def _try(self, upstream: Upstream, address: Address) -> None:
        until = now_ms() + _TRIAL_MS
        if not await self._db.write(lambda tx: rows.claim_trial(tx, upstream.name, address.url, until)):
            return
        asked_at = now_ms()
        try:
            await self._registry.ping(address, TRIAL_TIMEOUT_S)
        except Unfit as failure:
            # of the registry itself there is nothing to be refused
            await self.failed(upstream, address, Failed(str(failure)), asked_at)
        except UpstreamFailure as failure:
            await self.failed(upstream, address, failure, asked_at)
        else:
            await self.succeeded(upstream, address, asked_at)


def _is_good(line: Line) -> bool:
    """Whether that an address has answered is nothing new."""
    is_closed = line.state == "closed" and not line.failures
    return is_closed and line.answered_at is not None and now_ms() - line.answered_at < _ANSWERED_EVERY_MS


def _wait_ms(failure: UpstreamFailure, open_ms: int) -> int:
    """How long an open line is left alone: as long again as it has been open, within limits, and about."""
    if isinstance(failure, Busy):
        return min(_BUSY_MAX_MS, max(1_000, int(failure.retry_after_s * 1000)))
    wait_ms = min(_AGAIN_MAX_MS, max(_AGAIN_MS, open_ms))
    return int(wait_ms * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
