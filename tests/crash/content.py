"""What the cases push, and what is in the registry before they do. Bytes depend on their name only."""

import hashlib
import json
import random
from dataclasses import dataclass, field

REPOSITORY = "team/app"
OTHER = "team/other"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
KIB = 1024


def make_bytes(mark: str, size: int) -> bytes:
    return random.Random(mark).randbytes(size)


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass(frozen=True)
class Image:
    """An image of one configuration and two layers that only this mark has."""

    mark: str
    blobs: tuple[bytes, ...] = field(init=False)
    manifest: bytes = field(init=False)

    def __post_init__(self) -> None:
        config = json.dumps({"architecture": "amd64", "os": "linux", "comment": self.mark}).encode()
        layers = [make_bytes(f"{self.mark}/{number}", 3000 + number) for number in range(2)]
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor(CONFIG, config),
            "layers": [_descriptor(LAYER, layer) for layer in layers],
        }
        object.__setattr__(self, "blobs", (config, *layers))
        object.__setattr__(self, "manifest", json.dumps(manifest).encode())

    @property
    def digest(self) -> str:
        return digest_of(self.manifest)


def _descriptor(media_type: str, content: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}


OLD, NEW, DOOMED = Image("old"), Image("new"), Image("doomed")
LOOSE = make_bytes("loose", 5000)
"""In the registry, and no manifest names it."""
LAYER_BYTES = make_bytes("layer", 72 * KIB)
"""What the upload cases push."""
RESUMED = make_bytes("resumed", 40 * KIB)
RESUMED_AT = 24 * KIB
"""How much of it the registry has acknowledged; it holds a little more."""
RESUMED_UPLOAD = "7f3e1a52-0000-4000-8000-000000000001"
SHARED = make_bytes("shared", 20 * KIB)
"""In REPOSITORY, to be pushed to OTHER."""
HEALED = make_bytes("healed", 20 * KIB)
"""In REPOSITORY once; its file is damaged and it is no longer served."""
STALE = make_bytes("stale", 5000)
"""In REPOSITORY; no manifest names it, and its lease is over."""
DELETING = make_bytes("deleting", 5000)
"""In no repository any more; its file is to be removed."""
BITTEN = make_bytes("bitten", 5000)
"""In REPOSITORY; its file is damaged, and no one knows yet."""
CHILD, TRASHED, PURGED = Image("child"), Image("trashed"), Image("purged")
"""An index's only image; one that was deleted and can be restored; one whose time in the trash is over."""
INDEX = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": INDEX_TYPE,
        "manifests": [{"mediaType": MANIFEST, "digest": CHILD.digest, "size": len(CHILD.manifest)}],
    }
).encode()
WHOLE, GONE, OVER = "team/whole", "team/gone", "team/over"
"""Repositories with one image each: served, deleted, and deleted so long ago that its time is over."""
HAD = {name: Image(name) for name in (WHOLE, GONE, OVER)}
TAKEN, TAKEN_IMAGES = "team/taken", (Image("taken 1"), Image("taken 2"))
"""In the folder of another registry."""

EVERY_BLOB = {
    digest_of(blob): blob
    for blob in (
        *OLD.blobs,
        *NEW.blobs,
        *DOOMED.blobs,
        LOOSE,
        LAYER_BYTES,
        RESUMED,
        SHARED,
        HEALED,
        DELETING,
    )
}
EVERY_MANIFEST = {image.digest: image.manifest for image in (OLD, NEW, DOOMED)}
