"""F43: blobs that come cut, wrong or too long or short are never whole, and nothing of them stays.

One upstream and one mirror for all of them: each has blobs of its own, and leaves the line as it was.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from bench.servers import DockerRegistry
from tests.faults.means import wait_until
from tests.outages.conftest import serving
from tests.outages.images import Known, push_image
from tests.outages.mirror import Mirror, check_cut_or_refused, wait_until_back, wait_until_line_is_closed
from tests.outages.proxy import Proxy
from tests.outages.spoiling import Fault
from tests.servers import ServerProcess

MIB = 1 << 20
SIZE = 3 * MIB


@pytest.fixture(scope="module")
def server(shared_proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with serving(tmp_path_factory.mktemp("mirror"), shared_proxy) as server:
        yield server


@pytest.fixture
def mirror(server: ServerProcess, shared_proxy: Proxy, shared_registry: DockerRegistry) -> Mirror:
    """As the test before has left it, but for what was done to its line."""
    shared_proxy.mend()
    shared_proxy.forget()
    mirror = Mirror(server, shared_proxy, shared_registry)
    wait_until_line_is_closed(mirror)
    return mirror


@pytest.fixture
def image(mirror: Mirror) -> Known:
    """An image of one layer, whose manifest is mirrored."""
    image = push_image(mirror.upstream, "1", [SIZE])
    mirror.pull(image, blobs=[])
    return image


CUTS = [0, 1, 1000, 65_536, 65_537, MIB, MIB + 7, SIZE - 65_536, SIZE - 1]


def test_f43_blobs_cut_at_any_byte_and_not_to_be_had_again_are_short_and_nothing_is_cached(
    mirror: Mirror,
) -> None:
    """One for each place and each way to end: together, for each waits for the upstream to come back."""
    image = push_image(mirror.upstream, "1", [SIZE] * 2 * len(CUTS))
    mirror.pull(image, blobs=[])
    layers = image.layers[1:]
    mirror.proxy.spoil(Fault(status=500))
    for number, digest in enumerate(layers):
        fault = Fault(cut_at=CUTS[number // 2], is_reset=number % 2 == 0)
        mirror.proxy.spoil(fault, f"/blobs/{digest}", "GET", times=1)

    with ThreadPoolExecutor(len(layers)) as clients:
        got = list(clients.map(lambda digest: mirror.get(f"blobs/{digest}"), layers))

    for digest, each in zip(layers, got, strict=True):
        check_cut_or_refused(each)
        assert each.is_refused or image.blobs[digest].startswith(each.body)
        mirror.check_nothing_kept(digest)
    mirror.proxy.mend()
    wait_until_back(mirror, layers[0])
    mirror.proxy.forget()
    for digest in layers:
        mirror.check_blob(image, digest)
        assert mirror.is_kept(digest)
        assert digest == layers[0] or mirror.gets_of(digest) == 1


@pytest.mark.parametrize("at", [1, 1000, 65_536, MIB + 7, SIZE - 1])
def test_f43_blob_that_was_cut_is_gone_on_with_where_it_ends(mirror: Mirror, image: Known, at: int) -> None:
    digest = image.layers[-1]
    mirror.proxy.spoil(Fault(cut_at=at, is_reset=True), f"/blobs/{digest}", "GET", times=1)

    mirror.check_blob(image, digest)

    first, second = mirror.proxy.find("GET", f"/blobs/{digest}")
    assert "range" not in first.headers
    assert second.headers["range"].startswith("bytes=")
    begin = int(second.headers["range"].removeprefix("bytes=").partition("-")[0])
    # what was on its way when the line was cut may be lost
    assert 0 < begin <= at
    wait_until(lambda: mirror.is_kept(digest))


WRONG = {
    "first byte": Fault(flip_at=0),
    "a byte in the middle": Fault(flip_at=SIZE // 2),
    "last byte": Fault(flip_at=SIZE - 1),
    "one byte less": Fault(length=SIZE - 1),
    "one byte more": Fault(length=SIZE + 1),
    "twice as long": Fault(length=2 * SIZE),
    "nothing": Fault(length=0),
    "a page": Fault(body=b"<html>please sign in to this wifi</html>"),
}


@pytest.mark.parametrize("fault", WRONG.values(), ids=WRONG)
def test_f43_wrong_digest_or_length_is_never_whole_and_nothing_is_cached(
    mirror: Mirror, image: Known, fault: Fault
) -> None:
    digest = image.layers[-1]
    mirror.proxy.spoil(fault, f"/blobs/{digest}")

    for _ in range(2):
        check_cut_or_refused(mirror.get(f"blobs/{digest}"))
        mirror.check_nothing_kept(digest)

    assert mirror.gets_of(digest)
    mirror.proxy.mend()
    mirror.proxy.forget()
    wait_until_back(mirror, digest)
    mirror.check_blob(image, digest)
    assert "range" not in mirror.proxy.find("GET", f"/blobs/{digest}")[0].headers


@pytest.mark.parametrize("fault", WRONG.values(), ids=WRONG)
def test_f43_wrong_blob_of_which_no_manifest_is_here_is_never_whole(mirror: Mirror, fault: Fault) -> None:
    """Nothing says how long it is but the upstream."""
    image = push_image(mirror.upstream, "1", [SIZE])
    digest = image.layers[-1]
    mirror.proxy.spoil(fault, f"/blobs/{digest}")

    check_cut_or_refused(mirror.get(f"blobs/{digest}"))
    mirror.check_nothing_kept(digest)
    assert mirror.gets_of(digest)

    mirror.proxy.mend()
    wait_until_back(mirror, digest)
    mirror.check_blob(image, digest)
