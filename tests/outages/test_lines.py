"""The breaker, the alternatives and the switch: who is asked, who is not, and what they may say."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.servers import DockerRegistry
from tests.cli.commands import moorage
from tests.faults.means import wait_until
from tests.outages.images import Known, push_image
from tests.outages.mirror import KNOWN_S, NAME, REMOTE, Mirror, write_settings
from tests.outages.proxy import Proxy
from tests.outages.spoiling import Fault
from tests.servers import ServerProcess
from tests.spec.client import Client, Repository

MIB = 1 << 20
DUE_S = 30
"""A line that is open is tried again within this."""


def state_of(mirror: Mirror, proxy: Proxy) -> str:
    rows = mirror.rows("SELECT state FROM upstream_line WHERE upstream = ? AND address = ?", NAME, proxy.url)
    return str(rows[0][0]) if rows else "closed"


def test_open_line_is_not_asked_by_clients_and_closes_when_the_upstream_is_back(mirror: Mirror) -> None:
    mirror.pull(image := push_image(mirror.upstream, "1"))
    absent = push_image(mirror.upstream, "2")
    mirror.proxy.spoil(Fault(status=500))
    for _ in range(4):
        mirror.get("manifests/1")
    wait_until(lambda: state_of(mirror, mirror.proxy) == "open")
    opened = mirror.server.wait_for_event("upstream_line_opened")
    assert (opened["upstream"], opened["address"]) == (NAME, mirror.proxy.url)
    time.sleep(KNOWN_S)
    mirror.proxy.forget()

    for _ in range(20):
        assert mirror.get("manifests/1").status == 200
        assert mirror.get("manifests/2").status in {502, 504}
        assert mirror.get(f"blobs/{absent.layers[0]}").status in {502, 504}

    asked = [each for each in mirror.proxy.find() if each.path.rstrip("/") != "/v2"]
    assert not asked
    mirror.proxy.mend()
    mirror.server.wait_for_event("upstream_line_closed", seconds=DUE_S)
    wait_until(lambda: mirror.get("manifests/2").status == 200)
    mirror.pull(absent)
    mirror.pull(image)
    # the other worker knows of it a little later
    wait_until(lambda: "warning" not in mirror.get("manifests/1").headers)


def test_open_line_whose_trial_fails_stays_open_and_nobody_waits_for_the_trial(mirror: Mirror) -> None:
    """Two workers: one tries, beside the requests."""
    mirror.pull(push_image(mirror.upstream, "1"))
    mirror.proxy.drop_packets()
    mirror.get("manifests/1")
    wait_until(lambda: state_of(mirror, mirror.proxy) == "open")
    time.sleep(KNOWN_S)

    ((before,),) = mirror.rows("SELECT retry_at FROM upstream_line")
    slowest = 0.0
    while mirror.rows("SELECT retry_at FROM upstream_line WHERE state = 'open'") in ([(before,)], []):
        got = mirror.get("manifests/1")
        assert got.status == 200
        slowest = max(slowest, got.seconds)

    # far from the seconds that a trial takes, on a machine however busy
    assert slowest < 1.5
    assert state_of(mirror, mirror.proxy) == "open"


def test_line_that_said_429_is_left_alone_for_as_long_as_it_said(mirror: Mirror) -> None:
    mirror.pull(push_image(mirror.upstream, "1"))
    mirror.proxy.spoil(Fault(status=429, retry_after="4"), times=1)
    mirror.get("manifests/1")
    (busy,) = [each for each in mirror.proxy.find() if each.status == 429]

    mirror.server.wait_for_event("upstream_line_closed", seconds=DUE_S)

    after = mirror.proxy.find()[mirror.proxy.find().index(busy) + 1]
    assert after.at - busy.at >= 4


def test_quota_that_the_upstream_tells_is_known(mirror: Mirror) -> None:
    mirror.pull(push_image(mirror.upstream, "1"))

    assert mirror.rows("SELECT quota_left FROM upstream_line") == [(None,)]


def switch(mirror: Mirror, word: str) -> None:
    """What the operator says on the mirror's folder, until each worker knows of it."""
    settings = mirror.server.data_dir.with_name("moorage.toml")
    place = "--data", mirror.server.data_dir, "--config", settings
    moorage("upstream", word, NAME, *place).check()
    # which of them answers is chance, and one may be asked for the first time in the middle of a test
    time.sleep(KNOWN_S)


def test_disconnected_upstream_is_not_asked_until_it_is_connected_again(mirror: Mirror) -> None:
    mirror.pull(image := push_image(mirror.upstream, "1"))
    absent = push_image(mirror.upstream, "2")
    switch(mirror, "disconnect")
    wait_until(lambda: "warning" in mirror.get("manifests/1").headers)
    mirror.proxy.forget()

    for _ in range(3):
        mirror.pull(image)
        refused = mirror.get("manifests/2")
        assert refused.status in {502, 504}
        assert "disconnect" in refused.reason
        assert mirror.get(f"blobs/{absent.layers[0]}").status in {502, 504}
        assert mirror.get(f"blobs/{absent.layers[0]}", "HEAD").status in {502, 504}
        mirror.get("tags/list")
        mirror.get(f"referrers/{image.digest}")
    assert not mirror.proxy.requests

    switch(mirror, "connect")
    wait_until(lambda: mirror.get("manifests/2").status == 200)
    mirror.pull(absent)


def test_blob_of_a_disconnected_upstream_is_refused_and_nothing_is_kept(mirror: Mirror) -> None:
    image = push_image(mirror.upstream, "1", [2 * MIB])
    mirror.proxy.throttle(MIB)
    assert mirror.get(f"blobs/{image.layers[-1]}", "HEAD").status == 200

    switch(mirror, "disconnect")
    wait_until(
        lambda: "warning" in mirror.get("manifests/1").headers or mirror.get("manifests/1").status > 500
    )
    got = mirror.get(f"blobs/{image.layers[-1]}")

    assert got.status in {502, 504}
    mirror.check_nothing_kept(image.layers[-1])


@dataclass(frozen=True)
class Pair:
    """A mirror whose upstream has an alternative, each behind a proxy."""

    mirror: Mirror
    other: Repository
    """The repository at the alternative, past its proxy."""
    other_proxy: Proxy

    def push(self, tag: str, *sizes: int) -> Known:
        """An image that both have."""
        image = push_image(self.mirror.upstream, tag, sizes or (100_000,))
        self.copy(image)
        return image

    def copy(self, image: Known) -> None:
        for content in image.blobs.values():
            self.other.push_blob(content)
        self.other.push_manifest(image.top, image.tag)


@pytest.fixture
def policy() -> str:
    """`alternatives_may` of the upstream."""
    return "new"


@pytest.fixture
def pair(registry: DockerRegistry, proxy: Proxy, tmp_path: Path, policy: str) -> Iterator[Pair]:
    other = DockerRegistry("alternative", tmp_path / "other")
    other.start()
    try:
        with Proxy(other.address.port) as other_proxy:
            lines = f'alternatives = ["{other_proxy.url}"]', f'alternatives_may = "{policy}"'
            settings = write_settings(tmp_path, proxy.url, *lines)
            arguments = "--workers", "2", "--config", str(settings)
            with ServerProcess(tmp_path / "data", *arguments) as server:
                mirror = Mirror(server, proxy, registry)
                yield Pair(mirror, Repository(Client(other.address.port), REMOTE), other_proxy)
    finally:
        other.stop()


def test_alternative_is_asked_only_where_the_upstream_did_not_give_it(pair: Pair) -> None:
    image = pair.push("1")
    pair.mirror.pull(image)
    assert not pair.other_proxy.requests

    later = pair.push("2")
    pair.mirror.proxy.refuse()

    pair.mirror.pull(later)
    assert pair.other_proxy.count("GET")


def test_alternative_goes_on_with_a_blob_where_the_upstream_was_cut(pair: Pair) -> None:
    image = pair.push("1", 2 * MIB)
    digest = image.layers[-1]
    pair.mirror.pull(image, blobs=[])
    pair.mirror.proxy.spoil(Fault(status=500))
    pair.mirror.proxy.spoil(Fault(cut_at=MIB, is_reset=True), "/blobs/", "GET", times=1)

    pair.mirror.check_blob(image, digest)

    (rest,) = pair.other_proxy.find("GET", f"/blobs/{digest}")
    assert rest.headers["range"].startswith("bytes=")
    assert rest.sent_bytes < 2 * MIB
    wait_until(lambda: pair.mirror.is_kept(digest))


def test_poisoned_alternative_cannot_swap_a_tag_that_is_here(pair: Pair) -> None:
    image = pair.push("1")
    pair.mirror.pull(image)
    evil = push_image(pair.other, "1")
    pair.mirror.proxy.refuse()

    for _ in range(5):
        got = pair.mirror.get("manifests/1")
        assert (got.status, got.body) == (200, image.payload)

    assert pair.mirror.get("manifests/1").headers["docker-content-digest"] == image.digest
    assert not pair.mirror.rows("SELECT 1 FROM manifest WHERE digest = ?", evil.digest)


@pytest.mark.parametrize("policy", ["known"])
def test_alternative_may_say_of_a_new_tag_only_what_the_upstream_has_shown_for_it(pair: Pair) -> None:
    push_image(pair.other, "1")
    pair.mirror.proxy.refuse()

    assert pair.mirror.get("manifests/1").status in {502, 504}
    assert pair.mirror.server.wait_for_event("alternative_refused", tag="1")


@pytest.mark.parametrize("policy", ["new", "any"])
def test_alternative_may_say_what_a_new_tag_is_where_it_is_trusted_so_far(pair: Pair) -> None:
    image = push_image(pair.other, "1")
    pair.mirror.proxy.refuse()

    pair.mirror.pull(image)


def test_what_an_alternative_said_of_a_new_tag_is_corrected_by_the_upstream(pair: Pair) -> None:
    pair.mirror.pull(own := push_image(pair.mirror.upstream, "other"))
    wrong = push_image(pair.other, "1")
    pair.mirror.proxy.refuse()
    pair.mirror.pull(wrong)
    right = push_image(pair.mirror.upstream, "1")
    pair.mirror.proxy.mend()
    pair.mirror.server.wait_for_event("upstream_line_closed", seconds=DUE_S)

    wait_until(lambda: pair.mirror.get("manifests/1").body == right.payload)

    pair.mirror.pull(right)
    pair.mirror.pull(own)


@pytest.mark.parametrize("policy", ["any"])
def test_alternative_that_is_trusted_wholly_moves_a_tag(pair: Pair) -> None:
    pair.mirror.pull(pair.push("1"))
    moved = push_image(pair.other, "1")
    pair.mirror.proxy.refuse()

    wait_until(lambda: pair.mirror.get("manifests/1").body == moved.payload)


def test_wrong_blob_of_an_alternative_is_not_cached_and_the_upstream_is_not_blamed(pair: Pair) -> None:
    image = pair.push("1", MIB)
    digest = image.layers[-1]
    pair.mirror.pull(image, blobs=[])
    pair.mirror.proxy.refuse()
    pair.other_proxy.spoil(Fault(flip_at=MIB // 2), f"/blobs/{digest}")

    got = pair.mirror.get(f"blobs/{digest}")

    assert got.is_refused or not got.is_whole, (got.status, got.headers)
    pair.mirror.check_nothing_kept(digest)
    pair.other_proxy.mend()
    pair.mirror.proxy.mend()
    wait_until(lambda: pair.mirror.get(f"blobs/{digest}").status == 200, seconds=DUE_S)
    pair.mirror.check_blob(image, digest)


def test_what_an_alternative_lacks_is_not_said_to_be_absent_while_the_upstream_cannot_be_asked(
    pair: Pair,
) -> None:
    pair.mirror.pull(pair.push("1"))
    absent = push_image(pair.mirror.upstream, "2", [MIB])
    pair.mirror.proxy.refuse()

    for _ in range(3):
        for rest in (f"manifests/{absent.tag}", f"manifests/{absent.digest}", f"blobs/{absent.layers[0]}"):
            assert pair.mirror.get(rest).status in {502, 504}

    pair.mirror.proxy.mend()
    wait_until(lambda: pair.mirror.get("manifests/2").status == 200, seconds=DUE_S)
    pair.mirror.pull(absent)
