"""The row about copying: `moorage push` and `moorage pull` beside skopeo, to and from the same registry."""

import gzip
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, NamedTuple

from bench.client import WrongReply
from bench.images import MANIFEST_TYPE, MIB, Blob, digest_of, make_content, make_manifest
from bench.measures import Measure, at_most
from bench.servers import NotReady, Server
from bench.stand import Figures, Stand

_TAG: Final = "1.0"


class _Used(NamedTuple):
    """What a command took: time, and CPU of its own, user and system."""

    wall_s: float
    cpu_s: float


@dataclass(slots=True)
class Copy:
    """Push a layout of 1 GiB to a repository that is new and pull it into a new layout, as either program."""

    name: ClassVar[str] = "copy"
    title: ClassVar[str] = "1 GiB in four layers, of skopeo"
    measures: ClassVar[Sequence[Measure]] = (
        Measure("pull_of_skopeo", "pull, time", "x", at_most(1)),
        Measure("pull_cpu_of_skopeo", "pull, CPU of the client", "x", at_most(1.2)),
        Measure("push_of_skopeo", "push, time", "x", at_most(1)),
        Measure("push_cpu_of_skopeo", "push, CPU of the client", "x", at_most(1.2)),
        Measure("pull_s", "pull", "s"),
        Measure("push_s", "push", "s"),
    )
    needs_quiet: ClassVar[bool] = False
    is_once: ClassVar[bool] = False

    def prepare(self, stand: Stand, server: Server) -> None:
        """See that skopeo is here."""
        del stand, server
        if shutil.which("skopeo") is None:
            raise NotReady("skopeo not found; on Debian: apt-get install skopeo")

    def measure(self, stand: Stand, server: Server, number: int) -> Figures:
        """Make a layout; each program pushes it, in turn first, and pulls what was pushed."""
        host = f"{server.address.host}:{server.address.port}/copy/{stand.run_name}-{number}"
        folder = stand.folder / f"copy-{number}"
        environment = _environment(folder)
        layout = folder / "layout"
        # new each time: skopeo has what it knows of mounted
        _make_layout(layout, f"{stand.run_name} copy {number} {server.name}", 16 if stand.is_quick else 256)
        pulled: dict[str, _Used] = {}
        pushed: dict[str, _Used] = {}
        order = ["moorage", "skopeo"] if number % 2 else ["skopeo", "moorage"]
        try:
            for program in order:
                pushed[program] = _run(_push(program, layout, f"{host}-{program}:{_TAG}"), environment)
            for program in order:
                came = folder / f"pulled-{program}"
                pulled[program] = _run(_pull(program, f"{host}-{program}:{_TAG}", came), environment)
                _check(came, layout)
        finally:
            shutil.rmtree(folder)
        return {
            "pull_of_skopeo": pulled["moorage"].wall_s / pulled["skopeo"].wall_s,
            "pull_cpu_of_skopeo": pulled["moorage"].cpu_s / pulled["skopeo"].cpu_s,
            "push_of_skopeo": pushed["moorage"].wall_s / pushed["skopeo"].wall_s,
            "push_cpu_of_skopeo": pushed["moorage"].cpu_s / pushed["skopeo"].cpu_s,
            "pull_s": pulled["moorage"].wall_s,
            "push_s": pushed["moorage"].wall_s,
        }


def _make_layout(layout: Path, seed: str, layer_mib: int) -> None:
    """Four layers that are gzip's, though nothing is packed: skopeo packs what is not."""
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(content: bytes) -> Blob:
        digest = digest_of(content)
        (blobs / digest.removeprefix("sha256:")).write_bytes(content)
        return Blob(seed, len(content), digest)

    config = put(b'{"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}')
    layers = [
        put(gzip.compress(make_content(f"{seed} {number}", layer_mib * MIB), 0, mtime=0))
        for number in range(4)
    ]
    manifest = put(make_manifest([config, *layers]))
    entry = {
        "mediaType": MANIFEST_TYPE,
        "digest": manifest.digest,
        "size": manifest.size,
        "annotations": {"org.opencontainers.image.ref.name": _TAG},
    }
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def _pull(program: str, source: str, layout: Path) -> list[str]:
    if program == "moorage":
        command = [sys.executable, "-m", "moorage", "pull", "--json", "--plain-http"]
        return [*command, source, f"{layout}:{_TAG}"]
    return ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{source}", f"oci:{layout}:{_TAG}"]


def _push(program: str, layout: Path, target: str) -> list[str]:
    source = f"{layout}:{_TAG}"
    if program == "moorage":
        return [sys.executable, "-m", "moorage", "push", "--json", "--plain-http", source, target]
    return ["skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{source}", f"docker://{target}"]


def _environment(folder: Path) -> Mapping[str, str]:
    """With no memory of an earlier copy."""
    folder.mkdir()
    paths = dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"), str(folder))
    root = Path(__file__).resolve().parent.parent
    return os.environ | paths | {"PYTHONPATH": str(root / "src")}


def _run(command: Sequence[str], environment: Mapping[str, str]) -> _Used:
    """Run a command.

    Raises WrongReply when it fails.
    """
    # what was written before is not this one's
    os.sync()
    before = os.times()
    began = time.perf_counter()
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    wall_s = time.perf_counter() - began
    after = os.times()
    if ran.returncode:
        raise WrongReply(f"{command[0]}: {ran.stderr[-500:]}")
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return _Used(wall_s, cpu_s)


def _check(came: Path, layout: Path) -> None:
    """Whether all blobs came, each in its size; raises WrongReply."""
    for blob in (layout / "blobs" / "sha256").iterdir():
        path = came / "blobs" / "sha256" / blob.name
        if not path.is_file() or path.stat().st_size != blob.stat().st_size:
            raise WrongReply(f"{came.name} has no {blob.name} as it was pushed")
