"""The row about the list of tags that people look at: by version, with what is known of each."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import quote

from bench.client import Address, Client, WrongReply, push_missing, time_replies
from bench.images import CONFIG_TYPE, KIB, LAYER_TYPE, MANIFEST_TYPE, digest_of, make_blob
from bench.measures import Measure, at_most
from bench.servers import Moorage, Server
from bench.stand import Figures, Stand

_REPOSITORY = "bench/versions"
_TAGS = 100_000
_TAGS_PER_PUT = 50
_PAGE_TAGS = 100
_WALK_TAGS = 1_000
_MINORS, _PATCHES = 100, 100
_LAYERS = 6


@dataclass(frozen=True, slots=True)
class VersionPage:
    """GET a page of 100 of 100,000 tags, sorted by version, the first and any other.

    The tags were pushed in any order and 50 of any to an image, so that a page has about as many images
    as tags: with their platforms, sizes, pulls and rules. Only Moorage has such a list.
    """

    name: ClassVar[str] = "version-page"
    title: ClassVar[str] = "tags by version, page of 100 of 100,000"
    measures: ClassVar[Sequence[Measure]] = (
        Measure("p50_ms", "p50", "ms"),
        Measure("p99_ms", "p99", "ms", at_most(50)),
        Measure("first_ms", "the first page", "ms", at_most(50)),
    )
    needs_quiet: ClassVar[bool] = False
    is_once: ClassVar[bool] = False

    def prepare(self, stand: Stand, server: Server) -> None:
        """Push the tags, and a rule that fixes those of one major version."""
        if isinstance(server, Moorage):
            stand.crew.run(_put_tags, server.address)

    def measure(self, stand: Stand, server: Server, number: int) -> Figures:
        """Ask for pages, and check every one."""
        if not isinstance(server, Moorage):
            return {}
        path = f"/api/v1/tags/{_REPOSITORY}"
        first_s, first = stand.crew.run(time_replies, server.address, [f"{path}?n={_PAGE_TAGS}"])
        _check(first[0], _TAGS)
        places = stand.crew.run(_read_places, server.address, path)
        asked = random.Random(number).choices(list(places), k=100 if stand.is_quick else 500)
        targets = [f"{path}?n={_PAGE_TAGS}&after={quote(places[before])}" for before in asked]
        walls_s, bodies = stand.crew.run(time_replies, server.address, targets)
        for before, body in zip(asked, bodies, strict=True):
            _check(body, before)
        walls = sorted(walls_s)
        return {
            "p50_ms": walls[len(walls) // 2] * 1e3,
            "p99_ms": walls[len(walls) * 99 // 100] * 1e3,
            "first_ms": first_s[0] * 1e3,
        }


def _check(body: bytes, before: int) -> None:
    items = json.loads(body)["items"]
    want = [_tag(number) for number in range(before - 1, max(-1, before - 1 - _PAGE_TAGS), -1)]
    if [each["name"] for each in items] != want:
        raise WrongReply(f"the page before {before} is {body[:200]!r}")
    if any(each["platforms"] != ["linux/amd64"] or each["size_bytes"] <= 0 for each in items):
        raise WrongReply(f"the page before {before} lacks platforms or sizes: {body[:200]!r}")


def _tag(number: int) -> str:
    """Name a tag so that the order of versions is that of numbers; of names it is not."""
    major, rest = divmod(number, _MINORS * _PATCHES)
    return f"v{major}.{rest // _PATCHES}.{rest % _PATCHES}"


def _read_places(address: Address, path: str) -> dict[int, str]:
    """What `next` says at every thousandth tag, by how many tags are still to come."""
    places: dict[int, str] = {}
    with Client(address) as client:
        after = ""
        for left in range(_TAGS - _WALK_TAGS, 0, -_WALK_TAGS):
            reply = client.ask("GET", f"{path}?n={_WALK_TAGS}&after={quote(after)}", want=200)
            after = places[left] = json.loads(reply.body)["next"]
    return places


def _put_tags(address: Address) -> None:
    """Put manifests by digest, each under 50 new tags of any version."""
    numbers = list(range(_TAGS))
    random.Random(_REPOSITORY).shuffle(numbers)
    layers = [make_blob(f"versions layer {number}", 4 * KIB) for number in range(_LAYERS)]
    push_missing(address, _REPOSITORY, layers)
    described = [{"mediaType": LAYER_TYPE, "digest": each.digest, "size": each.size} for each in layers]
    with Client(address) as client:
        for first in range(0, _TAGS, _TAGS_PER_PUT):
            config = json.dumps({"os": "linux", "architecture": "amd64", "created": first}).encode()
            client.upload(_REPOSITORY, [config])
            manifest = {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "config": {"mediaType": CONFIG_TYPE, "digest": digest_of(config), "size": len(config)},
                "layers": described,
            }
            payload = json.dumps(manifest).encode()
            query = "&".join(f"tag={_tag(number)}" for number in numbers[first : first + _TAGS_PER_PUT])
            client.push_manifest(_REPOSITORY, f"{digest_of(payload)}?{query}", payload)
        rule = json.dumps({"scope": _REPOSITORY, "pattern": "v1.*"}).encode()
        client.ask("POST", "/api/v1/immutability", rule, want=201)
