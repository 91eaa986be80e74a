"""What the endpoints may call: made once per worker by `app.py`."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from moorage.api.exchange import Reply, Request
from moorage.api.gate import Gate
from moorage.config import Settings
from moorage.database import Database
from moorage.identity.accounts.passwords import Passwords
from moorage.identity.callers.callers import Callers
from moorage.identity.federation.exchanging import Exchanges
from moorage.identity.federation.visiting import Visits
from moorage.lifecycle.garbage.status import Disk
from moorage.mirrors.managing import ManagedUpstreams
from moorage.mirrors.mirrors import Mirrors
from moorage.oci.names import RepositoryName
from moorage.records.audit.rows import Actor
from moorage.registry.blobs.serving import BlobServer
from moorage.registry.blobs.store import BlobStore
from moorage.registry.images.platforms import PlatformReader
from moorage.registry.pulls.counting import Pulls
from moorage.registry.uploads.uploading import Uploads


@dataclass(frozen=True, slots=True)
class Services:
    """Ports and use cases."""

    settings: Settings
    db: Database
    store: BlobStore
    blobs: BlobServer
    uploads: Uploads
    callers: Callers
    passwords: Passwords
    gate: Gate
    exchanges: Exchanges
    visits: Visits
    pulls: Pulls
    platforms: PlatformReader
    disk: Disk
    mirrors: Mirrors
    managed: ManagedUpstreams

    def actor(self, request: Request) -> Actor:
        """Who a change is recorded as made by."""
        actor = request.caller.actor
        return actor if actor.address else replace(actor, address=self.gate.address(request))


Answer = Callable[[Services, Request, RepositoryName, str], Awaitable[Reply]]
"""An endpoint, given the repository and what else the path names."""
