"""What one transaction of an import writes: blobs live, linked and leased; manifests; tags."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from moorage.database import Transaction
from moorage.errors import ManifestBlobUnknown, ManifestInvalid, TagImmutable
from moorage.oci.digest import Digest, algorithm_of
from moorage.oci.manifest import Manifest
from moorage.oci.names import RepositoryName, Tag
from moorage.records.audit.rows import Actor, record
from moorage.registry.blobs import rows as blob_rows
from moorage.registry.manifests import rows as manifest_rows
from moorage.registry.manifests.pushing import keep_manifest
from moorage.registry.repositories.rows import ensure_repository
from moorage.registry.tags import rows as tag_rows
from moorage.transfer.takeover.planning import IMPORTED_BY, judge_tag
from moorage.transfer.takeover.source import Means, Tagged

_OPERATOR = Actor("operator", "local")
_IMPORT = Actor(IMPORTED_BY, "local")


class ReadyBlob(NamedTuple):
    """A blob whose file is here, durably. `means` is None where it was here before."""

    digest: Digest
    sha512: Digest | None
    size: int
    generation: int
    means: Means | None


class ReadyManifest(NamedTuple):
    """A manifest as it was read there, and when it came there in milliseconds."""

    manifest: Manifest
    payload: bytes
    at: int


@dataclass(slots=True)
class Batch:
    """What is to be written in one transaction; `lost` and `lost_blobs`: what cannot be had, and why."""

    blobs: list[ReadyBlob] = field(default_factory=list)
    manifests: dict[Digest, ReadyManifest] = field(default_factory=dict)
    tags: Mapping[str, Tagged] = field(default_factory=dict)
    lost: dict[Digest, str] = field(default_factory=dict)
    lost_blobs: dict[Digest, str] = field(default_factory=dict)


@dataclass(slots=True)
class Written:
    """What became of it. `late` blobs need a file of a later generation: then nothing else was written."""

    late: set[Digest] = field(default_factory=set)
    manifests: set[Digest] = field(default_factory=set)
    refused: dict[Digest, str] = field(default_factory=dict)
    tags: int = 0
    kept_tags: dict[str, str] = field(default_factory=dict)
    lost_tags: dict[str, str] = field(default_factory=dict)


def write_batch(tx: Transaction, name: RepositoryName, batch: Batch, lease_ms: int) -> Written:
    """Write a batch into a repository, which is made if need be."""
    written = Written()
    repository_id = ensure_repository(tx, name)
    for blob in batch.blobs:
        if blob_rows.make_live(tx, blob.digest, blob.sha512, blob.size, blob.generation):
            blob_rows.link(tx, repository_id, blob.digest, "uploaded", lease_ms)
        else:
            written.late.add(blob.digest)
    if written.late:
        return written
    for digest, ready in batch.manifests.items():
        try:
            keep_manifest(tx, repository_id, name, ready.manifest, ready.payload, digest, _IMPORT, ready.at)
            written.manifests.add(digest)
        except ManifestBlobUnknown as refusal:
            written.refused[digest] = _say_missing(refusal, batch.lost_blobs)
        except ManifestInvalid as refusal:
            written.refused[digest] = str(refusal.detail.get("reason", refusal))
    _move_tags(tx, repository_id, batch.tags, written)
    if written.manifests or written.tags:
        detail = f"{len(written.manifests)} manifests, {written.tags} tags"
        record(tx, _OPERATOR, "import", name, detail=detail)
    return written


def _move_tags(tx: Transaction, repository_id: int, tags: Mapping[str, Tagged], written: Written) -> None:
    """Point tags to manifests that are here, unless someone else has moved them meanwhile."""
    held = manifest_rows.find_held(tx, repository_id, [digest for digest, _ in tags.values()])
    for tag, (digest, at) in tags.items():
        target = held.get(digest)
        if target is None:
            written.lost_tags[tag] = f"its manifest {digest} could not be brought"
            continue
        reason = judge_tag(tag_rows.find_state(tx, repository_id, tag), target.digest)
        if reason is None:
            algorithm = algorithm_of(digest)
            place = (tx, repository_id, Tag(tag), target.row_id, target.digest, algorithm)
            try:
                tag_rows.move(*place, IMPORTED_BY, at)
            except TagImmutable as refusal:
                written.kept_tags[tag] = str(refusal)
            else:
                written.tags += 1
        elif reason:
            written.kept_tags[tag] = reason


def _say_missing(refusal: ManifestBlobUnknown, lost: Mapping[Digest, str]) -> str:
    digests: Sequence[object] = refusal.detail["digests"]  # type: ignore[assignment] # its constructor's
    missing = [Digest(str(digest)) for digest in digests]
    return next((lost[digest] for digest in missing if digest in lost), f"{missing[0]} is not here")
