"""What the endpoints may call: made once per worker by `app.py`."""

from dataclasses import dataclass

from moorage.api.exchange import Request
from moorage.config import Settings
from moorage.database import Database
from moorage.registry.blobs.serving import BlobServer
from moorage.registry.blobs.store import BlobStore
from moorage.registry.uploads.uploading import Uploads

ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class Services:
    """Ports and use cases. There are no accounts yet: whoever reaches the registry may do all."""

    settings: Settings
    db: Database
    store: BlobStore
    blobs: BlobServer
    uploads: Uploads

    @staticmethod
    def actor(request: Request) -> str:
        """Who a change is recorded as made by."""
        return f"{ANONYMOUS}@{request.client}"
