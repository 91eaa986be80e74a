"""Images to copy: for two platforms, with all that can refer to one, in a layout."""

import json
import os
from pathlib import Path
from typing import Any

from tests.acceptance.images import CONFIG, INDEX, MANIFEST, Descriptor, Layout, pack

ARTIFACT = "application/vnd.example.sbom"
REPOSITORY = "team/app"


def some_layers(count: int = 3, size: int = 200_000) -> list[bytes]:
    """Tars that no test has seen before, and that no one can make smaller."""
    return [pack({f"file{number}": os.urandom(size)}) for number in range(count)]


def referrer(layout: Layout, subject: Descriptor, what: str) -> Descriptor:
    """An artifact that refers to something, in the layout's index for itself."""
    subject = {key: subject[key] for key in ("mediaType", "digest", "size")}
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": ARTIFACT,
        "config": layout.add_blob(b"{}", "application/vnd.oci.empty.v1+json"),
        "layers": [layout.add_blob(what.encode() + os.urandom(1000), ARTIFACT)],
        "subject": subject,
        "annotations": {"what": what},
    }
    found = layout.add_blob(json.dumps(manifest).encode(), MANIFEST)
    list_untagged(layout, found)
    return found


def list_untagged(layout: Layout, entry: Descriptor) -> None:
    """Put it into the index without a name."""
    layout._tagged.append(entry)
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": layout._tagged}
    (layout.folder / "index.json").write_text(json.dumps(index))


def cosign(layout: Layout, subject: Descriptor, ending: str) -> Descriptor:
    """What cosign puts beside an image: by a tag that is made of its digest."""
    config = layout.add_blob(json.dumps({"rootfs": {"type": "layers"}}).encode(), CONFIG)
    layer = layout.add_blob(
        b"signature" + os.urandom(200), "application/vnd.dev.cosign.simplesigning.v1+json"
    )
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}
    found = layout.add_blob(json.dumps(manifest).encode(), MANIFEST)
    layout._tag(found, f"{subject['digest'].replace(':', '-')}{ending}")
    return found


def add_multi(layout: Layout, tag: str = "1.0") -> dict[str, Descriptor]:
    """An index of two images; an SBOM of it and one of a child, a signature of the SBOM, and cosign's."""
    layers = some_layers()
    amd = layout.add_image(layers[:2], architecture="amd64")
    arm = layout.add_image([layers[0], layers[2]], architecture="arm64")
    index = layout.add_index([amd, arm], tag=tag)
    sbom = referrer(layout, index, "sbom")
    return {
        "amd": amd,
        "arm": arm,
        "index": index,
        "sbom": sbom,
        "sbom of arm": referrer(layout, arm, "sbom of arm"),
        "signature of sbom": referrer(layout, sbom, "signature"),
        "cosign": cosign(layout, index, ".sig"),
        "cosign of amd": cosign(layout, amd, ".att"),
    }


def read_blobs(folder: Path) -> dict[str, bytes]:
    """All that a layout holds, by digest."""
    return {f"sha256:{path.name}": path.read_bytes() for path in (folder / "blobs" / "sha256").iterdir()}


def read_names(folder: Path) -> dict[str, str]:
    """What a layout's index names, by tag."""
    index: dict[str, Any] = json.loads((folder / "index.json").read_text())
    return {
        entry["annotations"]["org.opencontainers.image.ref.name"]: entry["digest"]
        for entry in index["manifests"]
        if entry.get("annotations")
    }
