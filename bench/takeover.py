"""The row about taking over another registry's folder: how fast, and whether a byte is copied."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from bench.client import Client
from bench.images import KIB, Blob, digest_of, make_blob, make_manifest
from bench.measures import Measure, at_least, at_most
from bench.servers import DockerRegistry, Moorage, Server
from bench.stand import Figures, Stand

_TAGS = 5_000
_QUICK_TAGS = 500
_REPOSITORY = "bench/taken"
_SEEN = 3


@dataclass(slots=True)
class Takeover:
    """Import a folder of docker-registry: each tag an image with a config of its own and three shared layers.

    Through its API the tags would take minutes, so they are written as it writes them; it then serves them.
    """

    name: ClassVar[str] = "import"
    title: ClassVar[str] = "import a distribution tree of 5,000 tags"
    measures: ClassVar[Sequence[Measure]] = (
        Measure("per_s", "manifests", "1/s", at_least(500)),
        Measure("copied_bytes", "bytes copied", "B", at_most(0)),
    )
    needs_quiet: ClassVar[bool] = False
    is_once: ClassVar[bool] = False
    _tree: Path | None = field(default=None)
    _count: int = field(default=_TAGS)

    def prepare(self, stand: Stand, server: Server) -> None:
        """Write the tree once, and let docker-registry serve some of it."""
        if not isinstance(server, Moorage) or self._tree is not None:
            return
        self._count = _QUICK_TAGS if stand.is_quick else _TAGS
        old = DockerRegistry("docker-registry, to be imported", stand.folder / "import-old")
        stand.started.append(old)
        digests = write_tree(old.data, _REPOSITORY, self._count)
        old.start()
        with Client(old.address) as client:
            for number in range(0, self._count, self._count // _SEEN):
                client.pull_manifest(_REPOSITORY, f"v{number}", digests[number])
        self._tree = old.data

    def measure(self, stand: Stand, server: Server, number: int) -> Figures:
        """Import it into an empty folder, from the command to its last word; the other one serves on."""
        if not isinstance(server, Moorage) or self._tree is None:
            return {}
        new = server.sibling(stand.folder / f"import-new-{number}")
        stand.started.append(new)
        new.start()
        new.stop()
        command = [sys.executable, "-m", "moorage", "import", "distribution", str(self._tree)]
        began = time.perf_counter()
        ran = subprocess.run(
            [*command, "--data", str(new.data), "--json"],
            check=True,
            capture_output=True,
            env=new.environment(),
            cwd=Path(__file__).resolve().parent.parent / "src",
        )
        wall_s = time.perf_counter() - began
        report = json.loads(ran.stdout)
        if (report["manifests"], report["tags"]) != (self._count, self._count):
            raise LookupError(f"{report['manifests']} manifests and {report['tags']} tags came")
        copied = sum(size for means, size in report["means"].items() if means != "hard link")
        return {"per_s": self._count / wall_s, "copied_bytes": copied}


def write_tree(data: Path, repository: str, count: int) -> list[str]:
    """Write a repository as docker-registry 2.8 does; give the manifests' digests, of the tags v0, v1, ..."""
    root = data / "docker/registry/v2"
    home = root / "repositories" / repository
    layers = [make_blob(f"import layer {number}", 64 * KIB) for number in range(3)]
    for layer in layers:
        _write_blob(root, home, layer)
    digests = []
    for number in range(count):
        config = make_blob(f"import config {number}", 2 * KIB)
        _write_blob(root, home, config)
        manifest = make_manifest([config, *layers])
        digest = digest_of(manifest)
        _write(_data_of(root, digest), manifest)
        hexed = digest.replace(":", "/")
        for link in (f"revisions/{hexed}", f"tags/v{number}/current", f"tags/v{number}/index/{hexed}"):
            _write(home / "_manifests" / link / "link", digest.encode())
        digests.append(digest)
    return digests


def _write_blob(root: Path, home: Path, blob: Blob) -> None:
    _write(_data_of(root, blob.digest), blob.content)
    _write(home / "_layers" / blob.digest.replace(":", "/") / "link", blob.digest.encode())


def _data_of(root: Path, digest: str) -> Path:
    encoded = digest.removeprefix("sha256:")
    return root / "blobs/sha256" / encoded[:2] / encoded / "data"


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
