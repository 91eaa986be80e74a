"""A mirror and its upstream: Debian's docker-registry behind a proxy that counts, slows and drops."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bench.client import Address, Client, WrongReply
from bench.images import MANIFEST_TYPE, Image, digest_of
from bench.servers import DockerRegistry, Moorage
from bench.stand import Stand
from tests.outages.proxy import Proxy

NAME = "hub.bench"
"""The first part of the names that what is mirrored has."""

_SETTINGS = """\
[mirrors]
private_addresses = ["127.0.0.0/8"]

[[mirrors.upstreams]]
name = "{name}"
url = "{url}"
freshness = "{freshness}"
"""


class ProxiedRegistry(DockerRegistry):
    """A registry that others ask through a proxy, which is there as long as it runs."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name, folder)
        self._proxy: Proxy | None = None

    @property
    def proxy(self) -> Proxy:
        """The line to it. Raises WrongReply while it does not run."""
        if self._proxy is None:
            raise WrongReply("the upstream does not run")
        return self._proxy

    @property
    def front(self) -> Address:
        """Where the proxy listens."""
        return Address("127.0.0.1", self.proxy.port)

    def start(self) -> float:
        """Start both."""
        took_s = super().start()
        self._proxy = Proxy(self.address.port).__enter__()
        return took_s

    def stop(self) -> None:
        """Stop both."""
        proxy, self._proxy = self._proxy, None
        if proxy is not None:
            proxy.__exit__(None, None, None)
        super().stop()


@dataclass(frozen=True, slots=True)
class Pair:
    """A mirror and its upstream, both started."""

    mirror: Moorage
    upstream: ProxiedRegistry

    @classmethod
    def start(cls, stand: Stand, server: Moorage, name: str, freshness: str = "15m") -> Self:
        """Start both in folders of their own."""
        folder = stand.folder / name
        upstream = ProxiedRegistry("upstream", folder / "upstream")
        stand.started.append(upstream)
        upstream.start()
        settings = write_settings(folder, upstream.proxy.url, freshness)
        mirror = server.configured(folder / "mirror", settings)
        stand.started.append(mirror)
        mirror.start()
        return cls(mirror, upstream)

    def gets_of(self, digest: str) -> int:
        """How often the upstream was asked for a blob."""
        return self.upstream.proxy.count("GET", f"/blobs/{digest}")


def write_settings(folder: Path, url: str, freshness: str) -> Path:
    """A file of settings with the one upstream."""
    path = folder / "moorage.toml"
    path.write_text(_SETTINGS.format(name=NAME, url=url, freshness=freshness), encoding="utf-8")
    return path


@dataclass(frozen=True, slots=True)
class Timed:
    """A blob that was pulled: when its first byte came and when its last, and its digest."""

    first_byte_s: float
    whole_s: float
    digest: str


def pull_timed(address: Address, repository: str, digest: str, size: int) -> Timed:
    """GET a blob over a new connection into memory; it is hashed when the last byte has come."""
    buffer = memoryview(bytearray(size))
    with Client(address) as client:
        began = time.perf_counter()
        first_byte_s = client.receive_timed(f"/v2/{repository}/blobs/{digest}", buffer)
        whole_s = time.perf_counter() - began
    return Timed(first_byte_s, whole_s, digest_of(buffer))


def pull_as_docker(address: Address, repository: str, tag: str, image: Image, times: int) -> Sequence[float]:
    """Pull an image as docker does, again and again: HEAD the tag, GET what it names, GET all blobs.

    Gives the seconds of each pull. Raises WrongReply.
    """
    walls_s = []
    accept = {"Accept": MANIFEST_TYPE}
    for _ in range(times):
        began = time.perf_counter()
        with Client(address) as client:
            head = client.ask("HEAD", f"/v2/{repository}/manifests/{tag}", headers=accept, want=200)
            named = head.headers["docker-content-digest"]
            if named != image.digest:
                raise WrongReply(f"{tag} of {repository} names {named}, not {image.digest}")
            client.pull_manifest(repository, named, image.digest)
            for blob in image.blobs:
                client.check_blob(repository, blob.digest, blob.size)
        walls_s.append(time.perf_counter() - began)
    return walls_s


def is_stale(address: Address, repository: str, tag: str) -> bool:
    """Whether a tag is served with a warning, for its upstream could not be asked."""
    with Client(address) as client:
        reply = client.ask("HEAD", f"/v2/{repository}/manifests/{tag}", want=200)
    return "warning" in reply.headers


def middle(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)
