"""What `docker save` wrote before it wrote layouts, and podman and skopeo still write.

    manifest.json     [{"Config": NAME, "RepoTags": [NAME:TAG], "Layers": [NAME, ...]}, ...]
    <config>          the image's configuration; its rootfs.diff_ids are the digests of the layers' tars
    <layer>           a tar, rarely compressed; two images may share one, by name or by a link

Source: moby, image/tarexport; containers/image, docker/internal/tarfile.
"""

from dataclasses import dataclass
from typing import Any

from moorage.oci.digest import Digest, is_digest
from moorage.transfer.images.archive import Archive, ArchiveRefused
from moorage.transfer.images.layout import JSON_MAX_BYTES, read_json

MANIFEST = "manifest.json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
CONFIG_TYPES = frozenset({CONFIG_TYPE, "application/vnd.oci.image.config.v1+json"})
"""Of images that docker can load."""
LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_LAYERS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class SavedImage:
    """An image by the names of its files; `diff_ids` are what the layers' tars have to be."""

    config: str
    layers: tuple[str, ...]
    diff_ids: tuple[Digest, ...]
    names: tuple[str, ...]


def read_saved(archive: Archive) -> list[SavedImage]:
    """The images of an archive. Raises ArchiveRefused."""
    if archive.find(MANIFEST) is None:
        raise ArchiveRefused(f"this is nothing that `docker save` has written: it has no {MANIFEST}")
    listed = read_json(archive, MANIFEST, JSON_MAX_BYTES)
    if not isinstance(listed, list) or not listed:
        raise ArchiveRefused(f"{MANIFEST} lists no images")
    return [_read_image(archive, each) for each in listed]


def _read_image(archive: Archive, value: Any) -> SavedImage:
    fields = value if isinstance(value, dict) else {}
    config, layers, names = fields.get("Config"), fields.get("Layers") or [], fields.get("RepoTags") or []
    if not isinstance(config, str) or not _are_texts(layers) or not _are_texts(names):
        raise ArchiveRefused(f"{MANIFEST} describes an image that cannot be read")
    if len(layers) > _LAYERS_MAX:
        raise ArchiveRefused(f"{MANIFEST} describes an image of more than {_LAYERS_MAX} layers")
    content = read_json(archive, config, JSON_MAX_BYTES)
    rootfs = content.get("rootfs") if isinstance(content, dict) else None
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    diff_ids = [] if diff_ids is None else diff_ids
    if not _are_texts(diff_ids) or not all(is_digest(each) for each in diff_ids):
        raise ArchiveRefused(f"{config} in the archive says nothing of its layers that can be read")
    if len(diff_ids) != len(layers):
        raise ArchiveRefused(f"{config} in the archive has {len(diff_ids)} layers, {MANIFEST} {len(layers)}")
    return SavedImage(config, tuple(layers), tuple(map(Digest, diff_ids)), tuple(names))


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)
