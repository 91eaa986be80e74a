"""A mirror whose disk is full, or read-only: clients get what the upstream has, and nothing of it stays."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.servers import DockerRegistry
from tests.faults.means import SmallDisk, small_disk, wait_until
from tests.outages.conftest import LEASE_S, files_on, serving_on
from tests.outages.images import Known, push_image, push_signed_index
from tests.outages.mirror import Mirror
from tests.outages.proxy import Proxy
from tests.spec.client import Client

MIB = 1 << 20
SIZE = 3 * MIB


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", f"size={24 * MIB}") as disk:
        yield disk


@pytest.fixture
def mirror(disk: SmallDisk, proxy: Proxy, registry: DockerRegistry, tmp_path: Path) -> Iterator[Mirror]:
    with serving_on(disk, tmp_path, proxy) as server:
        yield Mirror(server, proxy, registry)


def check_kept_again(disk: SmallDisk, mirror: Mirror, image: Known) -> None:
    """The next pull is kept, and the one after it asks for nothing."""
    mirror.pull(image)
    assert files_on(disk, image) == set(image.layers)
    mirror.proxy.refuse()
    mirror.pull(image)


def events_of(mirror: Mirror, event: str) -> int:
    return mirror.server.log_path.read_text().count(f'"{event}"')


def passed(mirror: Mirror) -> float:
    """How much passed through, as the metrics say it."""
    text = Client(mirror.server.port).send("GET", "/metrics").body.decode()
    (line,) = [each for each in text.splitlines() if each.startswith("moorage_upstream_passed_total{")]
    return float(line.split()[-1])


@pytest.mark.parametrize("left_bytes", [0, MIB])
def test_image_that_does_not_fit_passes_through_and_is_kept_once_there_is_room(
    disk: SmallDisk, mirror: Mirror, left_bytes: int
) -> None:
    """Also where the disk is full in the middle of a layer."""
    image = push_image(mirror.upstream, "1", [SIZE])
    disk.fill(left_bytes=left_bytes)

    for _ in range(3):
        mirror.pull(image)

    assert image.layers[-1] not in files_on(disk, image)
    assert 1 <= events_of(mirror, "mirror_passes_through") <= 2
    disk.free()
    check_kept_again(disk, mirror, image)
    wait_until(lambda: passed(mirror) >= 3, seconds=25)


def test_tag_that_has_moved_is_pulled_as_it_is_now_from_a_full_disk(disk: SmallDisk, mirror: Mirror) -> None:
    old = push_image(mirror.upstream, "1", [1000])
    mirror.pull(old)
    disk.fill()
    new = push_image(mirror.upstream, "1", [200_000])

    mirror.pull(new)

    assert mirror.get(f"manifests/{old.digest}").body == old.payload
    disk.free()
    check_kept_again(disk, mirror, new)


def test_blob_that_is_here_is_told_of_without_room_and_without_the_upstream(
    disk: SmallDisk, mirror: Mirror
) -> None:
    """Also where its lease is due, which cannot be written down."""
    digest = push_image(mirror.upstream, "1", [SIZE]).layers[-1]
    assert len(mirror.get(f"blobs/{digest}").body) == SIZE
    disk.fill()
    mirror.proxy.refuse()
    time.sleep(LEASE_S)

    head = mirror.get(f"blobs/{digest}", "HEAD")

    assert (head.status, head.headers["content-length"]) == (200, str(SIZE))
    assert len(mirror.get(f"blobs/{digest}").body) == SIZE


def test_index_and_its_images_pass_through(disk: SmallDisk, mirror: Mirror) -> None:
    image = push_signed_index(mirror.upstream, "1")
    disk.fill()

    mirror.pull(image)

    assert mirror.get(f"referrers/{image.digest}").status == 200


def test_clients_that_have_a_part_when_the_disk_fills_get_the_rest(disk: SmallDisk, mirror: Mirror) -> None:
    image = push_image(mirror.upstream, "1", [SIZE])
    digest = image.layers[-1]
    mirror.pull(image, blobs=[])
    mirror.proxy.throttle(MIB)

    with ThreadPoolExecutor(6) as clients:
        pulls = [clients.submit(mirror.get, f"blobs/{digest}") for _ in range(6)]
        wait_until(lambda: any(each.sent_bytes > MIB for each in mirror.proxy.find("GET", digest)))
        disk.fill()
        wait_until(lambda: mirror.gets_of(digest) > 1)
        mirror.proxy.throttle(None)
        got = [each.result() for each in pulls]

    assert all((each.status, each.body) == (200, image.blobs[digest]) for each in got)
    # they had a part, and are sent the rest
    assert "range" in mirror.proxy.find("GET", digest)[-1].headers
    assert digest not in files_on(disk, image)
    disk.free()
    check_kept_again(disk, mirror, image)


def test_read_only_disk_passes_through(disk: SmallDisk, mirror: Mirror) -> None:
    image = push_image(mirror.upstream, "1", [SIZE])
    disk.cover_read_only()

    mirror.pull(image)

    assert not files_on(disk, image)
    disk.uncover()
    check_kept_again(disk, mirror, image)
