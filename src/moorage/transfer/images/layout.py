"""OCI layouts: what `index.json` names.

Source: image-spec main (13cff54), image-layout.md; containerd's annotation of an image's full name.
"""

from typing import Any

from moorage.errors import ManifestInvalid
from moorage.oci import strict_json
from moorage.oci.descriptor import parse_descriptor
from moorage.oci.digest import algorithm_of, encoded_of
from moorage.transfer.images.archive import Archive, ArchiveRefused
from moorage.transfer.images.naming import Named

INDEX, MARK = "index.json", "oci-layout"
MARK_CONTENT = b'{"imageLayoutVersion":"1.0.0"}'
REF_NAME = "org.opencontainers.image.ref.name"
FULL_NAME = "io.containerd.image.name"
JSON_MAX_BYTES = 8 * 1024 * 1024


def path_of(digest: str) -> str:
    """Where a content is in a layout."""
    return f"blobs/{algorithm_of(digest)}/{encoded_of(digest)}"


def is_layout(archive: Archive) -> bool:
    """Whether an archive is, or has in it, an OCI layout."""
    return archive.find(MARK) is not None and archive.find(INDEX) is not None


def read_layout(archive: Archive) -> list[Named]:
    """The images that a layout names. Raises ArchiveRefused."""
    if not is_layout(archive):
        raise ArchiveRefused(f"this is no OCI layout: it has no {MARK} and {INDEX}")
    version = read_json(archive, MARK, JSON_MAX_BYTES)
    if not isinstance(version, dict) or not str(version.get("imageLayoutVersion")).startswith("1."):
        raise ArchiveRefused("this is a layout of another version; want 1.0.0")
    index = read_json(archive, INDEX, JSON_MAX_BYTES)
    listed = index.get("manifests") if isinstance(index, dict) else None
    if not isinstance(listed, list):
        raise ArchiveRefused(f"{INDEX} lists no manifests")
    return [_read_entry(each, number) for number, each in enumerate(listed)]


def read_json(archive: Archive, name: str, max_bytes: int) -> Any:
    """A JSON file's value. Raises ArchiveRefused."""
    try:
        return strict_json.parse(archive.read(name, max_bytes))
    except strict_json.NotStrict as error:
        raise ArchiveRefused(f"{name} in the archive: {error}") from error


def _read_entry(value: Any, number: int) -> Named:
    try:
        root = parse_descriptor(value, f"manifests[{number}]")
    except ManifestInvalid as refusal:
        raise ArchiveRefused(f"{INDEX}: {refusal}") from refusal
    annotations = value.get("annotations") or {}
    return Named(root, annotations.get(FULL_NAME) or annotations.get(REF_NAME) or "")
