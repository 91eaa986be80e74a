"""podman, buildah, skopeo and CRI-O: a file in registries.conf.d with a mirror for each upstream.

They put the mirror in place of the prefix: docker.io/library/debian is asked for as
registry.local:5000/docker.io/library/debian.
Source: containers-registries.conf(5) and containers-registries.conf.d(5), podman 4.3.
"""

import tomllib
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from moorage.cli.connect.setup import Machine, Mirrored, Registry, Setup, Wanted
from moorage.web.trust import certificate_path

FOLDER: Final = PurePosixPath("/etc/containers/registries.conf.d")
CONFIGURATION: Final = FOLDER / "moorage.conf"


def set_up(machine: Machine, registry: Registry, upstreams: Sequence[Mirrored]) -> Setup:
    """What podman needs."""
    wanted = []
    if registry.root:
        wanted.append(Wanted(certificate_path("podman", registry.host), registry.root))
    wanted.append(Wanted(CONFIGURATION, configuration(registry, upstreams)))
    notes = [
        "Images are pulled by the names they have: `podman pull docker.io/library/debian:12`.",
        "skopeo, buildah and CRI-O read the same files.",
        *_notes(machine, upstreams),
    ]
    reload = (
        "systemctl restart podman   # only where its API service runs; the command reads the file each time",
        "systemctl reload crio      # only where CRI-O runs",
    )
    return Setup(record="podman", files=tuple(wanted), reload=reload, notes=tuple(notes))


def configuration(registry: Registry, upstreams: Sequence[Mirrored]) -> str:
    """The file."""
    blocks = []
    for upstream in upstreams:
        for host in upstream.hosts:
            lines = [
                "[[registry]]",
                f'prefix = "{host}"',
                f'location = "{host}"',
                "",
                "[[registry.mirror]]",
                f'location = "{registry.host}/{upstream.name}"',
            ]
            if registry.is_plain:
                lines.append("insecure = true")
            blocks.append("\n".join(lines) + "\n")
    if registry.is_plain:
        blocks.append(f'[[registry]]\nlocation = "{registry.host}"\ninsecure = true\n')
    return "\n".join(blocks)


def _notes(machine: Machine, upstreams: Sequence[Mirrored]) -> list[str]:
    """Files that are read later and say something else of the same names."""
    ours = {host for upstream in upstreams for host in upstream.hosts}
    notes = []
    for name in machine.names(FOLDER):
        if name > CONFIGURATION.name and name.endswith(".conf"):
            taken = sorted(ours & _prefixes(machine.read(FOLDER / name) or ""))
            if taken:
                notes.append(f"{FOLDER / name} is read after ours and decides for {', '.join(taken)}.")
    return notes


def _prefixes(text: str) -> set[str]:
    try:
        registries: Any = tomllib.loads(text).get("registry", [])
    except tomllib.TOMLDecodeError:
        return set()
    return {str(each.get("prefix") or each.get("location")) for each in registries if isinstance(each, dict)}
