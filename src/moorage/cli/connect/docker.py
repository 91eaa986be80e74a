"""dockerd: `registry-mirrors` in daemon.json, and the root in certs.d.

It asks its mirrors for what is on Docker Hub, by the bare name, and for nothing else.
Source: docker's "Mirror the Docker Hub library"; dockerd 20.10 and 28.2.
"""

import ipaddress
import json
import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from moorage.cli.connect.setup import Machine, Mirrored, Registry, Setup, Unwritable, Wanted
from moorage.web.trust import certificate_path

CONFIGURATION: Final = PurePosixPath("/etc/docker/daemon.json")
_INDENT = re.compile(r"\n([ \t]+)\"")
_MIRRORS = "registry-mirrors"
_PLAIN = "insecure-registries"


def set_up(machine: Machine, registry: Registry, upstreams: Sequence[Mirrored]) -> Setup:
    """What dockerd needs.

    Raises Unwritable.
    """
    files = []
    if registry.root:
        files.append(Wanted(certificate_path("docker", registry.host), registry.root))
    if any(each.is_hub for each in upstreams):
        files.append(_configuration(machine, registry))
    return Setup(
        record="docker",
        files=tuple(files),
        reload=("systemctl reload docker",),
        notes=tuple(_notes(registry, upstreams)),
    )


def _configuration(machine: Machine, registry: Registry) -> Wanted:
    base, last = machine.without_us(CONFIGURATION), machine.written_for(CONFIGURATION)
    values = _parse(base)
    if last is not None and base == machine.read(CONFIGURATION):
        # someone has changed it since: what is ours in it is no part of theirs
        kept = _without(values, last)
        if kept != values:
            base, values = _write(kept, base), kept
    merged = _put_first(values, _MIRRORS, registry.url)
    if registry.is_plain and not _is_loopback(registry.host):
        merged = _put_first(merged, _PLAIN, registry.host)
    text = base if base is not None and merged == values else _write(merged, base)
    return Wanted(CONFIGURATION, text, is_merged=True, base=base)


def _parse(text: str | None) -> dict[str, Any]:
    if text is None or not text.strip():
        return {}
    try:
        values = json.loads(text)
    except ValueError as error:
        raise Unwritable(f"{CONFIGURATION} is no JSON ({error}); dockerd would not start by it") from error
    if not isinstance(values, dict) or not all(
        isinstance(values.get(key, []), list) for key in (_MIRRORS, _PLAIN)
    ):
        raise Unwritable(f"{CONFIGURATION} is not what dockerd takes: {_MIRRORS} has to be a list")
    return values


def _put_first(values: dict[str, Any], key: str, entry: str) -> dict[str, Any]:
    listed = values.get(key, [])
    if listed[:1] == [entry]:
        return values
    return {**values, key: [entry, *(each for each in listed if each.rstrip("/") != entry)]}


def _without(values: dict[str, Any], url: str) -> dict[str, Any]:
    kept = dict(values)
    for key, entry in ((_MIRRORS, url), (_PLAIN, url.partition("://")[2])):
        if entry in kept.get(key, []):
            kept[key] = [each for each in kept[key] if each != entry]
            if not kept[key]:
                del kept[key]
    return kept


def _write(values: dict[str, Any], like: str | None) -> str:
    """JSON, indented as it was."""
    indented = _INDENT.search(like or "")
    return json.dumps(values, indent=indented[1] if indented else 2) + "\n"


def _is_loopback(host: str) -> bool:
    """Whether docker takes plain HTTP from it by itself."""
    name = host.rpartition(":")[0] if ":" in host else host
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _notes(registry: Registry, upstreams: Sequence[Mirrored]) -> list[str]:
    notes = ["docker asks a mirror for Docker Hub's images only (`docker pull debian:12`)."]
    for each in upstreams:
        if each.is_hub and each.is_root is False:
            notes.append(
                f"The registry does not look for bare names at {each.name}, and docker asks for those: let it"
                f" (`moorage upstream set {each.name} --root`)."
            )
        if each.hosts and not each.is_hub:
            notes.append(
                f"For {each.hosts[0]} write the registry in front:"
                f" docker pull {registry.host}/{each.name}/REPOSITORY:TAG"
            )
    return notes
