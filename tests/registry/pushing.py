"""Pushes that a test of use cases needs before it comes to its point."""

from collections.abc import AsyncIterator

from moorage.database import Database
from moorage.oci.digest import SHA256, Digest, digest_of
from moorage.oci.names import RepositoryName, Tag
from moorage.records.audit.rows import Actor
from moorage.registry.blobs.store import BlobStore
from moorage.registry.manifests.pushing import push_manifest
from moorage.registry.uploads.uploading import Chunk, Uploads
from tests.content import Document, encode

REPOSITORY = RepositoryName("team/app")
OTHER = RepositoryName("team/other")
CLIENT = Actor(address="127.0.0.1")


async def body_of(*pieces: bytes, error: BaseException | None = None) -> AsyncIterator[bytes]:
    """A request's body; with an error, one whose client left behind the last piece."""
    for piece in pieces:
        yield piece
    if error is not None:
        raise error


def chunk_of(*pieces: bytes, error: BaseException | None = None) -> Chunk:
    """A chunk without a declared length, in these pieces."""
    return Chunk(body_of(*pieces, error=error))


async def push_blob(
    uploads: Uploads, content: bytes, repository: RepositoryName = REPOSITORY, algorithm: str = SHA256
) -> Digest:
    """Push a blob in one request; its digest."""
    digest = digest_of(content, algorithm)  # type: ignore[arg-type] # a text that names one
    upload = await uploads.begin(repository, str(CLIENT))
    await uploads.finish(repository, upload.id, Chunk(body_of(content), len(content)), digest)
    return digest


async def push_document(
    db: Database,
    store: BlobStore,
    document: Document,
    *tags: str,
    repository: RepositoryName = REPOSITORY,
) -> Digest:
    """Push a manifest; its digest."""
    pushed = await push_manifest(
        db,
        store,
        repository,
        encode(document),
        document.get("mediaType"),
        digest=None,
        tags=[Tag(tag) for tag in tags],
        pushed_by=CLIENT,
    )
    return pushed.digest
