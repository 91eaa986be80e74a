"""The wiring of what mirrors other registries."""

from concurrent.futures import Executor

from moorage.config import Settings
from moorage.database import Database
from moorage.mirrors.asking import Registry
from moorage.mirrors.configuring import configured_upstreams
from moorage.mirrors.fetching import Manifests
from moorage.mirrors.filling import Fills
from moorage.mirrors.lines import Lines
from moorage.mirrors.managing import ManagedUpstreams
from moorage.mirrors.mirrors import Mirrors
from moorage.mirrors.placing import Upstreams
from moorage.mirrors.saving import Savings
from moorage.registry.blobs.store import BlobStore
from moorage.registry.uploads.uploading import Uploads


def open_mirrors(
    settings: Settings,
    db: Database,
    store: BlobStore,
    threads: Executor,
    uploads: Uploads,
    registry: Registry,
) -> Mirrors:
    """The mirrors of one process.

    Raises FileUnreadable.
    """
    lines, savings = Lines(db, registry), Savings(db)
    upstreams = Upstreams(db, configured_upstreams(settings.mirrors), lines)
    manifests = Manifests(db, registry, upstreams, lines, savings, settings.manifests.max_bytes)
    lease_ms = settings.delete.delay_ms
    fills = Fills(db, store, threads, uploads, registry, upstreams, lines, savings, lease_ms)
    return Mirrors(db, registry, upstreams, lines, manifests, fills, savings)


def manage_upstreams(
    settings: Settings, db: Database, registry: Registry, mirrors: Mirrors
) -> ManagedUpstreams:
    """The same upstreams as administrators see them, before any was read from the rows."""
    configured = [each for each in mirrors.upstreams.all if each.is_configured]
    return ManagedUpstreams(db, registry, configured, settings.mirrors.private_addresses)
