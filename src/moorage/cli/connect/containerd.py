"""containerd: a hosts.toml for each upstream, which its CRI plugin, nerdctl and ctr read.

    /etc/containerd/certs.d/
        docker.io/hosts.toml              <- where the upstream's names are asked for first
        registry.local:5000/hosts.toml    <- for names with the registry in front, and its root
        registry.local:5000/ca.crt

It asks with `?ns=docker.io`. Nothing has to be restarted, but `config_path` has to be in config.toml.
Source: containerd's docs/hosts.md for 1.6 and 2.1.
"""

import tomllib
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from moorage.cli.connect.setup import HUB_HOST, Machine, Mirrored, Registry, Setup, Unwritable, Wanted
from moorage.oci.references import DOCKER_HUB
from moorage.web.trust import certificate_path, containerd_hosts

FOLDER: Final = PurePosixPath("/etc/containerd/certs.d")
CONFIGURATION: Final = PurePosixPath("/etc/containerd/config.toml")
_PLUGINS = {3: "io.containerd.cri.v1.images", 2: "io.containerd.grpc.v1.cri", 1: "cri"}
"""Which plugin's `registry` names the folder, by the version of config.toml."""


def set_up(machine: Machine, registry: Registry, upstreams: Sequence[Mirrored]) -> Setup:
    """What containerd needs.

    Raises Unwritable.
    """
    version, path, has_mirrors = _look(machine)
    notes = [
        "Images are pulled by the names they have: `crictl pull docker.io/library/debian:12`.",
        f"ctr has to be told: `ctr images pull --hosts-dir {FOLDER} docker.io/library/debian:12`.",
    ]
    if has_mirrors:
        notes.append(
            f"{CONFIGURATION} has registry.mirrors or registry.configs, which containerd does not take beside"
            " config_path: move them to hosts.toml files."
        )
    is_found = path is not None and str(FOLDER) in path.split(":")
    if not is_found:
        notes.append(config_hint(version, path))
    restart = () if is_found else (f"systemctl restart containerd   # after the change in {CONFIGURATION}",)
    return Setup(record="containerd", files=files(registry, upstreams), reload=restart, notes=tuple(notes))


def files(registry: Registry, upstreams: Sequence[Mirrored]) -> tuple[Wanted, ...]:
    """The files, the root first."""
    wanted = []
    if registry.root:
        wanted.append(Wanted(certificate_path("containerd", registry.host), registry.root))
    if registry.root or registry.is_plain:
        text = containerd_hosts(registry.host) if registry.root else f'server = "{registry.url}"\n'
        wanted.append(Wanted(FOLDER / registry.host / "hosts.toml", text))
    wanted += [
        Wanted(FOLDER / host / "hosts.toml", hosts(registry, host))
        for upstream in upstreams
        for host in upstream.hosts
    ]
    return tuple(wanted)


def hosts(registry: Registry, host: str) -> str:
    """The hosts.toml of one upstream: the registry first, itself if the registry has no answer."""
    server = HUB_HOST if host == DOCKER_HUB else host
    lines = [
        f'server = "https://{server}"',
        "",
        f'[host."{registry.url}"]',
        '  capabilities = ["pull", "resolve"]',
    ]
    if registry.root:
        lines.append(f'  ca = "{certificate_path("containerd", registry.host)}"')
    return "\n".join(lines) + "\n"


def config_hint(version: int, path: str | None) -> str:
    """What has to stand in config.toml."""
    if path:
        return (
            f"{CONFIGURATION} has config_path = {path!r}, where containerd will not find this: make it"
            f' "{FOLDER}", or move what is there.'
        )
    lines = [
        f'[plugins."{plugin}".registry]\n      config_path = "{FOLDER}"'
        + ("" if version else f"        # version = {number}")
        for number, plugin in _PLUGINS.items()
        if number == version or (not version and number > 1)
    ]
    found = f"{CONFIGURATION} (version {version})" if version else str(CONFIGURATION)
    return f"{found} needs this for Kubernetes, or Kubernetes will not look there:\n    " + "\n    ".join(
        lines
    )


def _look(machine: Machine) -> tuple[int, str | None, bool]:
    """The version of config.toml, 0 where there is none; its config_path; whether it has the old form."""
    text = machine.read(CONFIGURATION)
    if text is None:
        return 0, None, False
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Unwritable(f"{CONFIGURATION} is no TOML: {error}") from error
    version = values.get("version", 1)
    if version not in _PLUGINS:
        return 0, None, False
    registry = _dig(values, "plugins", _PLUGINS[version], "registry")
    path = registry.get("config_path")
    has_mirrors = any(registry.get(key) for key in ("mirrors", "configs"))
    return version, path if isinstance(path, str) and path else None, has_mirrors


def _dig(values: dict[str, Any], *keys: str) -> dict[str, Any]:
    for key in keys:
        values = values.get(key, {})
        if not isinstance(values, dict):
            return {}
    return values
