"""An upstream: another registry as an operator describes it, and by which names its repositories go here."""

from typing import Final, Literal

import msgspec

from moorage.identity.access.patterns import is_match
from moorage.oci.names import RepositoryName
from moorage.oci.references import DOCKER_HUB, OFFICIAL_NAMESPACE

DAY_MS: Final = 86_400_000
FRESHNESS_MS: Final = 15 * 60_000

AlternativesMay = Literal["known", "new", "any"]
"""What an alternative may say that a tag names: only digests that the upstream itself has shown for it;
those, and anything for a tag that is not here yet; anything."""


class Address(msgspec.Struct, frozen=True):
    """Where a registry answers: `https://host[:port][/path]`, and what is shown to it and to nobody else.

    `authority`: PEM of the authorities that its certificate may come from, in place of the system's.
    """

    url: str
    username: str = ""
    password: str = ""
    authority: str = ""

    def __repr__(self) -> str:
        return f"Address({self.url})"


class Upstream(msgspec.Struct, frozen=True):
    """One upstream. Patterns are of its own repositories, as in a grant."""

    name: str
    """The first part of the names that its repositories have here, as `docker.io`."""
    address: Address
    hosts: tuple[str, ...] = ()
    """What clients call it besides its name: the `ns` that containerd sends."""
    alternatives: tuple[Address, ...] = ()
    """Other registries with the same content, in the order in which they are tried."""
    alternatives_may: AlternativesMay = "new"
    is_root: bool = False
    """Whether names without an upstream's in front are looked for here, where no one here has them."""
    include: tuple[str, ...] = ()
    """Which repositories are mirrored; empty: all."""
    exclude: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    """Which platforms a prefetch brings, as `linux/arm64`; empty: all that an image has."""
    pins: tuple[str, ...] = ()
    """What is prefetched and never evicted, as `library/{debian,python}:*-slim`."""
    freshness_ms: int = FRESHNESS_MS
    """How long a tag is served without asking whether it has moved."""
    budget_bytes: int | None = None
    """How much of it is kept; None: all."""
    bandwidth: tuple[str, ...] = ()
    """Caps by hours of the day in UTC, as `08:00-18:00 2MiB`: bytes a second."""
    is_configured: bool = False
    """Whether it stands in the settings, and so cannot be changed over the API."""

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Its own and its alternatives', in the order in which they are tried."""
        return (self.address, *self.alternatives)

    def is_called(self, host: str) -> bool:
        """Whether this is what a client means by a registry's host, with its port if it has one."""
        return host == self.name or host in self.hosts

    def remote_of(self, repository: RepositoryName) -> RepositoryName:
        """By which name the upstream knows a repository of its here."""
        return RepositoryName(repository.removeprefix(f"{self.name}/"))

    def local_of(self, remote: RepositoryName) -> RepositoryName:
        """By which name a repository of the upstream goes here: Docker Hub's official ones have two."""
        if self.name == DOCKER_HUB and "/" not in remote:
            return RepositoryName(f"{self.name}/{OFFICIAL_NAMESPACE}/{remote}")
        return RepositoryName(f"{self.name}/{remote}")

    def mirrors(self, remote: RepositoryName) -> bool:
        """Whether this repository of it may be fetched."""
        if any(is_match(pattern, remote) for pattern in self.exclude):
            return False
        return not self.include or any(is_match(pattern, remote) for pattern in self.include)
