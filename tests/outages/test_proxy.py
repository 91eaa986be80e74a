"""What the proxy of these tests says it does, it does: a fault that never came would prove nothing."""

import http.client
import time

import pytest

from bench.servers import DockerRegistry
from tests.content import digest_of, some_bytes
from tests.outages.proxy import Proxy
from tests.outages.spoiling import Fault
from tests.spec.client import Client, Repository

CONTENT = some_bytes(300_000)
TARGET = f"/v2/team/app/blobs/{digest_of(CONTENT)}"


@pytest.fixture(autouse=True)
def pushed(registry: DockerRegistry) -> None:
    Repository(Client(registry.address.port), "team/app").push_blob(CONTENT)


def get(proxy: Proxy, seconds: float = 5) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=seconds)
    try:
        connection.request("GET", TARGET)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_it_relays_requests_of_one_connection_and_counts_them(proxy: Proxy) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
    for method, length in (("HEAD", 0), ("GET", len(CONTENT)), ("GET", len(CONTENT))):
        connection.request(method, TARGET)
        response = connection.getresponse()
        assert (response.status, len(response.read())) == (200, length)
    connection.close()

    assert (proxy.count("HEAD"), proxy.count("GET", "/blobs/"), proxy.count("GET", "/manifests/")) == (
        1,
        2,
        0,
    )
    assert [request.sent_bytes for request in proxy.find("GET")] == [len(CONTENT)] * 2


def test_it_answers_in_the_place_of_the_upstream_as_often_as_it_is_told(proxy: Proxy) -> None:
    proxy.spoil(Fault(status=429, retry_after="7"), "/blobs/", times=2)

    assert [get(proxy)[0] for _ in range(3)] == [429, 429, 200]


def test_it_changes_one_byte_or_the_length(proxy: Proxy) -> None:
    proxy.spoil(Fault(flip_at=200_000), times=1)
    status, flipped = get(proxy)
    assert status == 200
    assert [at for at in range(len(CONTENT)) if flipped[at] != CONTENT[at]] == [200_000]

    proxy.spoil(Fault(length=1000), times=1)
    assert get(proxy) == (200, CONTENT[:1000])
    proxy.spoil(Fault(length=len(CONTENT) + 3), times=1)
    assert get(proxy) == (200, CONTENT + bytes(3))


def test_it_cuts_after_so_many_bytes(proxy: Proxy) -> None:
    proxy.spoil(Fault(cut_at=70_000), times=1)
    with pytest.raises(http.client.IncompleteRead) as cut:
        get(proxy)
    assert cut.value.partial == CONTENT[:70_000]

    proxy.spoil(Fault(cut_at=70_000, is_reset=True), times=1)
    with pytest.raises(ConnectionResetError):
        get(proxy)


def test_it_refuses_and_resets_what_is_under_way(proxy: Proxy) -> None:
    proxy.throttle(100_000)
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
    connection.request("GET", TARGET)
    response = connection.getresponse()
    response.read(1000)

    proxy.refuse()

    with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
        response.read()
    connection.close()
    with pytest.raises(ConnectionRefusedError):
        get(proxy)
    proxy.throttle(None)
    proxy.mend()
    assert get(proxy) == (200, CONTENT)


def test_dropped_packets_are_neither_refused_nor_answered(proxy: Proxy) -> None:
    kept = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=1)
    kept.request("HEAD", TARGET)
    kept.getresponse().read()

    proxy.drop_packets()

    with pytest.raises(TimeoutError):
        get(proxy, seconds=1)
    kept.request("HEAD", TARGET)
    with pytest.raises(TimeoutError):
        kept.getresponse()
    kept.close()
    proxy.mend()
    assert get(proxy) == (200, CONTENT)


def test_it_is_as_slow_as_it_is_told(proxy: Proxy) -> None:
    """A proxy cannot be faster than it says; how much slower is the machine's affair."""
    proxy.throttle(1_000_000)
    started = time.monotonic()
    get(proxy)

    assert time.monotonic() - started > 0.2
