"""Whether an image of an upstream is here as a whole: what of all that a pull needs is not here.

Of an index only the platforms that are wanted count, with what attests to them.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple

import msgspec

from moorage.database import Database
from moorage.errors import ManifestInvalid
from moorage.oci import strict_json
from moorage.oci.digest import Digest
from moorage.oci.manifest import Manifest, parse_manifest
from moorage.oci.names import RepositoryName
from moorage.registry.blobs.rows import read_held
from moorage.registry.images.platforms import platform_name
from moorage.registry.manifests.rows import StoredManifest, find_by_digest

_DEPTH_MAX: Final = 4
_ATTESTS: Final = "vnd.docker.reference.digest"
"""The annotation by which BuildKit says which child an attestation is of."""


class Missing(msgspec.Struct, frozen=True):
    """A part of an image that is not here. `platform` is empty where nothing says it; `size` in bytes."""

    digest: str
    kind: str
    size: int
    platform: str = ""


class Child(NamedTuple):
    """What an index says of a manifest: for which platform, or which other child it attests to."""

    digest: Digest
    size: int
    platform: str
    attests: str


Wanted = Callable[[Child], bool]
"""Whether a child of an index counts, an attestation apart."""


def wants(platforms: Collection[str]) -> Wanted:
    """Children for these platforms, whatever the variant where none is named; without any, all of them."""

    def is_wanted(child: Child) -> bool:
        return not platforms or any(
            child.platform == each or child.platform.startswith(f"{each}/") for each in platforms
        )

    return is_wanted


def read_children(payload: bytes) -> list[Child]:
    """The children of an index, as it says; none of what is none."""
    try:
        document = strict_json.parse(payload)
    except strict_json.NotStrict:
        return []
    listed = document.get("manifests") if isinstance(document, dict) else None
    children = []
    for each in listed if isinstance(listed, list) else []:
        digest, size = each.get("digest"), each.get("size")
        if isinstance(digest, str) and isinstance(size, int):
            attests = (each.get("annotations") or {}).get(_ATTESTS, "")
            children.append(
                Child(Digest(digest), size, platform_name(each.get("platform")) or "", str(attests))
            )
    return children


def choose(children: Sequence[Child], is_wanted: Wanted) -> list[Child]:
    """Those that count, with what attests to them."""
    chosen = {child.digest for child in children if not child.attests and is_wanted(child)}
    return [child for child in children if child.digest in chosen or child.attests in chosen]


async def find_missing(
    db: Database, repository: RepositoryName, root: StoredManifest, is_wanted: Wanted
) -> list[Missing]:
    """What of an image is not here, manifests first; nothing is known of what lies below those."""
    manifests: list[Missing] = []
    blobs: dict[Digest, Missing] = {}
    waiting = [(root, "", 0)]
    seen = {root.sha256}
    while waiting:
        stored, platform, depth = waiting.pop()
        manifest = _parse(stored)
        if manifest is None:
            continue
        if not manifest.is_index:
            blobs |= _blobs_of(manifest, platform)
            continue
        for child in choose(read_children(stored.payload), is_wanted):
            if child.digest in seen:
                continue
            seen.add(child.digest)
            found = await find_by_digest(db, repository, child.digest)
            if found is not None and depth < _DEPTH_MAX:
                waiting.append((found, child.platform, depth + 1))
            elif found is None and not await read_held(db, repository, [child.digest]):
                # BuildKit's cache lists blobs so
                manifests.append(Missing(child.digest, "manifest", child.size, child.platform))
    held = await read_held(db, repository, list(blobs))
    return manifests + [missing for digest, missing in blobs.items() if digest not in held]


def _blobs_of(manifest: Manifest, platform: str) -> dict[Digest, Missing]:
    return {
        each.target.digest: Missing(each.target.digest, each.kind.value, each.target.size, platform)
        for each in manifest.references
        if not each.may_be_absent
    }


def _parse(stored: StoredManifest) -> Manifest | None:
    try:
        return parse_manifest(stored.payload, stored.media_type)
    except ManifestInvalid:
        return None
