"""The port to the bytes. `storage/` implements it.

A blob's file is named by its sha256 digest and generation. An upload's file is named by the upload's
id and is written by one holder at a time, across all processes.
"""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from moorage.oci.digest import Digest


class FilePart(NamedTuple):
    """Bytes of an open file that are in memory: the kernel can send them without this process's help."""

    fd: int
    offset: int
    length: int


Piece = bytes | bytearray | FilePart
"""A part of a blob on its way out."""


class BlobFile(Protocol):
    """An open blob; closed exactly once. Every method may be called from any thread."""

    @property
    def identity(self) -> tuple[int, ...]:
        """Differs whenever the file was replaced or written to; its last item is the size in bytes."""
        ...

    def read_cached(self, offset: int, length: int) -> bytes | bytearray | None:
        """Bytes that are in memory already, without waiting for the disk; None when they are not."""
        ...

    def part_in_memory(self, offset: int, length: int) -> FilePart | None:
        """The part itself, if it need not be waited for; None when it has to come from the disk."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes, waiting for the disk.

        Raises BlobDamaged when the file ends early, StorageFailed when the disk cannot read it.
        """
        ...

    def read_aside(self, offset: int, length: int) -> bytes:
        """As `read`, from the disk where it can be, and without a trace in the memory that others use."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class UploadFile(Protocol):
    """The bytes of an upload so far, held by one writer until `close`."""

    @property
    def size(self) -> int:
        """How many bytes it has."""
        ...

    def append(self, piece: bytes) -> None:
        """Add bytes at the end. Raises StorageFull (507), StorageFailed (500)."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Bytes as stored; fewer than `length` at the end."""
        ...

    def truncate(self, size: int, *, in_place: bool = True) -> None:
        """Forget the bytes from `size` on; a blob that a commit has made of them keeps them.

        Unless `in_place` whoever has the file open keeps them too: the upload goes on in another.
        """
        ...

    def sync(self) -> None:
        """Return when the bytes and the file's name would survive a power cut."""
        ...

    def close(self) -> None:
        """Let the next writer in."""
        ...


class UploadState(NamedTuple):
    """An upload's file as it is at this moment; all 0 when there is none.

    `size` in bytes; `changed_ns` since 1970-01-01 UTC, when it was last written to; `number`: another file's
    is another, and it is the second item of a `BlobFile.identity`.
    """

    size: int
    changed_ns: int
    number: int


class UploadStore(Protocol):
    """Where bytes on their way in are kept, each upload in a file by its id."""

    def open_upload(self, upload_id: str) -> UploadFile:
        """Hold an upload's file, made if need be. Raises UploadBusy (409) when another holds it."""
        ...

    def read_upload(self, upload_id: str) -> BlobFile | None:
        """An upload's file to be read while it grows; None when there is none."""
        ...

    def upload_state(self, upload_id: str) -> UploadState:
        """What is known of an upload's file without opening it."""
        ...

    def upload_size(self, upload_id: str) -> int:
        """How many bytes an upload's file has; 0 when there is none."""
        ...

    def discard_upload(self, upload_id: str) -> None:
        """Remove an upload's file, if there is one."""
        ...

    def list_old_uploads(self, age_s: float) -> list[str]:
        """The names of upload files, finished or not, that nobody has written to for so long."""
        ...


class BlobStore(UploadStore, Protocol):
    """Where bytes are kept."""

    def check_writable(self) -> None:
        """Raise StorageReadOnly (503) or StorageFull (507) when a push cannot succeed now."""
        ...

    def commit(self, upload_id: str, digest: Digest, generation: int) -> None:
        """Make a synced upload file a blob's file too; durable when this returns. May be done again."""
        ...

    def open_blob(self, digest: Digest, generation: int) -> BlobFile | None:
        """Open a blob; None when its file is gone."""
        ...

    def blob_size(self, digest: Digest, generation: int) -> int | None:
        """The size of a blob's file in bytes; None when the file is gone."""
        ...

    def remove_blobs(self, blobs: Iterable[tuple[Digest, int]]) -> None:
        """Remove the files of these generations, if they are there; durable when this returns."""
        ...

    def quarantine(self, digest: Digest, generation: int) -> None:
        """Put a damaged blob's file aside, where an operator finds it and no one is served from it."""
        ...


class BlobDamaged(Exception):
    """A blob's file does not hold the bytes its digest names."""
