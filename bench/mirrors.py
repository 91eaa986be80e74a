"""The rows about upstream registries: what pulling through a mirror costs, and what it spares."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from bench import load
from bench.client import WrongReply, pull_images, pull_repeatedly, push_image, push_missing
from bench.crew import SIZE as CREW_SIZE
from bench.images import (
    GIB,
    KIB,
    LARGE_BYTES,
    LARGE_SEED,
    MANIFEST_TYPE,
    MIB,
    Blob,
    Image,
    make_blob,
    make_image,
)
from bench.manifests import used_since
from bench.measures import Measure, at_least, at_most
from bench.servers import Moorage, Server
from bench.stand import Figures, Stand
from bench.upstreams import NAME, Pair, Timed, is_stale, middle, pull_as_docker, pull_timed

_REMOTE = "library/app"
_MIRRORED = f"{NAME}/{_REMOTE}"
_LOCAL = "team/app"
_TAG = "1.0"
_BACK_WITHIN_S = 60.0


@dataclass(slots=True)
class MirrorMany:
    """Let 200 clients pull an image of 100 MiB at once that is at the upstream only."""

    name: ClassVar[str] = "mirror-many"
    title: ClassVar[str] = "200 clients pull an uncached 100 MiB image at once"
    measures: ClassVar[Sequence[Measure]] = (
        Measure("gets_per_blob", "GETs of the upstream, of any blob", "", at_most(1)),
        Measure("wrong", "wrong or failed pulls", "", at_most(0)),
        Measure("manifest_gets", "GETs of the tag's manifest", ""),
        Measure("wall_s", "time", "s"),
    )
    needs_quiet: ClassVar[bool] = False
    is_once: ClassVar[bool] = False
    _own: list[Pair] = field(default_factory=list)

    _CLIENTS: ClassVar[int] = 200

    def prepare(self, stand: Stand, server: Server) -> None:
        """Start a mirror and its upstream."""
        if isinstance(server, Moorage):
            self._own = [Pair.start(stand, server, "mirror-many")]

    def measure(self, stand: Stand, server: Server, number: int) -> Figures:
        """Push a new image to the upstream; then pull it, every byte hashed."""
        if not isinstance(server, Moorage) or not self._own:
            return {}
        (pair,) = self._own
        image = make_image(f"{stand.run_name} many {number}", [4 * MIB, 16 * MIB, 32 * MIB, 48 * MIB])
        tag = f"many-{number}"
        stand.crew.run(push_image, pair.upstream.address, _REMOTE, tag, image)
        share = (40 if stand.is_quick else self._CLIENTS) // CREW_SIZE
        calls = [(pair.mirror.address, _MIRRORED, tag, image, share)] * CREW_SIZE
        began = time.perf_counter()
        wrong = [problem for each in stand.crew.run_all(pull_images, calls) for problem in each]
        wall_s = time.perf_counter() - began
        gets = [pair.gets_of(blob.digest) for blob in image.blobs]
        return {
            "gets_per_blob": max(gets) if min(gets) else 0,
            "wrong": len(wrong),
            "manifest_gets": pair.upstream.proxy.count("GET", f"/manifests/{tag}"),
            "wall_s": wall_s,
        }


@dataclass(slots=True)
class MirrorFirstByte:
    """Pull a large blob that is not here from an upstream that sends 50 MB a second."""

    name: ClassVar[str] = "mirror-first-byte"
    title: ClassVar[str] = "uncached 256 MiB blob from an upstream of 50 MB/s"
    measures: ClassVar[Sequence[Measure]] = (
        Measure("first_byte_ms", "first byte", "ms", at_most(300)),
        Measure("of_direct", "time, of pulling from the upstream", "x", at_most(1.1)),
        Measure("direct_first_byte_ms", "first byte from the upstream", "ms"),
        Measure("whole_s", "time", "s"),
    )
    needs_quiet: ClassVar[bool] = False
    is_once: ClassVar[bool] = False
    _own: list[Pair] = field(default_factory=list)

    _BYTES_PER_S: ClassVar[float] = 50e6

    def prepare(self, stand: Stand, server: Server) -> None:
        """Start a mirror and its upstream."""
        if isinstance(server, Moorage):
            self._own = [Pair.start(stand, server, "mirror-first-byte")]

    def measure(self, stand: Stand, server: Server, number: int) -> Figures:
        """Push a new image to the upstream; pull its layer from either, in turn first."""
        if not isinstance(server, Moorage) or not self._own:
            return {}
        (pair,) = self._own
        image = make_image(
            f"{stand.run_name} first byte {number}", [32 * MIB if stand.is_quick else LARGE_BYTES]
        )
        tag = f"first-{number}"
        stand.crew.run(push_image, pair.upstream.address, _REMOTE, tag, image)
        stand.crew.run(pull_as_docker, pair.mirror.address, _MIRRORED, tag, _without_layers(image), 1)
        # what the push has left to be written is written before the clock starts
        os.sync()
        pair.upstream.proxy.throttle(self._BYTES_PER_S)
        layer = image.blobs[1]
        places = [(pair.mirror.address, _MIRRORED), (pair.upstream.front, _REMOTE)]
        order = places if number % 2 else places[::-1]
        try:
            timed = {place: _pull(stand, *place, layer) for place in order}
        finally:
            pair.upstream.proxy.throttle(None)
        through, direct = (timed[place] for place in places)
        if pair.gets_of(layer.digest) != 2:
            raise WrongReply(f"the upstream was asked {pair.gets_of(layer.digest)} times, not once for each")
        return {
            "first_byte_ms": through.first_byte_s * 1e3,
            "direct_first_byte_ms": direct.first_byte_s * 1e3,
            "of_direct": through.whole_s / direct.whole_s,
            "whole_s": through.whole_s,
        }


def _pull(stand: Stand, address: object, repository: str, blob: Blob) -> Timed:
    timed = stand.crew.run(pull_timed, address, repository, blob.digest, blob.size)  # type: ignore[arg-type]
    if timed.digest != blob.digest:
        raise WrongReply(f"blob {blob.digest} came back as {timed.digest}")
    return timed


def _without_layers(image: Image) -> Image:
    """What of an image is pulled before its layers."""
    return Image(image.blobs[:1], image.manifest, image.digest)


@dataclass(slots=True)
class MirrorCached:
    """Pull what is cached of an upstream, against the same as a local image of the same server."""

    name: ClassVar[str] = "mirror-cached"
    title: ClassVar[str] = "cached image of an upstream, of a local one"
    measures: ClassVar[Sequence[Measure]] = (
        Measure("manifest_ratio", "manifest GETs by tag a second", "x", at_least(0.9)),
        Measure("manifest_cpu_ratio", "server CPU of a manifest GET", "x"),
        Measure("blob_cpu_ratio", "server CPU of a blob GET", "x", at_most(1.1)),
        Measure("requests_per_s", "manifest GETs by tag", "/s"),
        Measure("cpu_s_per_gib", "server CPU per GiB", "s"),
    )
    needs_quiet: ClassVar[bool] = False
    is_once: ClassVar[bool] = False
    _own: list[Pair] = field(default_factory=list)
    _image: Image | None = None
    _blob: Blob | None = None

    _LOADS: ClassVar[int] = 9
    _PULLS: ClassVar[int] = 3

    def prepare(self, stand: Stand, server: Server) -> None:
        """Push the same to the upstream and to the mirror; pull it once through the mirror."""
        if not isinstance(server, Moorage):
            return
        pair = Pair.start(stand, server, "mirror-cached")
        self._own = [pair]
        self._image = make_image("cached", [4 * KIB] * 6)
        self._blob = make_blob(LARGE_SEED, LARGE_BYTES)
        for address, repository in ((pair.upstream.address, _REMOTE), (pair.mirror.address, _LOCAL)):
            stand.crew.run(push_image, address, repository, _TAG, self._image)
            stand.crew.run(push_missing, address, repository, [self._blob])
        for repository in (_MIRRORED, _LOCAL):
            stand.crew.run(pull_as_docker, pair.mirror.address, repository, _TAG, self._image, 1)
            self._pull(stand, pair, repository, 1)
            self._load(stand, pair, repository, 1)

    def measure(self, stand: Stand, server: Server, number: int) -> Figures:
        """Each in turn, several times; the medians of either."""
        if not isinstance(server, Moorage) or not self._own or self._image is None:
            return {}
        (pair,) = self._own
        rates: dict[str, list[float]] = {_MIRRORED: [], _LOCAL: []}
        costs_us: dict[str, list[float]] = {_MIRRORED: [], _LOCAL: []}
        cpu_s: dict[str, list[float]] = {_MIRRORED: [], _LOCAL: []}
        order = [_MIRRORED, _LOCAL] if number % 2 else [_LOCAL, _MIRRORED]
        for turn in range(self._LOADS):
            for repository in order if turn % 2 else order[::-1]:
                # short and often: what else the machine does comes to both
                rate, cost_us = self._load(stand, pair, repository, 1)
                rates[repository].append(rate)
                costs_us[repository].append(cost_us)
        for turn in range(1 if stand.is_quick else self._PULLS):
            for repository in order if turn % 2 else order[::-1]:
                cpu_s[repository].append(self._pull(stand, pair, repository, 4))
        return {
            "manifest_ratio": middle(rates[_MIRRORED]) / middle(rates[_LOCAL]),
            "manifest_cpu_ratio": middle(costs_us[_MIRRORED]) / middle(costs_us[_LOCAL]),
            "blob_cpu_ratio": middle(cpu_s[_MIRRORED]) / middle(cpu_s[_LOCAL]),
            "requests_per_s": middle(rates[_MIRRORED]),
            "cpu_s_per_gib": middle(cpu_s[_MIRRORED]),
        }

    @staticmethod
    def _load(stand: Stand, pair: Pair, repository: str, seconds: int) -> tuple[float, float]:
        """How many manifests a second, and the microseconds of CPU of each."""
        target = f"/v2/{repository}/manifests/{_TAG}"
        before = pair.mirror.cpu_seconds()
        loaded = load.run_wrk(pair.mirror.address, target, seconds, stand.folder, {"Accept": MANIFEST_TYPE})
        cpu_s = used_since(pair.mirror, before) or 0.0
        return loaded.requests / loaded.wall_s, cpu_s / loaded.requests * 1e6

    def _pull(self, stand: Stand, pair: Pair, repository: str, times: int) -> float:
        blob = self._blob or make_blob(LARGE_SEED, LARGE_BYTES)
        before = pair.mirror.cpu_seconds()
        stand.crew.run(pull_repeatedly, pair.mirror.address, repository, blob.digest, blob.size, times)
        return (used_since(pair.mirror, before) or 0.0) / (blob.size * times / GIB)


@dataclass(slots=True)
class MirrorBlackhole:
    """Pull a cached tag, which is asked about each time, while packets to the upstream are dropped."""

    name: ClassVar[str] = "mirror-blackhole"
    title: ClassVar[str] = "pull of a cached tag, upstream black-holed"
    measures: ClassVar[Sequence[Measure]] = (
        Measure("first_extra_s", "the first time, more than normal", "s", at_most(3)),
        Measure("open_of_normal", "with the line open, of normal", "x", at_most(1)),
        Measure("normal_ms", "normal, the upstream asked each time", "ms"),
        Measure("open_ms", "with the line open", "ms"),
    )
    needs_quiet: ClassVar[bool] = False
    is_once: ClassVar[bool] = False
    _own: list[Pair] = field(default_factory=list)

    _TIMES: ClassVar[int] = 30
    _IMAGE: ClassVar[Image] = make_image("black hole", [64 * KIB] * 3)

    def prepare(self, stand: Stand, server: Server) -> None:
        """Pull the image once."""
        if not isinstance(server, Moorage):
            return
        pair = Pair.start(stand, server, "mirror-blackhole", freshness="0s")
        self._own = [pair]
        stand.crew.run(push_image, pair.upstream.address, _REMOTE, _TAG, self._IMAGE)
        self._pull(stand, pair, 1)

    def measure(self, stand: Stand, server: Server, number: int) -> Figures:
        """Normally; then once with packets dropped; then again and again; then wait until all is well."""
        del number
        if not isinstance(server, Moorage) or not self._own:
            return {}
        (pair,) = self._own
        normal_s = middle(self._pull(stand, pair, self._TIMES))
        pair.upstream.proxy.drop_packets()
        try:
            (first_s,) = self._pull(stand, pair, 1)
            open_s = middle(self._pull(stand, pair, self._TIMES))
            if not is_stale(pair.mirror.address, _MIRRORED, _TAG):
                raise WrongReply("the tag was served without a warning")
        finally:
            pair.upstream.proxy.mend()
        deadline = time.monotonic() + _BACK_WITHIN_S
        while is_stale(pair.mirror.address, _MIRRORED, _TAG):
            if time.monotonic() > deadline:
                raise WrongReply(f"the upstream was not asked again within {_BACK_WITHIN_S:.0f} s")
            time.sleep(0.2)
        return {
            "first_extra_s": first_s - normal_s,
            "open_of_normal": open_s / normal_s,
            "normal_ms": normal_s * 1e3,
            "open_ms": open_s * 1e3,
        }

    def _pull(self, stand: Stand, pair: Pair, times: int) -> Sequence[float]:
        return stand.crew.run(pull_as_docker, pair.mirror.address, _MIRRORED, _TAG, self._IMAGE, times)
