"""A store with images in it, whose files and rows a test may spoil."""

from pathlib import Path

from moorage.databases.sqlite import SqliteDatabase
from moorage.oci.digest import Digest
from moorage.registry.blobs.rows import find_blob
from moorage.registry.uploads.uploading import Uploads
from moorage.storage.filesystem import FilesystemStore
from tests.content import image, index, some_bytes
from tests.registry.pushing import REPOSITORY, push_blob, push_document


class Kept:
    """What a test pushes to, and then damages."""

    def __init__(self, db: SqliteDatabase, store: FilesystemStore, uploads: Uploads) -> None:
        self.db = db
        self.store = store
        self.uploads = uploads

    async def push(self, *tags: str, layer: bytes | None = None, in_index: bool = False) -> Digest:
        """An image with content of its own; the digest of its layer."""
        config, layer = some_bytes(64), layer or some_bytes(3000)
        await push_blob(self.uploads, config)
        digest = await push_blob(self.uploads, layer)
        document = image(config, [layer])
        if not in_index:
            await push_document(self.db, self.store, document, *tags)
            return digest
        await push_document(self.db, self.store, document)
        await push_document(self.db, self.store, index([document]), *tags)
        return digest

    def file_of(self, digest: str, generation: int = 1) -> Path:
        """Where a blob's file lies, or would."""
        return self.store.shards / digest[7:9] / f"{digest[7:]}.{generation}"

    def aside(self) -> list[str]:
        """The names of what was put aside."""
        return sorted(path.name for path in self.store.aside.iterdir())

    async def is_served(self, digest: Digest) -> bool:
        """Whether its repository serves it."""
        return await find_blob(self.db, REPOSITORY, digest) is not None


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
