"""A saved layer on its way through gzip, and the manifest of an image whose layers went that way."""

import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from moorage.oci import media_types
from moorage.oci.digest import Digest, algorithm_of
from moorage.transfer.images import docker_archive
from moorage.transfer.images.archive import ArchiveRefused

_GZIP = 31
"""zlib's number for gzip with its largest window."""
_GZIP_LEVEL = 6


class Types(NamedTuple):
    """The media types of an image's parts."""

    manifest: str
    config: str
    layer: str


DOCKER: Final = Types(media_types.DOCKER_MANIFEST, docker_archive.CONFIG_TYPE, docker_archive.LAYER_TYPE)
OCI: Final = Types(
    media_types.OCI_MANIFEST,
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.oci.image.layer.v1.tar+gzip",
)


def write_manifest(types: Types, config: tuple[Digest, int], layers: Sequence[tuple[Digest, int]]) -> bytes:
    """The manifest of an image by the digests and sizes of its configuration and packed layers."""
    manifest = {
        "schemaVersion": 2,
        "mediaType": types.manifest,
        "config": _descriptor(types.config, *config),
        "layers": [_descriptor(types.layer, *layer) for layer in layers],
    }
    return json.dumps(manifest, indent=3).encode()


def _descriptor(media_type: str, digest: Digest, size: int) -> dict[str, object]:
    return {"mediaType": media_type, "size": size, "digest": digest}


class PackedLayer:
    """A layer's tar on its way through gzip, unless it is packed already; checked against its diff id.

    The same bytes give the same digest each time: no name and no time is in them.
    """

    def __init__(self, plain: Iterator[bytes], name: str, diff_id: Digest) -> None:
        self._plain = plain
        self._name = name
        self._diff_id = diff_id
        self._packed = hashlib.sha256()

    def pieces(self) -> Iterator[bytes]:
        """The packed bytes. Raises ArchiveRefused at their end when they are not what they should be."""
        hasher = hashlib.new(algorithm_of(self._diff_id), usedforsecurity=False)
        first = next(self._plain, b"")
        is_packed = first.startswith(b"\x1f\x8b")
        passed = self._pass_on(first, hasher.update) if is_packed else self._pack(first, hasher.update)
        for piece in passed:
            self._packed.update(piece)
            yield piece
        if f"{algorithm_of(self._diff_id)}:{hasher.hexdigest()}" != self._diff_id:
            raise ArchiveRefused(
                f"{self._name} in the archive is not the layer {self._diff_id} that it should be"
            )

    def get_digest(self) -> Digest:
        """Of the packed bytes so far."""
        return Digest(f"sha256:{self._packed.hexdigest()}")

    def _all(self, first: bytes) -> Iterator[bytes]:
        yield first
        yield from self._plain

    def _pack(self, first: bytes, note: Callable[[bytes], None]) -> Iterator[bytes]:
        packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP)
        for piece in self._all(first):
            note(piece)
            if packed := packer.compress(piece):
                yield packed
        yield packer.flush()

    def _pass_on(self, first: bytes, note: Callable[[bytes], None]) -> Iterator[bytes]:
        unpacker = zlib.decompressobj(_GZIP)
        for piece in self._all(first):
            rest = piece
            while rest:
                try:
                    # so much at a time: what is packed may be a thousand times as large
                    note(unpacker.decompress(rest, 1024 * 1024))
                except zlib.error as error:
                    raise ArchiveRefused(
                        f"{self._name} in the archive cannot be unpacked: {error}"
                    ) from error
                rest = unpacker.unconsumed_tail
                if unpacker.eof and unpacker.unused_data:
                    # another member follows
                    rest, unpacker = unpacker.unused_data, zlib.decompressobj(_GZIP)
            yield piece
        note(unpacker.flush())
