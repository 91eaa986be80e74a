"""Another registry as a test wants it to be: the port, answered from what the test put there."""

# ruff: noqa: ARG002 - the port's parameters

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from moorage.mirrors.asking import (
    BlobStream,
    Failed,
    Fetched,
    NotThere,
    Quota,
    Shown,
    UpstreamFailure,
)
from moorage.mirrors.upstreams import Address
from moorage.oci.digest import Digest, digest_of, is_digest
from moorage.oci.media_types import OCI_INDEX, OCI_MANIFEST
from moorage.oci.names import RepositoryName

LAYER = "application/vnd.oci.image.layer.v1.tar"
CONFIG = "application/vnd.oci.image.config.v1+json"


def descriptor(content: bytes, media_type: str) -> dict[str, Any]:
    """What points at some content."""
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}


@dataclass(slots=True)
class Elsewhere:
    """What one address has, and how it answers."""

    manifests: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    blobs: dict[Digest, bytes] = field(default_factory=dict)
    referrers: dict[Digest, list[Mapping[str, Any]]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    """What it was asked for: a method, or "BLOB", and a reference."""
    failure: UpstreamFailure | None = None
    """How it fails, while it does."""
    cuts_at: list[int] = field(default_factory=list)
    """After so many bytes each of the next blobs is cut."""
    drip_s: float = 0.0
    """How long it waits before each byte of a blob; 0: they come many at once."""
    gate: asyncio.Event | None = None
    """What it waits for in the middle of a blob."""
    list_gate: asyncio.Event | None = None
    """What it waits for before a list."""
    changed: dict[Digest, bytes] = field(default_factory=dict)
    """Blobs that it sends with other bytes than they have."""
    only_in: dict[Digest, str] = field(default_factory=dict)
    """Blobs that one repository of it has, and the others have not."""

    def push_image(self, repository: str, tag: str, *layers: bytes, **more: Any) -> Digest:
        """Put an image there; its digest."""
        config = json.dumps({"of": tag}).encode()
        self.blobs |= {digest_of(each): each for each in (config, *layers)}
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor(config, CONFIG),
            "layers": [descriptor(each, LAYER) for each in layers],
            **more,
        }
        return self.put(repository, tag, OCI_MANIFEST, json.dumps(manifest).encode())

    def push_index(self, repository: str, tag: str, *children: Digest) -> Digest:
        """Put an index of images there; its digest."""
        entries = [descriptor(self.manifests[repository, each][1], OCI_MANIFEST) for each in children]
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
        return self.put(repository, tag, OCI_INDEX, json.dumps(index).encode())

    def put(self, repository: str, tag: str, media_type: str, payload: bytes) -> Digest:
        """Put a manifest there; its digest."""
        digest = digest_of(payload)
        for reference in (tag, digest):
            self.manifests[repository, reference] = media_type, payload
        return digest

    def has_blob(self, repository: str, digest: Digest) -> bool:
        """Whether this repository of it serves a blob."""
        return digest in self.blobs and self.only_in.get(digest, repository) == repository

    def count(self, method: str) -> int:
        """How often it was asked so."""
        return sum(each == method for each, _ in self.asked)


class Everywhere:
    """The port to several of them, by address."""

    def __init__(self, places: Mapping[str, Elsewhere]) -> None:
        self.places = places

    def _ask(self, at: Address, method: str, reference: str) -> Elsewhere:
        place = self.places[at.url]
        place.asked.append((method, reference))
        if place.failure is not None:
            raise place.failure
        return place

    async def close(self) -> None:
        """Nothing is open."""

    async def ping(self, at: Address, timeout_s: float) -> None:
        """See `Registry`."""
        self._ask(at, "PING", "")

    async def head_manifest(
        self, at: Address, repository: RepositoryName, reference: str, timeout_s: float
    ) -> Shown:
        """See `Registry`."""
        media_type, payload = self._find(self._ask(at, "HEAD", reference), repository, reference)
        return Shown(digest_of(payload), media_type, len(payload))

    async def get_manifest(
        self, at: Address, repository: RepositoryName, reference: str, max_bytes: int, timeout_s: float
    ) -> Fetched:
        """See `Registry`."""
        place = self._ask(at, "GET", reference)
        # several who ask at once do so
        await asyncio.sleep(0.01)
        media_type, payload = self._find(place, repository, reference)
        return Fetched(Digest(reference) if is_digest(reference) else digest_of(payload), media_type, payload)

    @staticmethod
    def _find(place: Elsewhere, repository: str, reference: str) -> tuple[str, bytes]:
        found = place.manifests.get((repository, reference))
        if found is None:
            raise NotThere(f"it has no {repository}:{reference}")
        return found

    async def head_blob(
        self, at: Address, repository: RepositoryName, digest: Digest, timeout_s: float
    ) -> int | None:
        """See `Registry`."""
        place = self._ask(at, "HEAD BLOB", digest)
        if not place.has_blob(repository, digest):
            raise NotThere(f"it has no {digest}")
        return len(place.blobs[digest])

    @asynccontextmanager
    async def open_blob(
        self, at: Address, repository: RepositoryName, digest: Digest, offset: int, timeout_s: float
    ) -> AsyncIterator[BlobStream]:
        """See `Registry`."""
        place = self._ask(at, "BLOB", f"{digest}@{offset}")
        if not place.has_blob(repository, digest):
            raise NotThere(f"it has no {digest}")
        content = place.changed.get(digest, place.blobs[digest])
        yield BlobStream(len(content), self._pieces(place, content, offset))

    @staticmethod
    async def _pieces(place: Elsewhere, content: bytes, offset: int) -> AsyncIterator[bytes]:
        cut_at = place.cuts_at.pop(0) if place.cuts_at else len(content)
        step = 1 if place.drip_s else 65_536
        for at in range(offset, len(content), step):
            await asyncio.sleep(place.drip_s)
            if place.gate is not None and at >= len(content) // 2:
                await place.gate.wait()
            end = min(at + step, len(content), cut_at)
            if end > at:
                yield content[at:end]
            if end >= cut_at and cut_at < len(content):
                raise Failed("it was cut")

    async def list_tags(
        self, at: Address, repository: RepositoryName, last: str, limit: int, timeout_s: float
    ) -> list[str]:
        """See `Registry`."""
        place = self._ask(at, "TAGS", repository)
        if place.list_gate is not None:
            await place.list_gate.wait()
        tags = sorted(each for name, each in place.manifests if name == repository and ":" not in each)
        if not tags:
            raise NotThere(f"it has no {repository}")
        return [each for each in tags if each > last][:limit]

    async def list_referrers(
        self, at: Address, repository: RepositoryName, subject: Digest, timeout_s: float
    ) -> list[Mapping[str, Any]]:
        """See `Registry`."""
        place = self._ask(at, "REFERRERS", subject)
        if place.list_gate is not None:
            await place.list_gate.wait()
        return place.referrers.get(subject, [])

    def quota_of(self, at: Address) -> Quota | None:
        """See `Registry`."""
        return None
