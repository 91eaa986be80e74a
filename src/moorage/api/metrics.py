"""What the registry counts, in memory that its worker processes share.

Each worker adds to a row of its own, without locks or system calls; whichever worker is asked for
/metrics reads all rows. A respawned worker goes on in its predecessor's row, so no counter falls.
"""

import bisect
import mmap
import struct
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

ROUTES = (
    "ping",
    "manifest",
    "blob",
    "uploads",
    "upload",
    "tags",
    "referrers",
    "catalog",
    "token",
    "manage",
    "pages",
    "operations",
    "unknown",
)
METHODS = ("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "other")
STATUSES = ("1xx", "2xx", "3xx", "4xx", "5xx", "cut")
BUCKETS_S = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0)
WORKERS_MAX = 256

_CELL = struct.Struct("q")
_REQUESTS = 0
_BYTES_IN = _REQUESTS + len(ROUTES) * len(METHODS) * len(STATUSES)
_BYTES_OUT = _BYTES_IN + len(ROUTES)
_SECONDS = _BYTES_OUT + len(ROUTES)
_BUCKETS = _SECONDS + len(ROUTES)
_PLAIN = _BUCKETS + len(ROUTES) * (len(BUCKETS_S) + 1)
_CELLS = _PLAIN + 1

_METHOD_INDEX = {method: index for index, method in enumerate(METHODS)}
ROUTE_INDEX = {route: index for index, route in enumerate(ROUTES)}
CUT = STATUSES.index("cut")


class Metrics:
    """Made before the workers are forked, with a row for each."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._shared = mmap.mmap(-1, _CELLS * _CELL.size * workers)
        self._cells = memoryview(self._shared).cast("q")
        self._row = 0

    def claim_row(self, worker: int) -> None:
        """In a worker, by its number from 0: count in its row from here on."""
        self._row = worker * _CELLS

    def count(
        self, route: int, method: str, status_class: int, seconds: float, bytes_in: int, bytes_out: int
    ) -> None:
        """Add a request. `route` and `status_class` are indexes into ROUTES and STATUSES."""
        cells, row = self._cells, self._row
        method_index = _METHOD_INDEX.get(method, len(METHODS) - 1)
        cells[row + (route * len(METHODS) + method_index) * len(STATUSES) + status_class] += 1
        cells[row + _SECONDS + route] += int(seconds * 1e9)
        cells[row + _BUCKETS + route * (len(BUCKETS_S) + 1) + bisect.bisect_left(BUCKETS_S, seconds)] += 1
        if bytes_in:
            cells[row + _BYTES_IN + route] += bytes_in
        if bytes_out:
            cells[row + _BYTES_OUT + route] += bytes_out

    def count_plain(self) -> None:
        """Add a connection that spoke plain HTTP where TLS is spoken."""
        self._cells[self._row + _PLAIN] += 1

    def rows(self) -> Iterator[tuple[str, list[int]]]:
        """Each worker's number and cells."""
        for worker in range(self.workers):
            yield str(worker + 1), list(self._cells[worker * _CELLS : (worker + 1) * _CELLS])


class RegistryCollector(Collector):
    """The counters of all workers, by worker; Prometheus sums them. The gauges are of the whole registry."""

    def __init__(
        self, metrics: Metrics, gauges: dict[str, tuple[str, float]], families: Sequence[Metric] = ()
    ) -> None:
        """`families`: what has labels of its own."""
        self._metrics = metrics
        self._gauges = gauges
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """All families, as prometheus_client renders them."""
        requests = CounterMetricFamily(
            "moorage_requests", "Requests answered.", labels=["worker", "route", "method", "status"]
        )
        bytes_in = CounterMetricFamily(
            "moorage_received_bytes", "Bytes of request bodies.", labels=["worker", "route"]
        )
        bytes_out = CounterMetricFamily(
            "moorage_sent_bytes", "Bytes of reply bodies.", labels=["worker", "route"]
        )
        seconds = HistogramMetricFamily(
            "moorage_request_seconds",
            "From a request's headers to its reply's last byte.",
            labels=["worker", "route"],
        )
        plain = CounterMetricFamily(
            "moorage_plain_http_on_tls_port", "Connections that spoke plain HTTP to TLS.", labels=["worker"]
        )
        for worker, cells in self._metrics.rows():
            plain.add_metric([worker], cells[_PLAIN])
            for index, route in enumerate(ROUTES):
                _add_requests(requests, worker, index, cells)
                bytes_in.add_metric([worker, route], cells[_BYTES_IN + index])
                bytes_out.add_metric([worker, route], cells[_BYTES_OUT + index])
                _add_seconds(seconds, worker, index, cells)
        yield from (requests, bytes_in, bytes_out, seconds, plain)
        for name, (help_text, value) in self._gauges.items():
            yield GaugeMetricFamily(name, help_text, value=value)
        yield from self._families


def _add_requests(family: CounterMetricFamily, worker: str, route: int, cells: list[int]) -> None:
    for method_index, method in enumerate(METHODS):
        for status_index, status in enumerate(STATUSES):
            value = cells[(route * len(METHODS) + method_index) * len(STATUSES) + status_index]
            if value:
                family.add_metric([worker, ROUTES[route], method, status], value)


def _add_seconds(family: HistogramMetricFamily, worker: str, route: int, cells: list[int]) -> None:
    start = _BUCKETS + route * (len(BUCKETS_S) + 1)
    total, buckets = 0, []
    for bound, value in zip(
        [*map(str, BUCKETS_S), "+Inf"], cells[start : start + len(BUCKETS_S) + 1], strict=True
    ):
        total += value
        buckets.append((bound, total))
    family.add_metric([worker, ROUTES[route]], buckets, cells[_SECONDS + route] / 1e9)
