"""Which image of an index is meant by a platform.

Source: image-spec main (13cff54), image-index.md, `platform`; containerd's platforms package for defaults.
"""

import json
import re
from typing import Any, NamedTuple

from moorage.transfer.between.ports import CopyRefused

# platform = os "/" architecture [ "/" variant ]
_PLATFORM = re.compile(r"([a-z0-9]+)/([a-z0-9_]+)(?:/([a-z0-9.]+))?", re.ASCII)
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
_SAID_ONCE = {("arm64", "v8"): "", ("amd64", "v1"): ""}
"""Variants that are the same as none."""


class Platform(NamedTuple):
    """An operating system and architecture; `variant` "" for any."""

    os: str
    architecture: str
    variant: str

    def __str__(self) -> str:
        return "/".join(part for part in self if part)

    def is_met_by(self, other: "Platform") -> bool:
        """Whether an image for `other` is one for this."""
        return self[:2] == other[:2] and self.variant in {"", other.variant}


def parse_platform(text: str) -> Platform:
    """A platform from `linux/arm64` or `linux/arm/v7`. Raises CopyRefused."""
    if (match := _PLATFORM.fullmatch(text)) is None:
        raise CopyRefused(
            f"{text[:80]!r} is no platform: want OS/ARCHITECTURE, as linux/arm64 or linux/arm/v7"
        )
    return _plain(match[1], match[2], match[3] or "")


def platform_of_machine(name: str) -> Platform:
    """This machine's, by what it calls itself, as images are for Linux."""
    return Platform("linux", _ARCHITECTURES.get(name, name), "")


def choose_child(payload: bytes, wanted: Platform, name: str) -> str:
    """The digest of the child of an index that is for a platform. Raises CopyRefused, with what there is."""
    known: list[str] = []
    for entry in json.loads(payload)["manifests"]:
        found = read_platform(entry.get("platform"))
        if found is None:
            continue
        if wanted.is_met_by(found):
            return str(entry["digest"])
        known.append(str(found))
    shown = ", ".join(known) or "none that it names"
    raise CopyRefused(f"{name} has no image for {wanted}; it has {shown}")


def read_platform(said: Any) -> Platform | None:
    """As an index says it of a child, or an image's config of itself; None for what names none."""
    if not isinstance(said, dict):
        return None
    parts = [said.get(key) or "" for key in ("os", "architecture", "variant")]
    if not all(isinstance(part, str) for part in parts) or not parts[0] or "unknown" in parts:
        return None
    return _plain(*parts)


def _plain(system: str, architecture: str, variant: str) -> Platform:
    return Platform(system, architecture, _SAID_ONCE.get((architecture, variant), variant))
