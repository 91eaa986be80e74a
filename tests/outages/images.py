"""Images of known content, for an upstream: what comes through a mirror must be these bytes."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.content import (
    Document,
    digest_of,
    encode,
    image,
    index,
    some_bytes,
    subject,
)
from tests.spec.client import Repository

SIGNATURE = "application/vnd.example.signature.v1"


@dataclass(frozen=True)
class Known:
    """What a tag names at an upstream, with all that hangs on it."""

    tag: str
    top: Document
    """The manifest of the tag: an image, or an index."""
    images: tuple[Document, ...]
    """The image itself, or those of each platform."""
    blobs: dict[str, bytes]
    """By their digests."""
    signature: Document | None = field(default=None)
    """A referrer of the tag's manifest."""

    @property
    def payload(self) -> bytes:
        """The bytes that the tag names."""
        return encode(self.top)

    @property
    def digest(self) -> str:
        return digest_of(self.payload)

    @property
    def layers(self) -> list[str]:
        """The digests of the blobs of the first image, largest last."""
        return sorted(_pointers(self.images[0]), key=lambda digest: len(self.blobs[digest]))


def push_image(repository: Repository, tag: str, layer_sizes: Sequence[int] = (100_000,)) -> Known:
    """An image of one platform with layers of these sizes."""
    contents = [some_bytes(64), *(some_bytes(size) for size in layer_sizes)]
    document = image(contents[0], contents[1:])
    for content in contents:
        repository.push_blob(content)
    repository.push_manifest(document, tag)
    return Known(tag, document, (document,), {digest_of(content): content for content in contents})


def push_signed_index(repository: Repository, tag: str) -> Known:
    """Images of two platforms that share a layer, their index, and a signature of the index.

    The registry may have no referrers API: the signature is also found by the tag that the specification
    has for that.
    """
    shared = some_bytes(50_000)
    contents = [shared]
    images = []
    for _ in ("amd64", "arm64"):
        own = [some_bytes(64), some_bytes(20_000)]
        images.append(image(own[0], [shared, own[1]]))
        contents += own
    top = index(images)
    for pointer, architecture in zip(top["manifests"], ("amd64", "arm64"), strict=True):
        pointer["platform"] = {"os": "linux", "architecture": architecture}
    signed = [some_bytes(64), some_bytes(300)]
    signature = image(signed[0], signed[1:], artifactType=SIGNATURE, subject=subject(top))
    for content in (*contents, *signed):
        repository.push_blob(content)
    for document in (*images, signature):
        repository.push_manifest(document)
    repository.push_manifest(top, tag)
    listed = index([signature])
    listed["manifests"][0]["artifactType"] = SIGNATURE
    repository.push_manifest(listed, digest_of(encode(top)).replace(":", "-"))
    blobs = {digest_of(content): content for content in (*contents, *signed)}
    return Known(tag, top, tuple(images), blobs, signature)


def _pointers(document: Document) -> list[str]:
    return [document["config"]["digest"], *(layer["digest"] for layer in document["layers"])]
