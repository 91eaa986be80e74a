"""Kubernetes: the files of each node, or a DaemonSet that brings them to all.

A node's containerd reads hosts.toml files; k3s and RKE2 write those themselves, from registries.yaml.
Source: k3s "Private Registry Configuration"; containerd's docs/hosts.md.
"""

import json
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final

from moorage.cli.connect import containerd
from moorage.cli.connect.setup import Machine, Mirrored, Registry, Setup, Unwritable, Wanted
from moorage.web.trust import certificate_path

_RANCHER: Final = PurePosixPath("/etc/rancher")
_STATE: Final = PurePosixPath("/var/lib/rancher")
_ROOT: Final = "moorage-ca.crt"
_SERVICES: Final = {"k3s": "k3s", "rke2": "rke2-server"}
_AGENTS: Final = {"k3s": "k3s-agent", "rke2": "rke2-agent"}
_IMAGE: Final = "docker.io/library/busybox:1.36"
_KEPT: Final = "before-moorage"
_NONE: Final = "none-before-moorage"


def find_kind(machine: Machine) -> str:
    """What runs the containers of this node: `k3s`, `rke2`, or `containerd`, which need not be there yet."""
    for kind in _SERVICES:
        if machine.has_folder(_RANCHER / kind) or machine.has_folder(_STATE / kind):
            return kind
    return "containerd"


def root_path(machine: Machine, host: str) -> PurePosixPath:
    """Where the registry's root is kept on this node."""
    kind = find_kind(machine)
    return _RANCHER / kind / _ROOT if kind in _SERVICES else certificate_path("containerd", host)


def set_up(machine: Machine, registry: Registry, upstreams: Sequence[Mirrored]) -> Setup:
    """What this node needs: as k3s or RKE2 if their folder is here, else as containerd.

    Raises Unwritable.
    """
    kind = find_kind(machine)
    if kind in _SERVICES:
        return _set_up_rancher(machine, kind, registry, upstreams)
    found = containerd.set_up(machine, registry, upstreams)
    for_all = f"moorage connect kubernetes --registry {registry.url} --daemonset"
    notes = (
        f"All nodes at once: {for_all} | kubectl apply -f -",
        f"On a node of k3s or RKE2 this command writes {_RANCHER / 'k3s'}/registries.yaml instead.",
        "Nodes that run CRI-O: moorage connect podman, on each.",
        *found.notes,
    )
    return Setup(found.record, found.files, found.reload, notes)


def _set_up_rancher(machine: Machine, kind: str, registry: Registry, upstreams: Sequence[Mirrored]) -> Setup:
    folder = _RANCHER / kind
    path, root = folder / "registries.yaml", folder / _ROOT
    if machine.without_us(path) is not None:
        wanted = registries(registry, upstreams, root)
        raise Unwritable(f"{path} is there already, and not only ours; put this into it by hand:\n\n{wanted}")
    files = [Wanted(root, registry.root)] if registry.root else []
    files.append(Wanted(path, registries(registry, upstreams, root)))
    reload = (
        f"systemctl restart {_SERVICES[kind]}   # on a server",
        f"systemctl restart {_AGENTS[kind]}   # on an agent",
    )
    return Setup(kind, tuple(files), reload, ("Every node needs it, servers too.",))


def registries(registry: Registry, upstreams: Sequence[Mirrored], root: PurePosixPath) -> str:
    """The registries.yaml of k3s and RKE2."""
    lines = ["mirrors:"]
    for upstream in upstreams:
        for host in upstream.hosts:
            lines += [f'  "{host}":', "    endpoint:", f'      - "{registry.url}"']
    if registry.root:
        lines += ["configs:", f'  "{registry.host}":', "    tls:", f'      ca_file: "{root}"']
    return "\n".join(lines) + "\n"


def daemonset(registry: Registry, upstreams: Sequence[Mirrored], *, is_undo: bool) -> str:
    """A DaemonSet that writes the files of `containerd` on each node, or puts back what was there."""
    files = {f"{number}": each for number, each in enumerate(containerd.files(registry, upstreams))}
    script = _undo_script(files) if is_undo else _script(files)
    data = {"connect.sh": script} | ({} if is_undo else {key: each.text for key, each in files.items()})
    return _MANIFEST.format(
        what=f"Takes {registry.url} out of"
        if is_undo
        else f"Lets the names of {_names(upstreams) or 'no upstream'} go through",
        where="each node's containerd again." if is_undo else f"{registry.url} on each node.",
        hint=_indented(containerd.config_hint(0, None), "# "),
        undo="" if is_undo else "# To undo it, add --undo to the command that wrote this, and apply that.\n",
        data="".join(f"  {json.dumps(key)}: |\n{_indented(text, '    ')}" for key, text in data.items()),
        image=_IMAGE,
        folder=containerd.FOLDER,
    )


def _script(files: dict[str, Wanted]) -> str:
    """For busybox. A file is written only if it is another; what was there first is kept beside it."""
    lines = ["set -eu", "put() {", '  mkdir -p "$(dirname "$2")"', '  cmp -s "$1" "$2" && return']
    lines += [f'  if [ ! -e "$2.{_KEPT}" ] && [ ! -e "$2.{_NONE}" ]; then']
    lines += [f'    if [ -e "$2" ]; then cp -p "$2" "$2.{_KEPT}"; else : > "$2.{_NONE}"; fi', "  fi"]
    lines += ['  cp "$1" "$2.tmp" && chmod 644 "$2.tmp" && mv "$2.tmp" "$2" && echo "wrote $2"', "}"]
    lines += [f'put "$FILES/{key}" "$NODE/{_below(each)}"' for key, each in files.items()]
    return "\n".join(lines) + "\n"


def _undo_script(files: dict[str, Wanted]) -> str:
    lines = ["set -eu", "put_back() {"]
    lines += [f'  if [ -e "$1.{_KEPT}" ]; then mv "$1.{_KEPT}" "$1" && echo "put back $1"; fi']
    lines += [f'  if [ -e "$1.{_NONE}" ]; then rm -f "$1" "$1.{_NONE}" && echo "removed $1"; fi']
    lines += ['  rmdir "$(dirname "$1")" 2>/dev/null || true', "}"]
    lines += [f'put_back "$NODE/{_below(each)}"' for each in reversed(files.values())]
    return "\n".join(lines) + "\n"


def _below(wanted: Wanted) -> PurePosixPath:
    return wanted.path.relative_to(containerd.FOLDER)


def _names(upstreams: Sequence[Mirrored]) -> str:
    return ", ".join(host for upstream in upstreams for host in upstream.hosts)


def _indented(text: str, by: str) -> str:
    return "".join(f"{by}{line}\n" if line else "\n" for line in text.splitlines())


_MANIFEST: Final = """\
# {what} {where}
{undo}{hint}apiVersion: v1
kind: ConfigMap
metadata:
  name: moorage-connect
  namespace: kube-system
data:
{data}---
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: moorage-connect
  namespace: kube-system
  labels:
    app.kubernetes.io/name: moorage-connect
spec:
  selector:
    matchLabels:
      app.kubernetes.io/name: moorage-connect
  template:
    metadata:
      labels:
        app.kubernetes.io/name: moorage-connect
    spec:
      automountServiceAccountToken: false
      tolerations:
        - operator: Exists
      containers:
        - name: connect
          image: {image}
          # written again every ten minutes, so that a change of the ConfigMap reaches the nodes
          command:
            - /bin/sh
            - -c
            - trap 'exit 0' TERM; while sh /files/connect.sh; do sleep 600 & wait; done
          env:
            - name: FILES
              value: /files
            - name: NODE
              value: /node
          resources:
            requests:
              cpu: 1m
              memory: 8Mi
            limits:
              memory: 32Mi
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: ["ALL"]
          volumeMounts:
            - name: files
              mountPath: /files
              readOnly: true
            - name: node
              mountPath: /node
      volumes:
        - name: files
          configMap:
            name: moorage-connect
        - name: node
          hostPath:
            path: {folder}
            type: DirectoryOrCreate
"""
