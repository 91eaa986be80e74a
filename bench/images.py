"""Content made from a seed, and the manifests around it: any process can make the same again."""

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

LARGE_SEED, LARGE_BYTES = "large", 256 * MIB
"""The one large blob that whole GETs and ranges ask for."""


@dataclass(frozen=True, slots=True)
class Blob:
    """What a blob is made from, and what that gives."""

    seed: str
    size: int
    digest: str

    @property
    def content(self) -> bytes:
        """The bytes, made again."""
        return make_content(self.seed, self.size)


@dataclass(frozen=True, slots=True)
class Image:
    """A manifest with its blobs; the config is the first."""

    blobs: tuple[Blob, ...]
    manifest: bytes
    digest: str


def digest_of(content: bytes | bytearray | memoryview) -> str:
    """Give the sha256 digest as the specification writes it."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def make_blob(seed: str, size: int) -> Blob:
    """Describe the blob that `seed` gives."""
    return Blob(seed, size, digest_of(make_content(seed, size)))


def make_content(seed: str, size: int) -> bytes:
    """Make `size` bytes that no compression or shared block can help with."""
    if size < MIB:
        return random.Random(seed).randbytes(size)
    return _make_large_content(seed, size)


@lru_cache(maxsize=1)
def _make_large_content(seed: str, size: int) -> bytes:
    chance = random.Random(seed)
    return b"".join(chance.randbytes(min(MIB, size - start)) for start in range(0, size, MIB))


def stream_content(seed: str, size: int, piece_bytes: int) -> Iterator[memoryview]:
    """Give `size` bytes in pieces, holding one block of 1 MiB: every block differs by its number."""
    block = bytearray(random.Random(seed).randbytes(MIB))
    sent = 0
    number = 0
    while sent < size:
        block[:8] = number.to_bytes(8, "big")
        view = memoryview(block)[: min(MIB, size - sent)]
        for start in range(0, len(view), piece_bytes):
            yield view[start : start + piece_bytes]
        sent += len(view)
        number += 1


def make_image(seed: str, layer_sizes: Sequence[int]) -> Image:
    """Make an image of a 2 KiB config and layers of the sizes given."""
    blobs = [make_blob(f"{seed} config", 2 * KIB)]
    blobs += [make_blob(f"{seed} layer {number}", size) for number, size in enumerate(layer_sizes)]
    manifest = make_manifest(blobs)
    return Image(tuple(blobs), manifest, digest_of(manifest))


def make_manifest(blobs: Sequence[Blob], annotations: dict[str, str] | None = None) -> bytes:
    """Write the manifest of `blobs`, the config first; `annotations` make one distinct from another."""
    config, *layers = blobs
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": CONFIG_TYPE, "digest": config.digest, "size": config.size},
        "layers": [{"mediaType": LAYER_TYPE, "digest": layer.digest, "size": layer.size} for layer in layers],
    }
    return json.dumps(manifest | ({"annotations": annotations} if annotations else {}), indent=2).encode()
