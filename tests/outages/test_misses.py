"""Nobody uses an upstream up by asking for what it does not have: counted at a real one, docker-registry."""

import http.client
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest

from moorage.mirrors.misses import BURST
from tests.content import digest_of
from tests.outages.images import push_image
from tests.outages.mirror import ACCEPT, NAME, REMOTE, Mirror, write_settings
from tests.outages.proxy import Proxy
from tests.servers import ServerProcess

MALLORY, ALICE = "127.0.0.66", "127.0.0.2"
TRIES = BURST + 200
SLACK = 60
"""So many seconds a test may take: one more question for each."""

IMAGE = f"{NAME}/{REMOTE}"

ASKS: tuple[Callable[[int], tuple[str, str, str]], ...] = (
    lambda number: ("HEAD", f"manifests/nothing-{number}", IMAGE),
    lambda number: ("GET", f"manifests/{made_up(number)}", IMAGE),
    lambda number: ("HEAD", f"blobs/{made_up(number)}", IMAGE),
    lambda number: ("GET", f"blobs/{made_up(number)}", IMAGE),
    lambda number: ("GET", f"referrers/{made_up(number)}", IMAGE),
    lambda number: ("GET", "tags/list", f"{NAME}/none/{number}"),
)
"""All that can be asked for in vain."""


def made_up(number: int) -> str:
    return digest_of(b"made up %d" % number)


class Person:
    """A client at an address of its own, on one connection. A context manager."""

    def __init__(self, mirror: Mirror, address: str) -> None:
        self._connection = http.client.HTTPConnection(
            "127.0.0.1", mirror.server.port, timeout=10, source_address=(address, 0)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(self, method: str, rest: str, name: str = IMAGE) -> tuple[int, str | None, bytes]:
        """A status, `Retry-After`, and the body."""
        self._connection.request(method, f"/v2/{name}/{rest}", headers={"Accept": ACCEPT})
        response = self._connection.getresponse()
        return response.status, response.headers["Retry-After"], response.read()


@pytest.fixture
def server(proxy: Proxy, tmp_path: Path) -> Iterator[ServerProcess]:
    """One worker; what came is fresh for the whole of a test."""
    settings = write_settings(tmp_path, proxy.url, freshness="15m")
    with ServerProcess(tmp_path / "data", "--workers", "1", "--config", str(settings)) as server:
        yield server


@pytest.fixture
def mallory(mirror: Mirror) -> Iterator[Person]:
    with Person(mirror, MALLORY) as mallory:
        yield mallory


@pytest.fixture
def alice(mirror: Mirror) -> Iterator[Person]:
    with Person(mirror, ALICE) as alice:
        yield alice


def test_made_up_names_stop_reaching_the_upstream_and_others_go_on_pulling(
    mirror: Mirror, mallory: Person, alice: Person
) -> None:
    cached, uncached = (push_image(mirror.upstream, tag) for tag in ("cached", "uncached"))
    mirror.pull(cached)
    mirror.proxy.forget()

    statuses = [mallory.ask("GET", f"manifests/none-{number}")[0] for number in range(TRIES)]

    assert statuses[:BURST] == [404] * BURST
    assert statuses[-1] == 429
    assert BURST <= mirror.proxy.count() <= BURST + SLACK
    for kind in ASKS:
        answers = [mallory.ask(*kind(number)) for number in range(20)]
        retry_after, body = next(each[1:] for each in answers if each[0] == 429)
        assert int(retry_after or 0) >= 1
        assert not body or (b"TOOMANYREQUESTS" in body and MALLORY.encode() in body)
    assert mirror.proxy.count() <= BURST + 2 * SLACK

    # what is here is had by the same client as ever
    for rest, content in (
        ("manifests/cached", cached.payload),
        (f"manifests/{cached.digest}", cached.payload),
        (f"blobs/{cached.layers[0]}", cached.blobs[cached.layers[0]]),
    ):
        assert mallory.ask("GET", rest)[::2] == (200, content)
    # and another pulls what is not
    assert alice.ask("GET", "manifests/uncached")[::2] == (200, uncached.payload)
    for digest in uncached.layers:
        assert alice.ask("GET", f"blobs/{digest}")[::2] == (200, uncached.blobs[digest])
    event, *_ = mirror.server.log_events("mirror_misses_limited")
    assert (event["client"], event["upstream"]) == (f"address {MALLORY}", NAME)


def test_signatures_of_some_hundred_images_that_have_none_are_looked_for(
    mirror: Mirror, alice: Person
) -> None:
    """As cosign does: each is asked for in vain, and the next image comes all the same."""
    image = push_image(mirror.upstream, "1")

    for number in range(BURST - 50):
        tag = digest_of(b"%d" % number).replace(":", "-") + ".sig"
        assert alice.ask("GET", f"manifests/{tag}")[0] == 404

    assert alice.ask("GET", "manifests/1")[::2] == (200, image.payload)
