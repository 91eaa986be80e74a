"""Blobs and manifests to push. Source: image-spec main (13cff54)."""

import hashlib
import json
import secrets
from collections.abc import Sequence
from typing import Any

Document = dict[str, Any]

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
IMAGES = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEXES = (OCI_INDEX, DOCKER_LIST)

MIB = 1 << 20
EMPTY_DIGEST = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
ABSENT = "sha256:" + "0" * 64


def some_bytes(size: int = 2048) -> bytes:
    """Bytes that no test has seen before."""
    return secrets.token_bytes(size)


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    """The digest of bytes."""
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def encode(document: Document) -> bytes:
    """A document as the bytes that are pushed."""
    return json.dumps(document).encode()


def descriptor(content: bytes, media_type: str = LAYER, algorithm: str = "sha256", **more: Any) -> Document:
    """What points at bytes."""
    return {
        "mediaType": media_type,
        "digest": digest_of(content, algorithm),
        "size": len(content),
        **more,
    }


def image(
    config: bytes, layers: Sequence[bytes] = (), media_type: str = OCI_MANIFEST, **more: Any
) -> Document:
    """An image manifest."""
    return {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": descriptor(config, CONFIG),
        "layers": [descriptor(layer) for layer in layers],
        **more,
    }


def index(children: Sequence[Document] = (), media_type: str = OCI_INDEX, **more: Any) -> Document:
    """An index of manifests."""
    return {
        "schemaVersion": 2,
        "mediaType": media_type,
        "manifests": [descriptor(encode(child), child["mediaType"]) for child in children],
        **more,
    }


def subject(document: Document) -> Document:
    """A descriptor of a manifest, for another's `subject`."""
    return descriptor(encode(document), document["mediaType"])
