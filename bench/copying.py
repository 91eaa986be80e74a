"""The row about copying: `moorage push` and `moorage pull` beside skopeo, to and from the same registry."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, NamedTuple

from bench.client import WrongReply, push_image
from bench.images import MIB, Image, make_image
from bench.measures import Measure, at_most
from bench.servers import NotReady, Server
from bench.stand import Figures, Stand

_SOURCE: Final = "copy/source"
_TAG: Final = "1.0"


class _Used(NamedTuple):
    """What a command took: time, and CPU of its own, user and system."""

    wall_s: float
    cpu_s: float


@dataclass(slots=True)
class Copy:
    """Pull an image of 1 GiB into a layout and push it to a repository that is new, as either program."""

    name: ClassVar[str] = "copy"
    title: ClassVar[str] = "1 GiB in four layers, `moorage pull` and `push`, of skopeo"
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
        """Push a new image; each program pulls it, in turn first; what one has pulled both push."""
        # the layers are called packed ones: skopeo packs those that are not
        seed = f"{stand.run_name} copy {number}"
        image = make_image(seed, [(16 if stand.is_quick else 256) * MIB] * 4)
        stand.crew.run(push_image, server.address, _SOURCE, _TAG, image)
        host = f"{server.address.host}:{server.address.port}"
        # by another name, and each time another image: skopeo has what it knows of mounted
        other = f"localhost:{server.address.port}"
        folder = stand.folder / f"copy-{number}"
        environment = _environment(folder)
        pulled: dict[str, _Used] = {}
        pushed: dict[str, _Used] = {}
        order = ["moorage", "skopeo"] if number % 2 else ["skopeo", "moorage"]
        try:
            for program in order:
                layout = folder / program
                pulled[program] = _run(_pull(program, host, layout), environment)
                _check(layout, image)
            for program in order:
                target = f"{other}/copy/{program}-{stand.run_name}-{number}:{_TAG}"
                pushed[program] = _run(_push(program, folder / "moorage", target), environment)
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


def _pull(program: str, host: str, layout: Path) -> list[str]:
    source = f"{host}/{_SOURCE}:{_TAG}"
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


def _check(layout: Path, image: Image) -> None:
    """Whether the manifest and the blobs are there, each in its size; raises WrongReply."""
    wanted = {blob.digest: blob.size for blob in image.blobs} | {image.digest: len(image.manifest)}
    for digest, size in wanted.items():
        path = layout / "blobs" / digest.replace(":", "/")
        if not path.is_file() or path.stat().st_size != size:
            raise WrongReply(f"{layout.name} has no {digest} of {size} bytes")
