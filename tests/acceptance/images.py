"""Images of real files: this machine's own programs and libraries, packed as layers.

`Layout` writes an OCI image layout (image-spec v1.1, "image layout"), `write_docker_archive` what
`docker image load` reads.
"""

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

MIB = 1 << 20
FILE_MIN_BYTES = 16 << 10
"""Thousands of small files would only slow the clients down."""
FILE_MAX_BYTES = 6 * MIB
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
ZSTD_LAYER = "application/vnd.oci.image.layer.v1.tar+zstd"

Descriptor = dict[str, Any]


def pack_layers(mark: str) -> list[bytes]:
    """Pack some of this machine's files into three tars, lowest first, that only this mark has."""
    marker = {f"usr/share/moorage/{mark}": mark.encode()}
    return [
        pack(marker | gather_files(Path("/usr/bin"), 14 * MIB)),
        pack(marker | gather_files(Path("/usr/lib"), 10 * MIB)),
        pack(marker | gather_files(Path("/usr/share"), 5 * MIB)),
    ]


def gather_files(folder: Path, bytes_max: int) -> dict[str, bytes]:
    """Read a folder's files in order of their names until there are about `bytes_max`."""
    chosen: dict[str, bytes] = {}
    total = 0
    for path in _find_files(folder):
        content = path.read_bytes()
        chosen[str(path).lstrip("/")] = content
        total += len(content)
        if total > bytes_max:
            break
    assert total > bytes_max / 2, f"{folder} has too few files to make a layer of"
    return chosen


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return a tar of these files, the same each time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o755
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def digest_of(content: bytes) -> str:
    """Return the sha256 digest of `content`."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Layout:
    """An OCI image layout in a folder; `oci:FOLDER:TAG` to skopeo, podman and buildah."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "blobs" / "sha256").mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        self._tagged: list[Descriptor] = []

    def add_blob(self, content: bytes, media_type: str) -> Descriptor:
        """Store bytes; return their descriptor."""
        digest = digest_of(content)
        self._path(digest).write_bytes(content)
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    def add_image(
        self, layers: Sequence[bytes], *, tag: str | None = None, architecture: str = "amd64"
    ) -> Descriptor:
        """Store an image of these tars; return its descriptor, with a platform."""
        config = self.add_blob(_write_config(layers, architecture), CONFIG)
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config,
            "layers": [self.add_blob(gzip.compress(layer, 1, mtime=0), LAYER) for layer in layers],
        }
        descriptor = self.add_blob(json.dumps(manifest).encode(), MANIFEST)
        if tag is not None:
            self._tag(descriptor, tag)
        return {**descriptor, "platform": {"os": "linux", "architecture": architecture}}

    def add_huge_image(self, layer_bytes: int, *, tag: str) -> Descriptor:
        """Store an image of one layer that is a hole in a file; return the layer's descriptor.

        It begins as gzip does, or a client would compress it.
        """
        path = self.folder / "huge"
        with path.open("w+b") as file:
            file.write(b"\x1f\x8b\x08")
            file.truncate(layer_bytes)
            file.seek(0)
            digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        path.rename(self._path(digest))
        layer = {"mediaType": LAYER, "digest": digest, "size": layer_bytes}
        config = self.add_blob(_write_config([b""], "amd64"), CONFIG)
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}
        self._tag(self.add_blob(json.dumps(manifest).encode(), MANIFEST), tag)
        return layer

    def add_index(self, images: Sequence[Descriptor], *, tag: str) -> Descriptor:
        """Store an index of images; return its descriptor."""
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(images)}
        descriptor = self.add_blob(json.dumps(index).encode(), INDEX)
        self._tag(descriptor, tag)
        return descriptor

    def read_manifest(self, digest: str) -> dict[str, Any]:
        """Return a stored manifest or index, parsed."""
        manifest: dict[str, Any] = json.loads(self._path(digest).read_bytes())
        return manifest

    def read_blobs(self) -> dict[str, bytes]:
        """Return all that is stored, by digest."""
        return {f"sha256:{path.name}": path.read_bytes() for path in self._path("sha256:").iterdir()}

    def _path(self, digest: str) -> Path:
        return self.folder / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def _tag(self, descriptor: Descriptor, tag: str) -> None:
        self._tagged.append({**descriptor, "annotations": {"org.opencontainers.image.ref.name": tag}})
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": self._tagged}
        (self.folder / "index.json").write_text(json.dumps(index))


def write_docker_archive(path: Path, layers: Sequence[bytes], name: str) -> None:
    """Write an image as `docker save` does."""
    config = _write_config(layers, "amd64")
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": names}]
    files = {"config.json": config, "manifest.json": json.dumps(manifest).encode()}
    path.write_bytes(pack(files | dict(zip(names, layers, strict=True))))


def _write_config(layers: Sequence[bytes], architecture: str) -> bytes:
    config = {
        "created": "2024-01-01T00:00:00Z",
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": ["/usr/bin/true"]},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]},
    }
    return json.dumps(config).encode()


def _find_files(folder: Path) -> Iterator[Path]:
    """Yield the readable regular files below a folder, in order of their names."""
    for entry in sorted(folder.iterdir()):
        if entry.is_symlink() or not os.access(entry, os.R_OK):
            continue
        if entry.is_dir():
            yield from _find_files(entry)
        elif entry.is_file() and FILE_MIN_BYTES < entry.stat().st_size < FILE_MAX_BYTES:
            yield entry
