"""What a client is to be told, and what that comes to."""

import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final, Protocol

from moorage.oci.references import DOCKER_HUB

HUB_HOST: Final = "registry-1.docker.io"
"""Where Docker Hub's API answers."""

# host = word *( "." word ) [ ":" port ] ; it names a folder, and stands between quotes in TOML and YAML
_HOST = re.compile(
    r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*(?::[0-9]{1,5})?", re.ASCII
)


def is_host(text: str) -> bool:
    """Whether it is HOST or HOST:PORT, in lower case, and nothing that would be more in a path or a file."""
    return _HOST.fullmatch(text) is not None


def is_registry(text: str) -> bool:
    """Whether clients take it for a registry when it stands first in a name: `lan/app` is on Docker Hub."""
    return is_host(text) and ("." in text or ":" in text or text == "localhost")


@dataclass(frozen=True, slots=True)
class Registry:
    """The registry as the client reaches it. `host` is as it was typed: with a port only if that had one.

    `root`: PEM of the certificate to trust; empty if none has to be, or by plain HTTP.
    """

    scheme: str
    host: str
    root: str = ""

    @property
    def url(self) -> str:
        """As `https://registry.local:5000`."""
        return f"{self.scheme}://{self.host}"

    @property
    def is_plain(self) -> bool:
        """Whether it is reached without TLS."""
        return self.scheme == "http"


@dataclass(frozen=True, slots=True)
class Mirrored:
    """An upstream that the registry mirrors: the first part of its names there, and what clients call it.

    `hosts` may be none: then its images go only by names with the registry in front.
    """

    name: str
    hosts: tuple[str, ...]
    is_root: bool | None = None
    """Whether names without an upstream's in front are looked for there; None if nobody said."""

    @property
    def is_hub(self) -> bool:
        """Whether it is Docker Hub."""
        return DOCKER_HUB in self.hosts


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file as it is to be.

    `base` is given where only a part of it is ours: what it would be without us, None for no file.
    """

    path: PurePosixPath
    text: str
    is_merged: bool = False
    base: str | None = None


@dataclass(frozen=True, slots=True)
class Setup:
    """All that one client needs.

    `record` is under which word it is remembered; `reload` are lines for a shell, each with its reason.
    """

    record: str
    files: tuple[Wanted, ...]
    reload: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())


class Machine(Protocol):
    """The files of the machine on which the client runs."""

    def read(self, path: PurePosixPath) -> str | None:
        """What a file says now; None if there is none."""
        ...

    def without_us(self, path: PurePosixPath) -> str | None:
        """What it said before we wrote to it; what it says now if someone has changed it since."""
        ...

    def written_for(self, path: PurePosixPath) -> str | None:
        """The URL of the registry for which we have written to it; None if we have not."""
        ...

    def has_folder(self, path: PurePosixPath) -> bool:
        """Whether a folder is there."""
        ...

    def names(self, path: PurePosixPath) -> list[str]:
        """What is in a folder, in order; nothing if there is none."""
        ...


class Unwritable(Exception):
    """A file cannot be read or written as it would have to be; the sentence says what to do."""
