"""The row about tag lists: one page of few tags and the same of many."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from bench.client import Address, Client, WrongReply, push_missing, time_replies
from bench.images import KIB, Blob, digest_of, make_blob, make_manifest
from bench.measures import Measure, at_most
from bench.servers import DockerRegistry, OwnServer, Server
from bench.stand import Figures, Stand

_PAGE_TAGS = 100
_TAGS_PER_PUT = 50
_FEW, _MANY = 1_000, 100_000


@dataclass(slots=True)
class TagPage:
    """GET a page of 100 tags that begins anywhere in the list.

    docker-registry 2.8.2 knows neither `n` nor `last` and answers with the
    whole list: it is asked a few times only, for information.
    """

    name: ClassVar[str] = "tag-page"
    title: ClassVar[str] = "tags/list, page of 100"
    measures: ClassVar[Sequence[Measure]] = (
        Measure("many_p99_ms", "of 100,000 tags: p99", "ms", at_most(5)),
        Measure("few_p99_ms", "of 1,000 tags: p99", "ms"),
        Measure("growth", "p99 of 100,000 to p99 of 1,000", "x", at_most(1.5)),
    )
    needs_quiet: ClassVar[bool] = False
    is_once: ClassVar[bool] = False
    _pages: set[str] = field(default_factory=set)
    """The servers, by name, that answer with pages."""

    def prepare(self, stand: Stand, server: Server) -> None:
        """Give the server its tags; one whose tags are not known how to be given is not measured.

        Through the API a tag costs a durable write, so they are given 50 a
        request as `?tag=` of distribution-spec v1.2 allows.
        """
        for count in (_FEW, _MANY):
            if isinstance(server, DockerRegistry):
                _write_docker_registry_tags(server, _repository(count), count)
            elif isinstance(server, OwnServer):
                stand.crew.run(_put_tags, server.address, _repository(count), count)
            else:
                return
        if not isinstance(server, DockerRegistry):
            self._pages.add(server.name)

    def measure(self, stand: Stand, server: Server, number: int) -> Figures:
        """Ask for pages of both lists in turn, and check every one."""
        if server.name in self._pages:
            return self._measure_pages(stand, server, number)
        if isinstance(server, DockerRegistry):
            return self._measure_whole_lists(stand, server)
        return {}

    @staticmethod
    def _measure_pages(stand: Stand, server: Server, number: int) -> Figures:
        chance = random.Random(number)
        asked = [
            (count, chance.randrange(count - _PAGE_TAGS - 1))
            for _ in range(200 if stand.is_quick else 1000)
            for count in (_FEW, _MANY)
        ]
        targets = [
            f"/v2/{_repository(count)}/tags/list?n={_PAGE_TAGS}&last={_tag(after)}" for count, after in asked
        ]
        walls_s, bodies = stand.crew.run(time_replies, server.address, targets)
        for (count, after), body in zip(asked, bodies, strict=True):
            want = [_tag(number) for number in range(after + 1, after + 1 + _PAGE_TAGS)]
            if json.loads(body) != {"name": _repository(count), "tags": want}:
                raise WrongReply(f"the page after {_tag(after)} of {count} tags is {body[:200]!r}")
        return _figures(walls_s[0::2], walls_s[1::2])

    @staticmethod
    def _measure_whole_lists(stand: Stand, server: Server) -> Figures:
        targets = [f"/v2/{_repository(count)}/tags/list" for count in (_FEW, _MANY)] * 3
        walls_s, bodies = stand.crew.run(time_replies, server.address, targets)
        for count, body in zip((_FEW, _MANY), bodies[:2], strict=True):
            if set(json.loads(body)["tags"]) != {_tag(number) for number in range(count)}:
                raise WrongReply(f"the list of {count} tags is {body[:200]!r}")
        return _figures(walls_s[0::2], walls_s[1::2])


def _figures(few_s: list[float], many_s: list[float]) -> Figures:
    few, many = (sorted(walls)[len(walls) * 99 // 100] for walls in (few_s, many_s))
    middle = {
        name: sorted(walls)[len(walls) // 2] * 1e3
        for name, walls in (("few_p50_ms", few_s), ("many_p50_ms", many_s))
    }
    return {"few_p99_ms": few * 1e3, "many_p99_ms": many * 1e3, "growth": many / few, **middle}


def _repository(count: int) -> str:
    return f"bench/tags-{count}"


def _tag(number: int) -> str:
    """Name a tag so that the order of names, by bytes or without case, is that of numbers."""
    return f"v{number:06}"


def _blobs() -> list[Blob]:
    return [make_blob("tags config", 2 * KIB), make_blob("tags layer", 4 * KIB)]


def _put_tags(address: Address, repository: str, count: int) -> None:
    """Put manifests by digest, each under 50 new tags."""
    blobs = _blobs()
    push_missing(address, repository, blobs)
    with Client(address) as client:
        for first in range(0, count, _TAGS_PER_PUT):
            manifest = make_manifest(blobs, {"org.opencontainers.image.version": str(first)})
            query = "&".join(f"tag={_tag(number)}" for number in range(first, first + _TAGS_PER_PUT))
            client.push_manifest(repository, f"{digest_of(manifest)}?{query}", manifest)


def _write_docker_registry_tags(server: DockerRegistry, repository: str, count: int) -> None:
    """Prepare the peer: push one tag, then write the others straight into its folder.

    Through its API the tags would take minutes: it knows no `?tag=`. It keeps a tag as
        repositories/<name>/_manifests/tags/<tag>/current/link
        repositories/<name>/_manifests/tags/<tag>/index/sha256/<hex>/link
    and lists tags by the names in the folder `tags`, without opening them. The others are
    therefore symbolic links to the first tag's folder: the list and each tag read as they would,
    and half a million folders need not be made and removed (measured: 40 s and minutes).
    """
    blobs = _blobs()
    manifest = make_manifest(blobs)
    push_missing(server.address, repository, blobs)
    with Client(server.address) as client:
        client.push_manifest(repository, _tag(0), manifest)
        tags = server.data / "docker/registry/v2/repositories" / repository / "_manifests/tags"
        for number in range(1, count):
            (tags / _tag(number)).symlink_to(_tag(0), target_is_directory=True)
        for number in (0, count // 2, count - 1):
            client.pull_manifest(repository, _tag(number), digest_of(manifest))
