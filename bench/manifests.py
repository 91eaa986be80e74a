"""Rows about manifests: by tag, by digest, and on their way in."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from bench import load
from bench.client import Client, WrongReply, push_image, push_manifests, push_missing
from bench.images import KIB, MANIFEST_TYPE, Blob, digest_of, make_blob, make_image, make_manifest
from bench.load import Load
from bench.measures import Measure, ratio_at_least, ratio_at_most
from bench.servers import Server
from bench.stand import Figures, Stand

_REPOSITORY = "bench/small"
_TAG = "1.0"
_IMAGE = make_image("small", [4 * KIB] * 6)
_ACCEPT: Mapping[str, str] = {"Accept": MANIFEST_TYPE}
_WARM_UP_S = 1

SMALL_REPLY_MEASURES = (
    Measure("requests_per_s", "requests", "/s", ratio_at_least(8)),
    Measure("cpu_us_per_request", "server CPU per request", "µs", ratio_at_most(1 / 12)),
)


def load_figures(loaded: Load, cpu_s: float | None) -> Figures:
    """Give what a load of small requests says, its CPU only where that is known."""
    figures = {
        "requests_per_s": loaded.requests / loaded.wall_s,
        "p50_ms": loaded.p50_ms,
        "p99_ms": loaded.p99_ms,
    }
    return figures if cpu_s is None else figures | {"cpu_us_per_request": cpu_s / loaded.requests * 1e6}


def used_since(server: Server, before: float | None) -> float | None:
    """Give the CPU seconds that `server` has used since `before`; None when they are not known."""
    after = server.cpu_seconds()
    return None if after is None or before is None else after - before


@dataclass(frozen=True, slots=True)
class ManifestByTag:
    """GET a manifest by its tag: the first thing of every pull."""

    name: ClassVar[str] = "manifest-get"
    title: ClassVar[str] = "manifest GET by tag, 16 connections"
    measures: ClassVar[Sequence[Measure]] = SMALL_REPLY_MEASURES
    needs_quiet: ClassVar[bool] = False
    is_once: ClassVar[bool] = False

    def prepare(self, stand: Stand, server: Server) -> None:
        """Push the image and let the server warm up."""
        stand.crew.run(push_image, server.address, _REPOSITORY, _TAG, _IMAGE)
        self._load(stand, server, _WARM_UP_S)

    def measure(self, stand: Stand, server: Server, number: int) -> Figures:
        """Check the manifest once, then load."""
        del number
        with Client(server.address) as client:
            client.pull_manifest(_REPOSITORY, _TAG, _IMAGE.digest)
        before = server.cpu_seconds()
        loaded = self._load(stand, server, stand.load_s)
        return load_figures(loaded, used_since(server, before))

    def _load(self, stand: Stand, server: Server, seconds: int) -> Load:
        target = f"/v2/{_REPOSITORY}/manifests/{_TAG}"
        return load.run_wrk(server.address, target, seconds, stand.folder, _ACCEPT)


@dataclass(frozen=True, slots=True)
class ManifestHead:
    """HEAD a manifest by its digest: what every "is it there, is it new" asks."""

    name: ClassVar[str] = "manifest-head"
    title: ClassVar[str] = "manifest HEAD by digest, 16 connections"
    measures: ClassVar[Sequence[Measure]] = SMALL_REPLY_MEASURES
    needs_quiet: ClassVar[bool] = False
    is_once: ClassVar[bool] = False

    def prepare(self, stand: Stand, server: Server) -> None:
        """Push the image and let the server warm up."""
        stand.crew.run(push_image, server.address, _REPOSITORY, _TAG, _IMAGE)
        self._load(stand, server, _WARM_UP_S)

    def measure(self, stand: Stand, server: Server, number: int) -> Figures:
        """Check one reply, then load."""
        del number
        with Client(server.address) as client:
            reply = client.ask("HEAD", self._target(), headers=_ACCEPT, want=200)
        said = (reply.headers.get("docker-content-digest"), reply.headers.get("content-length"))
        if said != (_IMAGE.digest, str(len(_IMAGE.manifest))):
            raise WrongReply(f"HEAD {self._target()} says {said}")
        before = server.cpu_seconds()
        loaded = self._load(stand, server, stand.load_s)
        return load_figures(loaded, used_since(server, before))

    @staticmethod
    def _target() -> str:
        return f"/v2/{_REPOSITORY}/manifests/{_IMAGE.digest}"

    def _load(self, stand: Stand, server: Server, seconds: int) -> Load:
        return stand.crew.run(load.run_head, server.address, self._target(), seconds, _ACCEPT)


@dataclass(frozen=True, slots=True)
class ManifestPush:
    """PUT small manifests by tag, one after the other, each acknowledged before the next is sent."""

    name: ClassVar[str] = "manifest-put"
    title: ClassVar[str] = "manifest PUT by tag, durable, one connection"
    measures: ClassVar[Sequence[Measure]] = (
        Measure("puts_per_s", "manifests", "/s", ratio_at_least(4)),
        Measure("cpu_ms_per_put", "server CPU per manifest", "ms"),
    )
    needs_quiet: ClassVar[bool] = False
    is_once: ClassVar[bool] = False

    def prepare(self, stand: Stand, server: Server) -> None:
        """Push the config and the layer that all the manifests name, and a few manifests."""
        stand.crew.run(push_missing, server.address, _REPOSITORY, self._blobs())
        stand.crew.run(push_manifests, server.address, _REPOSITORY, self._manifests(stand, "warm", 20))

    def measure(self, stand: Stand, server: Server, number: int) -> Figures:
        """Put new manifests, the same to each server of a round; then pull the last."""
        manifests = self._manifests(stand, str(number), 100 if stand.is_quick else 400)
        os.sync()
        before = server.cpu_seconds()
        wall_s = stand.crew.run(push_manifests, server.address, _REPOSITORY, manifests)
        cpu_s = used_since(server, before)
        tag, manifest = manifests[-1]
        with Client(server.address) as client:
            client.pull_manifest(_REPOSITORY, tag, digest_of(manifest))
        figures = {"puts_per_s": len(manifests) / wall_s}
        return figures if cpu_s is None else figures | {"cpu_ms_per_put": cpu_s / len(manifests) * 1e3}

    @staticmethod
    def _blobs() -> list[Blob]:
        return [make_blob("put config", 2 * KIB), make_blob("put layer", 4 * KIB)]

    def _manifests(self, stand: Stand, series: str, count: int) -> list[tuple[str, bytes]]:
        blobs = self._blobs()
        tags = [f"{stand.run_name}-{series}-{number}" for number in range(count)]
        return [(tag, make_manifest(blobs, {"org.opencontainers.image.version": tag})) for tag in tags]
