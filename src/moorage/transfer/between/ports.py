"""What a copy asks of where images come from, of where they go to, and of whoever watches."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Literal, NamedTuple, Protocol

from moorage.oci.descriptor import Descriptor
from moorage.oci.digest import Digest

How = Literal["sent", "mounted", "there", "left out"]
"""How a blob is at the destination; `left out`: a layer that the source has not, fetched from elsewhere."""


class CopyRefused(Exception):
    """The copy cannot be made, or not so; the sentence says why and what to do."""


class Absent(CopyRefused):
    """The source has no such thing."""


class Interrupted(CopyRefused):
    """A line was cut, or a place failed for a moment: it may be asked again, after so many seconds."""

    def __init__(self, sentence: str, after_s: float = 0.0) -> None:
        super().__init__(sentence)
        self.after_s = after_s


class Content(NamedTuple):
    """A manifest as it came; its bytes match `digest`."""

    digest: Digest
    media_type: str
    payload: bytes


OpenBlob = Callable[[int], AbstractAsyncContextManager[AsyncIterator[bytes]]]
"""A blob's bytes from an offset on; their length, and from 0 on their digest, is checked before their end."""


class Source(Protocol):
    """One repository, layout or archive that images come from.

    Each method raises CopyRefused.
    """

    async def list_tags(self) -> list[str]:
        """All tags."""
        ...

    async def get_manifest(self, reference: str) -> Content:
        """What a tag or digest names; `""` names the only image there is. Raises Absent."""
        ...

    async def list_referrers(self, subject: Digest) -> list[Descriptor]:
        """The manifests with this subject."""
        ...

    def open_blob(self, target: Descriptor, offset: int) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """A blob from an offset on; it need not be checked. Raises Absent, Interrupted, also on the way."""
        ...

    def position_of(self, target: Descriptor) -> int:
        """Where a blob lies, for whoever reads several in their order; 0 where that is all the same."""
        ...


class Destination(Protocol):
    """One repository, layout or archive that images go to. Each method raises CopyRefused."""

    async def find_manifest(self, reference: str, *, is_listed: bool) -> Digest | None:
        """What a tag names there, or a digest that is there. `is_listed`: if it stands there for itself."""
        ...

    async def has_blob(self, target: Descriptor) -> bool:
        """Whether a blob is there."""
        ...

    async def put_blob(self, target: Descriptor, read: OpenBlob, moved: Callable[[int], None]) -> How:
        """Bring a blob, from where an earlier attempt ended; `moved` hears of bytes that have travelled."""
        ...

    async def put_manifest(self, content: Content, tag: str | None, *, is_listed: bool) -> None:
        """Bring a manifest whose children and blobs are there. `is_listed`: no other one leads to it."""
        ...

    async def finish(self) -> None:
        """All is there."""
        ...


class BegunUpload(Protocol):
    """A blob's upload that this process has for itself."""

    url: str | None
    """Where an earlier attempt sent it to."""

    def note(self, url: str) -> None:
        """Where it goes to."""
        ...

    def forget(self) -> None:
        """It is done."""
        ...


class BegunUploads(Protocol):
    """Where uploads go that may be cut, remembered for the next attempt."""

    def hold(self, name: str) -> AbstractContextManager[BegunUpload]:
        """The upload of a blob, by any name that no other has."""
        ...


class Watch(Protocol):
    """Who looks on."""

    def image(self, name: str, blobs: int) -> None:
        """An image is begun, with so many blobs that are to be looked at."""
        ...

    def begin(self, target: Descriptor) -> None:
        """A blob is begun."""
        ...

    def moved(self, target: Descriptor, count: int) -> None:
        """So many bytes more of it have come."""
        ...

    def end(self, target: Descriptor, how: How) -> None:
        """A blob is there."""
        ...

    def leave(self, target: Descriptor) -> None:
        """A blob will not be finished."""
        ...
