"""What /metrics says of upstreams: the state of their lines, and what was counted by all processes."""

from collections.abc import Sequence
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from moorage.database import Database
from moorage.mirrors import line_rows
from moorage.mirrors.line_rows import Line
from moorage.mirrors.saving import NO_UPSTREAM, TOTAL, Counted
from moorage.mirrors.status import read_counted
from moorage.mirrors.upstream_rows import read_disconnected
from moorage.mirrors.upstreams import Upstream

_DISCONNECTED: Final = "disconnected"
_STATES: Final = ("closed", "open", "half-open", _DISCONNECTED)


async def measure_upstreams(db: Database, upstreams: Sequence[Upstream]) -> list[Metric]:
    """All families of upstreams. What was counted is as it was last written, some seconds ago."""
    counted = await read_counted(db, TOTAL, TOTAL)
    skipped = CounterMetricFamily(
        "moorage_push_skipped_bytes",
        "Bytes that pushes need not send: here already, or mounted.",
        value=counted.get(NO_UPSTREAM, Counted()).push_skipped_bytes,
    )
    if not upstreams:
        return [skipped]
    lines = await line_rows.read_lines(db)
    disconnected = await read_disconnected(db)
    return [skipped, *_lines(upstreams, lines, disconnected), *_counters(upstreams, counted)]


def _lines(
    upstreams: Sequence[Upstream], lines: dict[tuple[str, str], Line], disconnected: set[str]
) -> list[Metric]:
    labels = ["upstream", "address"]
    states = GaugeMetricFamily(
        "moorage_upstream_state", "1 for the state that a line is in, else 0.", labels=[*labels, "state"]
    )
    answered = GaugeMetricFamily(
        "moorage_upstream_answered_seconds",
        "When an address last answered, in seconds since 1970; 0: never.",
        labels=labels,
    )
    quota = GaugeMetricFamily(
        "moorage_upstream_quota_left", "What an address last said that it would still answer.", labels=labels
    )
    for upstream in upstreams:
        for address in upstream.addresses:
            place = [upstream.name, address.url]
            line = lines.get((upstream.name, address.url), Line())
            state = _DISCONNECTED if upstream.name in disconnected else line.state
            for each in _STATES:
                states.add_metric([*place, each], float(each == state))
            answered.add_metric(place, (line.answered_at or 0) / 1000)
            if line.quota_left is not None:
                quota.add_metric(place, line.quota_left)
    return [states, answered, quota]


def _counters(upstreams: Sequence[Upstream], counted: dict[str, Counted]) -> list[Metric]:
    fetched = CounterMetricFamily(
        "moorage_upstream_fetched_bytes", "Bytes that came from an upstream.", labels=["upstream"]
    )
    served = CounterMetricFamily(
        "moorage_upstream_served_bytes", "Bytes of an upstream's images sent to clients.", labels=["upstream"]
    )
    pulls = CounterMetricFamily(
        "moorage_upstream_pulls",
        "Manifests and blobs that were asked for: a hit was here, a miss had to be fetched.",
        labels=["upstream", "outcome"],
    )
    stale = CounterMetricFamily(
        "moorage_upstream_stale",
        "Answers as they were last known, because the upstream could not be asked.",
        labels=["upstream"],
    )
    passed = CounterMetricFamily(
        "moorage_upstream_passed",
        "Manifests and blobs that passed through, because nothing could be kept.",
        labels=["upstream"],
    )
    requests = CounterMetricFamily(
        "moorage_upstream_requests",
        "HEADs and GETs that an upstream was asked.",
        labels=["upstream", "method"],
    )
    for name in sorted(each.name for each in upstreams):
        of = counted.get(name, Counted())
        fetched.add_metric([name], of.fetched_bytes)
        served.add_metric([name], of.served_bytes)
        for outcome, number in (("hit", of.hits), ("miss", of.misses)):
            pulls.add_metric([name, outcome], number)
        stale.add_metric([name], of.stale)
        passed.add_metric([name], of.passed)
        for method, number in (("HEAD", of.heads), ("GET", of.gets)):
            requests.add_metric([name, method], number)
    return [fetched, served, pulls, stale, passed, requests]
