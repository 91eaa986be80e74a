"""Wrong bytes from an upstream while a mirror has no room: they never pass through as a whole.

One upstream and one mirror for all of them: each has a blob of its own.
"""

import time
from collections.abc import Iterator

import pytest

from bench.servers import DockerRegistry
from tests.faults.means import SmallDisk, WrappedServer, small_disk
from tests.outages.conftest import files_on, serving_on
from tests.outages.images import push_image
from tests.outages.mirror import KNOWN_S, Mirror, wait_until_back
from tests.outages.proxy import Proxy
from tests.outages.spoiling import Fault

MIB = 1 << 20
SIZE = 3 * MIB


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    with small_disk(tmp_path_factory.mktemp("small") / "disk", f"size={24 * MIB}") as disk:
        yield disk


@pytest.fixture(scope="module")
def server(
    disk: SmallDisk, shared_proxy: Proxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WrappedServer]:
    with serving_on(disk, tmp_path_factory.mktemp("mirror"), shared_proxy) as server:
        yield server


@pytest.fixture
def mirror(
    server: WrappedServer, disk: SmallDisk, shared_proxy: Proxy, shared_registry: DockerRegistry
) -> Iterator[Mirror]:
    """With room, and a line that is whole."""
    mirror = Mirror(server, shared_proxy, shared_registry)
    probe = push_image(mirror.upstream, "probe", [1000])
    wait_until_back(mirror, probe.layers[-1])
    # the other worker too
    time.sleep(KNOWN_S)
    yield mirror
    disk.free()
    shared_proxy.mend()


@pytest.mark.parametrize("left_bytes", [0, MIB])
@pytest.mark.parametrize(
    "fault",
    [Fault(flip_at=0), Fault(flip_at=SIZE // 2), Fault(flip_at=SIZE - 1), Fault(length=SIZE - 1)],
    ids=["first", "middle", "last", "short"],
)
def test_wrong_bytes_never_pass_through_as_a_whole(
    disk: SmallDisk, mirror: Mirror, fault: Fault, left_bytes: int
) -> None:
    image = push_image(mirror.upstream, "1", [SIZE])
    digest = image.layers[-1]
    disk.fill(left_bytes=left_bytes)
    mirror.proxy.spoil(fault, f"/blobs/{digest}")

    got = mirror.get(f"blobs/{digest}")

    if got.is_whole and got.status == 200:
        # what was asked for after a part did not reach so far
        assert left_bytes
        assert got.body == image.blobs[digest]
    else:
        assert got.is_refused or (got.status in {0, 200} and not got.is_whole), (got.status, len(got.body))
    assert mirror.gets_of(digest)
    assert not files_on(disk, image)
