"""F43, F45, D17, D18, L6: blobs that come through a mirror come once, whole and right, or not at all.

Those that come wrong are in `test_wrong_blobs.py`.
"""

import http.client
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.content import digest_of
from tests.faults.means import children_of, wait_until
from tests.outages.images import Known, push_image
from tests.outages.mirror import (
    NAME,
    REMOTE,
    WITHIN_S,
    Mirror,
    Pulled,
    check_cut_or_refused,
    wait_until_back,
    worker_at,
)

MIB = 1 << 20
SIZE = 3 * MIB
CLIENTS = 40


@pytest.fixture
def image(mirror: Mirror) -> Known:
    """An image of one layer, whose manifest is mirrored."""
    image = push_image(mirror.upstream, "1", [SIZE])
    mirror.pull(image, blobs=[])
    return image


def target_of(digest: str) -> str:
    return f"/v2/{NAME}/{REMOTE}/blobs/{digest}"


def leave_after(mirror: Mirror, digest: str, count: int) -> None:
    """A client that reads so much of a blob and goes."""
    connection = http.client.HTTPConnection("127.0.0.1", mirror.server.port, timeout=WITHIN_S)
    connection.request("GET", target_of(digest))
    response = connection.getresponse()
    assert response.status == 200
    assert len(response.read(count)) == count
    connection.close()


@pytest.mark.parametrize("read", [0, 1, 200_000])
def test_f45_d18_fill_ends_when_its_only_client_leaves_and_it_is_cached_once(
    mirror: Mirror, image: Known, read: int
) -> None:
    digest = image.layers[-1]
    mirror.proxy.throttle(2 * MIB)

    leave_after(mirror, digest, read)

    wait_until(lambda: mirror.is_kept(digest))
    mirror.proxy.refuse()
    mirror.check_blob(image, digest)
    assert mirror.gets_of(digest) == 1
    assert len(mirror.files_of(digest)) == 1


def test_f45_clients_that_come_and_go_during_a_fill_share_it(mirror: Mirror, image: Known) -> None:
    digest = image.layers[-1]
    mirror.proxy.throttle(2 * MIB)

    with ThreadPoolExecutor(20) as clients:
        left = [clients.submit(leave_after, mirror, digest, 1000 * number) for number in range(10)]
        stayed = [clients.submit(mirror.check_blob, image, digest) for _ in range(10)]
        for each in (*left, *stayed):
            each.result()

    assert mirror.gets_of(digest) == 1


def test_ranges_of_a_blob_that_is_on_its_way(mirror: Mirror, image: Known) -> None:
    """As containerd pulls in parallel, and resumes."""
    digest, content = image.layers[-1], image.blobs[image.layers[-1]]
    mirror.proxy.throttle(4 * MIB)

    def pull(first: int, last: int) -> tuple[int, bytes, str]:
        connection = http.client.HTTPConnection("127.0.0.1", mirror.server.port, timeout=WITHIN_S)
        connection.request("GET", target_of(digest), headers={"Range": f"bytes={first}-{last}"})
        response = connection.getresponse()
        answer = response.status, response.read(), response.headers.get("Content-Range", "")
        connection.close()
        return answer

    parts = [(0, 0), (0, MIB), (MIB - 1, 2 * MIB), (SIZE - 1, SIZE - 1), (SIZE - 1000, SIZE - 1)]
    with ThreadPoolExecutor(len(parts)) as clients:
        for (first, last), answer in zip(parts, clients.map(lambda part: pull(*part), parts), strict=True):
            want = 206, content[first : last + 1], f"bytes {first}-{last}/{SIZE}"
            assert answer == want, (first, last, answer[0], answer[2], len(answer[1]))

    wait_until(lambda: mirror.is_kept(digest))
    assert mirror.gets_of(digest) == 1


def test_l6_many_clients_pull_an_image_that_is_not_here_by_one_get_a_blob(mirror: Mirror) -> None:
    """Nothing of it is here; two workers share the work."""
    image = push_image(mirror.upstream, "1", [MIB // 2, MIB, 2 * MIB])
    mirror.proxy.throttle(4 * MIB)
    ready = threading.Barrier(CLIENTS)

    def pull(_: int) -> None:
        ready.wait()
        mirror.pull(image)

    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(pull, range(CLIENTS)))

    for digest in image.layers:
        assert mirror.gets_of(digest) == 1
    gets = [each.path for each in mirror.proxy.find("GET", "/manifests/1")]
    assert len(gets) <= len(children_of(mirror.server.pid)), gets


def test_blob_that_several_images_share_is_fetched_once(mirror: Mirror) -> None:
    image = push_image(mirror.upstream, "1", [MIB])
    other = Known("2", image.top, image.images, image.blobs)
    mirror.upstream.push_manifest(image.top, "2")
    mirror.pull(image)
    mirror.pull(other)

    assert {mirror.gets_of(digest) for digest in image.layers} == {1}


def test_upstream_that_dies_in_the_middle_and_comes_back_gives_no_wrong_byte(
    mirror: Mirror, image: Known
) -> None:
    digest = image.layers[-1]
    mirror.proxy.throttle(2 * MIB)

    with ThreadPoolExecutor(1) as clients:
        pull = clients.submit(mirror.get, f"blobs/{digest}")
        wait_until(lambda: any(each.sent_bytes > MIB // 2 for each in mirror.proxy.find("GET", digest)))
        mirror.registry.stop()
        mirror.proxy.refuse()
        mirror.proxy.throttle(None)
        time.sleep(1)
        mirror.registry.start()
        mirror.proxy.redirect(mirror.registry.address.port)
        mirror.proxy.mend()
        got = pull.result()

    if got.is_whole and got.status == 200:
        assert got.body == image.blobs[digest]
    else:
        check_cut_or_refused(got)
        assert image.blobs[digest].startswith(got.body)
    wait_until_back(mirror, digest)
    mirror.check_blob(image, digest)
    assert mirror.is_kept(digest)


def test_upstream_that_stays_dead_leaves_a_short_read_and_nothing_cached(
    mirror: Mirror, image: Known
) -> None:
    digest = image.layers[-1]
    mirror.proxy.throttle(2 * MIB)

    with ThreadPoolExecutor(1) as clients:
        pull = clients.submit(mirror.get, f"blobs/{digest}")
        wait_until(lambda: any(each.sent_bytes > MIB // 2 for each in mirror.proxy.find("GET", digest)))
        mirror.proxy.refuse()
        got = pull.result()

    check_cut_or_refused(got)
    assert image.blobs[digest].startswith(got.body)
    mirror.check_nothing_kept(digest)


def test_worker_killed_while_it_fills_is_followed_by_another(mirror: Mirror, image: Known) -> None:
    digest = image.layers[-1]
    mirror.proxy.throttle(MIB)
    got: list[Pulled] = []

    with ThreadPoolExecutor(12) as clients:
        pulls = [clients.submit(mirror.get, f"blobs/{digest}") for _ in range(12)]
        wait_until(lambda: any(each.sent_bytes > MIB // 2 for each in mirror.proxy.find("GET", digest)))
        workers = children_of(mirror.server.pid)
        filling = worker_at(workers, mirror.proxy.port)
        assert filling
        os.kill(filling[0], signal.SIGKILL)
        mirror.proxy.throttle(8 * MIB)
        got += [pull.result() for pull in pulls]

    for each in got:
        if each.is_whole and each.status == 200:
            assert each.body == image.blobs[digest]
        else:
            check_cut_or_refused(each)
            assert image.blobs[digest].startswith(each.body)
    # some were served by the other one
    assert any(each.is_whole and each.status == 200 for each in got)
    mirror.check_blob(image, digest)
    assert mirror.is_kept(digest)


def test_server_killed_while_it_fills_goes_on_after_its_start(mirror: Mirror, image: Known) -> None:
    digest = image.layers[-1]
    mirror.proxy.throttle(2 * MIB)
    with ThreadPoolExecutor(1) as clients:
        pull = clients.submit(mirror.get, f"blobs/{digest}")
        wait_until(lambda: any(each.sent_bytes > MIB for each in mirror.proxy.find("GET", digest)))
        mirror.server.kill()
        check_cut_or_refused(pull.result())

    mirror.proxy.throttle(None)
    mirror.server.start()

    mirror.check_blob(image, digest)
    assert mirror.is_kept(digest)


def test_d17_cached_blob_whose_file_is_missing_is_fetched_again(mirror: Mirror, image: Known) -> None:
    digest = image.layers[-1]
    mirror.pull(image)
    (path,) = mirror.files_of(digest)
    path.unlink()

    for _ in range(3):
        mirror.check_blob(image, digest)

    assert mirror.gets_of(digest) == 2
    assert mirror.is_kept(digest)


def test_d17_cached_blob_whose_file_was_cut_short_is_fetched_again(mirror: Mirror, image: Known) -> None:
    digest = image.layers[-1]
    mirror.pull(image)
    (path,) = mirror.files_of(digest)
    os.truncate(path, SIZE // 2)

    wait_until(lambda: mirror.get(f"blobs/{digest}").body == image.blobs[digest])

    assert mirror.is_kept(digest)


def test_d17_missing_blob_is_refused_and_had_again_when_the_line_is_back(
    mirror: Mirror, image: Known
) -> None:
    digest = image.layers[-1]
    mirror.pull(image)
    (path,) = mirror.files_of(digest)
    path.unlink()
    mirror.proxy.refuse()

    for _ in range(3):
        assert mirror.get(f"blobs/{digest}").status in {502, 504}

    mirror.proxy.mend()
    wait_until_back(mirror, digest)
    mirror.check_blob(image, digest)


def test_d17_local_image_keeps_a_layer_that_it_shares_with_a_mirrored_one(mirror: Mirror) -> None:
    """Stored once; and a local one has it whatever becomes of the mirrored."""
    image = push_image(mirror.upstream, "1", [MIB])
    mirror.pull(image)
    for content in image.blobs.values():
        mirror.local.push_blob(content)
    mirror.local.push_manifest(image.top, "own")
    for digest in image.layers:
        assert len(mirror.files_of(digest)) == 1
    mirror.proxy.refuse()

    assert mirror.local.send("GET", "manifests/own").body == image.payload
    for digest, content in image.blobs.items():
        got = mirror.local.send("GET", f"blobs/{digest}")
        assert digest_of(got.body) == digest == digest_of(content)


def test_head_of_a_blob_that_is_not_here_fetches_nothing(mirror: Mirror, image: Known) -> None:
    digest = image.layers[-1]

    got = mirror.get(f"blobs/{digest}", "HEAD")

    assert (got.status, got.headers["content-length"]) == (200, str(SIZE))
    assert not mirror.gets_of(digest)
