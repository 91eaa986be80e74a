"""The wiring of what mirrors other registries."""

from collections.abc import Mapping
from concurrent.futures import Executor

from moorage.config import JobSettings, Settings
from moorage.database import Database
from moorage.mirrors import evicting, prefetching, rehearsing
from moorage.mirrors.asking import Registry
from moorage.mirrors.claims import Claims
from moorage.mirrors.configuring import configured_upstreams
from moorage.mirrors.evicting import Eviction
from moorage.mirrors.fetching import Manifests
from moorage.mirrors.filling import Fills
from moorage.mirrors.lines import Lines
from moorage.mirrors.looking import Looks
from moorage.mirrors.managing import ManagedUpstreams
from moorage.mirrors.mirrors import Mirrors
from moorage.mirrors.misses import Misses
from moorage.mirrors.placing import Upstreams
from moorage.mirrors.prefetching import Prefetch
from moorage.mirrors.rehearsing import Rehearse
from moorage.mirrors.saving import Savings
from moorage.mirrors.throttling import Throttle
from moorage.records.jobs.running import Handler
from moorage.records.jobs.scheduling import Scheduled
from moorage.registry.blobs.store import BlobStore
from moorage.registry.uploads.uploading import Uploads
from moorage.schedule import read_schedule


def open_mirrors(
    settings: Settings,
    db: Database,
    store: BlobStore,
    threads: Executor,
    uploads: Uploads,
    registry: Registry,
) -> Mirrors:
    """The mirrors of one process.

    Raises UpstreamsUnusable.
    """
    lines, savings = Lines(db, registry), Savings(db)
    upstreams = Upstreams(db, configured_upstreams(settings.mirrors), lines)
    misses, claims = Misses(), Claims(settings.storage.data / "mirrors.lock")
    max_bytes = settings.manifests.max_bytes
    manifests = Manifests(db, registry, upstreams, lines, savings, max_bytes, misses, claims)
    looks = Looks(registry, upstreams, lines, misses)
    lease_ms = settings.delete.delay_ms
    throttle = Throttle(settings.storage.data / "bandwidth", claims)
    fills = Fills(db, store, threads, uploads, registry, upstreams, lines, savings, lease_ms, looks, throttle)
    mirrors = Mirrors(db, upstreams, lines, manifests, fills, savings)
    mirrors.bring_companions()
    return mirrors


def handlers(db: Database, mirrors: Mirrors) -> Mapping[str, Handler]:
    """What is done to mirrors beside the requests, by kind of job."""
    return {
        evicting.KIND: Eviction(db, mirrors.upstreams).run,
        prefetching.KIND: Prefetch(db, mirrors).run,
        rehearsing.KIND: Rehearse(db, mirrors).run,
    }


def schedules(db: Database, mirrors: Mirrors, jobs: JobSettings) -> Mapping[str, Scheduled]:
    """What of it is done again and again."""
    return {
        evicting.KIND: Scheduled(read_schedule(jobs.evict), Eviction(db, mirrors.upstreams).is_due),
        prefetching.KIND: Scheduled(read_schedule(jobs.prefetch), Prefetch(db, mirrors).is_due),
    }


def manage_upstreams(
    settings: Settings, db: Database, registry: Registry, mirrors: Mirrors
) -> ManagedUpstreams:
    """The same upstreams as administrators see them, before any was read from the rows."""
    configured = [each for each in mirrors.upstreams.all if each.is_configured]
    return ManagedUpstreams(db, registry, configured, settings.mirrors.private_addresses)
