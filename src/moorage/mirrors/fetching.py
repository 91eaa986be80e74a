"""Manifests of upstreams: fetched when they are not here, and tags asked about when they are no longer fresh.

A manifest by its digest is never asked for again. A tag is served without a question for as long as its
upstream's freshness says; then one process asks what it names now, and only if that has changed is the
manifest fetched. While the upstream cannot be asked, what is here is served, and its age said.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

import structlog

from moorage.clock import now_ms
from moorage.database import Database, Transaction
from moorage.errors import (
    ManifestInvalid,
    ManifestUnknown,
    RegistryError,
    TagImmutable,
)
from moorage.mirrors import rows
from moorage.mirrors.absent import Absent
from moorage.mirrors.asking import (
    Failed,
    Fetched,
    NotAllowed,
    NotThere,
    Registry,
    Unreachable,
    UpstreamFailure,
)
from moorage.mirrors.claims import Claims
from moorage.mirrors.flights import Flights
from moorage.mirrors.lines import Lines
from moorage.mirrors.misses import Misses
from moorage.mirrors.moving import check_may_move, check_shown, fixed
from moorage.mirrors.placing import Upstreams
from moorage.mirrors.refusing import CANNOT_KEEP, Unkept, refusal_of
from moorage.mirrors.rows import MirroredTag
from moorage.mirrors.saving import Savings
from moorage.mirrors.upstreams import Address, Upstream
from moorage.oci.digest import Digest, digest_of, is_digest
from moorage.oci.manifest import parse_manifest
from moorage.oci.names import RepositoryName, Tag
from moorage.records.audit.rows import Actor
from moorage.registry.manifests.pushing import mirror_manifest
from moorage.registry.manifests.rows import find_by_digest

ASK_AGAIN_S: Final = 2.5
"""How long a client waits to hear whether a tag that is here has moved."""

FETCH_S: Final = 8.0
"""How long a client waits for a manifest that is not here, from whichever address."""

SLOT_S: Final = 1.5
"""How long it waits before that while very much is asked for."""

CLAIM_S: Final = 6.0
"""How much of that it waits for another process that fetches the same; then it is asked for again."""

_FRESH_MAX: Final = 50_000
_FRESH_MAX_MS: Final = 366 * 86_400_000
_CLAIM_MS: Final = 10_000

T = TypeVar("T")
Seen = Callable[[Upstream, RepositoryName, Digest, Tag | None], None]
"""Told of a manifest that has come, or that its tag names still: what comes along with it is seen to."""

log = structlog.get_logger()


class Manifests:
    """The manifests of upstreams, as one process fetches them."""

    def __init__(
        self,
        db: Database,
        registry: Registry,
        upstreams: Upstreams,
        lines: Lines,
        savings: Savings,
        manifest_max_bytes: int,
        misses: Misses,
        claims: Claims,
    ) -> None:
        self._db = db
        self._registry = registry
        self._upstreams = upstreams
        self._lines = lines
        self._savings = savings
        self._manifest_max_bytes = manifest_max_bytes
        self._fresh_until: dict[tuple[RepositoryName, str], int] = {}
        self._misses = misses
        self._claims = claims
        self._absent = Absent()
        self._flights: Flights[Unkept | None] = Flights()
        self.on_seen: Seen = lambda *_: None

    async def close(self) -> None:
        """End what is under way."""
        await self._flights.close()
        self._claims.close()

    def is_fresh(self, repository: RepositoryName, reference: str) -> bool:
        """Whether this need not be asked about, as far as this process knows without a look."""
        if ":" in reference:
            return True
        until = self._fresh_until.get((repository, reference), 0)
        # a clock that was set back shall not make it fresh for ever
        return 0 < until - now_ms() <= _FRESH_MAX_MS

    async def refresh(self, upstream: Upstream, repository: RepositoryName, tag: Tag) -> int | Unkept | None:
        """See that a tag, if it is here, names what its upstream says.

        None when it does, or is not here; what it names now where that cannot be kept; else how many
        milliseconds ago that was last known, for the upstream cannot be asked.
        """
        known = await rows.find_tag(self._db, repository, tag)
        if known is None or known.digest is None:
            return None
        now = now_ms()
        if 0 <= now - known.checked_at < upstream.freshness_ms:
            self._note_fresh(repository, tag, known.checked_at + upstream.freshness_ms)
            return None
        age_ms = max(0, now - known.checked_at)
        if self._upstreams.is_disconnected(upstream) or not self._may_ask_again(upstream):
            return age_ms
        until = now + _CLAIM_MS
        fresh_after = now - upstream.freshness_ms
        try:
            is_claimed = await self._db.write(
                lambda tx: rows.claim_tag(tx, repository, tag, fresh_after, until)
            )
            if not is_claimed:
                # someone asks just now, or has just asked
                return None
        except CANNOT_KEEP:
            # each process asks for itself, then
            is_claimed = False
        except RegistryError:
            return age_ms
        try:
            unkept = await asyncio.shield(
                self._flights.once(
                    (repository, tag), partial(self._ask_again, upstream, repository, tag, known)
                )
            )
        except (UpstreamFailure, RegistryError) as failure:
            log.info(
                "mirror_stale",
                upstream=upstream.name,
                repository=repository,
                tag=tag,
                age_s=age_ms // 1000,
                reason=str(failure)[:300],
            )
            await self._end_claim(repository, tag, is_claimed=is_claimed)
            return age_ms
        if unkept is not None:
            await self._end_claim(repository, tag, is_claimed=is_claimed)
            return unkept
        self._note_fresh(repository, tag, now + upstream.freshness_ms)
        return None

    async def _end_claim(self, repository: RepositoryName, tag: Tag, *, is_claimed: bool) -> None:
        if not is_claimed:
            return
        try:
            await self._db.write(lambda tx: rows.end_claim(tx, repository, tag))
        except RegistryError as refusal:
            log.warning("mirror_claim_kept", repository=repository, tag=tag, reason=str(refusal))

    def _may_ask_again(self, upstream: Upstream) -> bool:
        if self._lines.is_usable(upstream):
            return True
        return upstream.alternatives_may == "any" and bool(self._lines.usable(upstream))

    def _note_fresh(self, repository: RepositoryName, tag: Tag, until: int) -> None:
        if len(self._fresh_until) >= _FRESH_MAX:
            self._fresh_until.clear()
        self._fresh_until[repository, tag] = until

    async def _ask_again(
        self, upstream: Upstream, repository: RepositoryName, tag: Tag, known: MirroredTag
    ) -> Unkept | None:
        """Raises UpstreamFailure, RegistryError."""
        addresses = self._lines.usable(upstream)
        if upstream.alternatives_may != "any":
            addresses = [each for each in addresses if each == upstream.address]
        remote = upstream.remote_of(repository)
        failure: UpstreamFailure = Unreachable(self._lines.describe(upstream))
        for address in addresses:
            try:
                shown = await self._ask(
                    upstream,
                    address,
                    partial(self._registry.head_manifest, address, remote, tag, ASK_AGAIN_S),
                )
            except NotThere:
                log.info("mirror_tag_gone", upstream=upstream.name, repository=repository, tag=tag)
                await self._note_checked(repository, tag, is_gone=True)
                return None
            except UpstreamFailure as error:
                failure = error
                continue
            self._savings.count(upstream.name, "heads", 1)
            if shown.digest is not None and shown.digest in {known.digest, known.sha512}:
                await self._note_checked(repository, tag)
                self.on_seen(upstream, repository, shown.digest, tag)
                return None
            return await self._fetch(upstream, [address], repository, shown.digest or tag, tag)
        raise failure

    async def _note_checked(self, repository: RepositoryName, tag: Tag, *, is_gone: bool = False) -> None:
        # where it cannot be written down, this process knows it
        with suppress(*CANNOT_KEEP):
            await self._db.write(lambda tx: rows.note_checked(tx, repository, tag, is_gone=is_gone))

    async def bring(self, upstream: Upstream, repository: RepositoryName, reference: str) -> None:
        """Fetch a manifest that is not here, by a tag or a digest, and keep it.

        Raises as `pull` does, and what says that it cannot be kept.
        """
        unkept = await self.pull(upstream, repository, reference)
        if unkept is not None:
            raise unkept.refusal

    async def pull(
        self, upstream: Upstream, repository: RepositoryName, reference: str, client: str | None = None
    ) -> Unkept | None:
        """The same; None when it is kept. `client`: for whom, where someone asks.

        Raises ManifestUnknown (404), TooManyMisses (429), UpstreamFailed (502), UpstreamUnreachable (504).
        """
        reason = self._absent.find((repository, reference))
        if reason is not None:
            raise ManifestUnknown(name=repository, reference=reference[:200], reason=reason)

        def begin() -> Awaitable[Unkept | None]:
            # not for those who join: it costs no question
            self._misses.check(client, upstream.name)
            return self._bring(upstream, repository, reference, client)

        try:
            # whoever leaves while it comes does not end it for the others
            return await asyncio.shield(self._flights.once((repository, reference), begin))
        except (NotThere, NotAllowed) as failure:
            # the second is what a registry says, to one it does not know, of what there is not
            self._absent.note((repository, reference), str(failure))
            raise ManifestUnknown(
                name=repository, reference=reference[:200], reason=str(failure)
            ) from failure
        except UpstreamFailure as failure:
            raise refusal_of(upstream, failure, self._lines.describe(upstream)) from failure

    async def _bring(
        self, upstream: Upstream, repository: RepositoryName, reference: str, client: str | None
    ) -> Unkept | None:
        """Raises UpstreamFailure, RegistryError."""
        began_s = time.monotonic()
        with self._misses.asking(client):
            async with self._claims.hold(f"{repository}@{reference}", CLAIM_S):
                if self._upstreams.is_disconnected(upstream):
                    raise Unreachable("it was disconnected by an operator")
                addresses = await self._lines.find_usable(upstream)
                if not addresses:
                    raise Unreachable(self._lines.describe(upstream))
                tag = None if is_digest(reference) else Tag(reference)
                if tag is not None:
                    known = await rows.find_tag(self._db, repository, tag)
                    if known is not None and known.digest and 0 <= now_ms() - known.checked_at < _CLAIM_MS:
                        # it came between the look that missed it and this one
                        return None
                within_s = began_s + FETCH_S - time.monotonic()
                async with self._flights.slot(SLOT_S):
                    return await self._fetch(upstream, addresses, repository, reference, tag, within_s)

    async def _fetch(
        self,
        upstream: Upstream,
        addresses: list[Address],
        repository: RepositoryName,
        reference: str,
        tag: Tag | None,
        within_s: float = FETCH_S,
    ) -> Unkept | None:
        """A manifest from the first address that gives it, kept if it can be, and the tag moved to it.

        Raises UpstreamFailure, RegistryError.
        """
        failures: list[UpstreamFailure] = []
        deadline_s = time.monotonic() + within_s
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            timeout_s = max(1.0, (deadline_s - time.monotonic()) / left)
            try:
                fetched = await self._get(upstream, address, repository, reference, timeout_s)
                is_own = address == upstream.address
                if tag is not None and not is_own:
                    await check_shown(self._db, upstream, repository, tag, fetched.digest)
            except UpstreamFailure as failure:
                failures.append(failure)
                if isinstance(failure, NotThere) and address == upstream.address:
                    break
                continue
            try:
                await self._keep(upstream, address, repository, fetched, tag)
            except CANNOT_KEEP as refusal:
                await check_may_move(self._db, upstream, repository, fetched, tag)
                return Unkept(fetched, refusal)
            return None
        if upstream.address not in addresses:
            # that an alternative lacks it says nothing of the upstream
            raise Unreachable(self._lines.describe(upstream))
        raise failures[0]

    async def _get(
        self,
        upstream: Upstream,
        address: Address,
        repository: RepositoryName,
        reference: str,
        timeout_s: float,
    ) -> Fetched:
        if is_digest(reference):
            stored = await find_by_digest(self._db, repository, Digest(reference))
            if stored is not None and digest_of(stored.payload) == stored.sha256:
                # a tag that went back to what it named before
                return Fetched(Digest(reference), stored.media_type, stored.payload)
        remote = upstream.remote_of(repository)
        max_bytes = self._manifest_max_bytes
        fetched = await self._ask(
            upstream,
            address,
            lambda: self._registry.get_manifest(address, remote, reference, max_bytes, timeout_s),
        )
        self._savings.count(upstream.name, "gets", 1)
        self._savings.count(upstream.name, "fetched_bytes", len(fetched.payload))
        return fetched

    async def _keep(
        self,
        upstream: Upstream,
        address: Address,
        repository: RepositoryName,
        fetched: Fetched,
        tag: Tag | None,
    ) -> None:
        try:
            manifest = parse_manifest(fetched.payload, fetched.media_type)
        except ManifestInvalid as refusal:
            raise Failed(f"what it sent is no manifest: {refusal}") from refusal
        is_own = address == upstream.address
        by = Actor(f"upstream {upstream.name}" if is_own else f"alternative {address.url}", "upstream")

        def work(tx: Transaction) -> None:
            repository_id = rows.ensure_mirrored(tx, repository, upstream.name)
            mirror_manifest(tx, repository_id, repository, manifest, fetched.payload, fetched.digest, by, tag)
            if tag is not None:
                rows.note_checked(tx, repository, tag)
                if is_own:
                    rows.note_shown(tx, repository_id, tag, fetched.digest)

        try:
            await self._db.write(work)
        except TagImmutable as refusal:
            raise fixed(upstream, repository, tag or Tag("")) from refusal
        except ManifestInvalid as refusal:
            raise Failed(f"what it sent is no manifest: {refusal}") from refusal
        if tag is not None:
            self._note_fresh(repository, tag, now_ms() + upstream.freshness_ms)
        if manifest.subject is None:
            self.on_seen(upstream, repository, fetched.digest, tag)
        log.info(
            "manifest_mirrored",
            upstream=upstream.name,
            address=address.url,
            repository=repository,
            digest=fetched.digest,
            tag=tag or "",
        )

    async def _ask(self, upstream: Upstream, address: Address, ask: Callable[[], Awaitable[T]]) -> T:
        """One question, and what its end says of the line. Raises UpstreamFailure."""
        asked_at = now_ms()
        try:
            answer = await ask()
        except UpstreamFailure as failure:
            await self._lines.failed(upstream, address, failure, asked_at)
            raise
        await self._lines.succeeded(upstream, address, asked_at)
        return answer
