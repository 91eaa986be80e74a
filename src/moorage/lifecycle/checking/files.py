"""The port to the files as a check sees them. `storage/` implements it; every method is for a thread."""

from typing import NamedTuple, Protocol


class StoredFile(NamedTuple):
    """A file by its name in its folder. `age_ms`: since it was last written to, linked or renamed.

    `links`: how many names it has; while it becomes a blob it keeps the upload's.
    """

    name: str
    size: int
    age_ms: int
    links: int = 1


class StoreFiles(Protocol):
    """Folders of blobs, and what was put aside. All raise StorageFailed (500)."""

    def list_shards(self) -> list[str]:
        """The names of the folders that blobs lie in, in order."""
        ...

    def list_blobs(self, shard: str) -> list[StoredFile]:
        """What lies in one of them, in no order."""
        ...

    def list_uploads(self) -> list[StoredFile]:
        """The files of uploads."""
        ...

    def put_aside(self, shard: str, name: str) -> bool:
        """Move a file of a shard to where no one is served from; False when it is gone. Durable."""
        ...

    def put_back(self, shard: str, name: str) -> None:
        """The reverse. Durable."""
        ...

    def discard(self, shard: str, name: str) -> None:
        """Remove a file of a shard that is no blob."""
        ...

    def list_aside(self) -> list[StoredFile]:
        """What was put aside; its age is how long ago."""
        ...

    def discard_aside(self, name: str) -> None:
        """Remove a file that was put aside."""
        ...
