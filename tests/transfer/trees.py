"""A folder as Docker's registry writes it, made by hand: what no registry would write can be put there."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Tree:
    """`folder` is its rootdirectory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "docker/registry/v2"
        (self.root / "repositories").mkdir(parents=True)
        (self.root / "blobs").mkdir()

    def data(self, digest: str) -> Path:
        encoded = digest.removeprefix("sha256:")
        return self.root / "blobs/sha256" / encoded[:2] / encoded / "data"

    def revision(self, repository: str, digest: str) -> Path:
        return self._under(repository) / "_manifests/revisions" / digest.replace(":", "/") / "link"

    def layer(self, repository: str, digest: str) -> Path:
        return self._under(repository) / "_layers" / digest.replace(":", "/") / "link"

    def current(self, repository: str, tag: str) -> Path:
        return self._under(repository) / "_manifests/tags" / tag / "current/link"

    def add_blob(self, repository: str, content: bytes) -> str:
        digest = self._add_content(content)
        _write(self.layer(repository, digest), digest)
        return digest

    def add_manifest(self, repository: str, manifest: bytes, tag: str | None = None) -> str:
        digest = self._add_content(manifest)
        _write(self.revision(repository, digest), digest)
        if tag is not None:
            self.tag(repository, tag, digest)
        return digest

    def add_image(
        self, repository: str, mark: str, tag: str | None = None, *, shared: Sequence[bytes] = ()
    ) -> str:
        """An image of a config and a layer of its own, and of shared layers; its digest."""
        config, *layers = json.dumps({"comment": mark}).encode(), f"layer of {mark}".encode() * 99, *shared
        for blob in (config, *layers):
            self.add_blob(repository, blob)
        return self.add_manifest(repository, image_manifest(config, layers), tag)

    def add_index(self, repository: str, children: Sequence[str], tag: str | None = None) -> str:
        sizes = {child: self.data(child).stat().st_size for child in children}
        manifest = {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [
                {"mediaType": MANIFEST, "digest": child, "size": size} for child, size in sizes.items()
            ],
        }
        return self.add_manifest(repository, json.dumps(manifest).encode(), tag)

    def tag(self, repository: str, tag: str, digest: str, at_s: float | None = None) -> None:
        _write(self.current(repository, tag), digest)
        if at_s is not None:
            os.utime(self.current(repository, tag), (at_s, at_s))

    def delete_manifest(self, repository: str, digest: str) -> None:
        """As its API does: the link goes, its folder and the bytes stay."""
        self.revision(repository, digest).unlink()

    def _add_content(self, content: bytes) -> str:
        digest = digest_of(content)
        self.data(digest).parent.mkdir(parents=True, exist_ok=True)
        if not self.data(digest).exists():
            self.data(digest).write_bytes(content)
        return digest

    def _under(self, repository: str) -> Path:
        return self.root / "repositories" / repository


def image_manifest(config: bytes, layers: Sequence[bytes], **fields: object) -> bytes:
    def describe(media_type: str, content: bytes) -> Mapping[str, object]:
        return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}

    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": describe(CONFIG, config),
        "layers": [describe(LAYER, layer) for layer in layers],
    }
    return json.dumps(manifest | fields).encode()


def _write(link: Path, digest: str) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.write_text(digest)
