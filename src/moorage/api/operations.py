"""What those who run the registry ask of it: /healthz, /readyz, /metrics; and /trust, for its clients."""

from typing import Protocol

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from moorage.api.exchange import NOSNIFF, Header, Reply, Request
from moorage.api.gate import Needs
from moorage.api.metrics import Metrics, RegistryCollector
from moorage.api.upstream_metrics import measure_upstreams
from moorage.api.v2.services import Services
from moorage.errors import MethodNotAllowed, RegistryError, RouteUnknown
from moorage.health import Health
from moorage.lifecycle.checking.rows import count_damaged
from moorage.lifecycle.scrubbing.rows import read_round
from moorage.lifecycle.store.rows import read_state
from moorage.oci.names import RepositoryName
from moorage.records.jobs.alive import has_worker
from moorage.records.jobs.rows import count as count_jobs
from moorage.registry.blobs.rows import get_total
from moorage.registry.uploads.rows import count

NEEDS = {b"/healthz": Needs.NOTHING, b"/readyz": Needs.NOTHING, b"/metrics": Needs.AUDITOR}
"""The paths, and what each needs of its caller."""

_NO_NAME = RepositoryName("")


class TrustPages(Protocol):
    """How clients come to trust this registry's certificate."""

    def answer(self, path: bytes, host: str, accept: str) -> tuple[bytes, bytes] | None:
        """Content type and body; None when there is nothing at this path."""
        ...

    @property
    def policy(self) -> Header:
        """What a browser may load for them."""
        ...


class Operations:
    """Answers for the whole registry, whichever worker is asked."""

    def __init__(
        self, services: Services, health: Health, metrics: Metrics, trust: TrustPages | None = None
    ) -> None:
        """`trust` is None where there is no TLS."""
        self._trust = trust
        self._services = services
        self._health = health
        self._metrics = metrics

    async def answer(self, request: Request, path: bytes) -> Reply:
        """One of these paths.

        Raises RouteUnknown (404), MethodNotAllowed (405), and what the gate raises.
        """
        answers = {
            b"/healthz": self._alive,
            b"/readyz": self._ready,
            b"/metrics": self._measured,
        }
        page = None if path in NEEDS else self._trust_page(request, path)
        if path not in NEEDS and page is None:
            raise RouteUnknown(hint="the registry is under /v2/")
        if request.method not in {"GET", "HEAD"}:
            raise MethodNotAllowed(allow="GET, HEAD")
        if page is not None:
            return page
        if NEEDS[path] is not Needs.NOTHING:
            request.caller = await self._services.gate.admit(request, NEEDS[path], _NO_NAME, "")
        return await answers[path]()

    def _trust_page(self, request: Request, path: bytes) -> Reply | None:
        if self._trust is None or not path.startswith(b"/trust"):
            return None
        found = self._trust.answer(path, request.header(b"host") or "", request.header(b"accept") or "")
        if found is None:
            return None
        kind, body = found
        headers = [
            (b"content-type", kind),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            (b"vary", b"accept"),
            self._trust.policy,
            NOSNIFF,
        ]
        return Reply(200, headers, body)

    @staticmethod
    async def _alive() -> Reply:
        """This process answers; nothing more."""
        return _json(200, {"status": "alive"})

    async def _ready(self) -> Reply:
        """Pulls and pushes can be served. Full disks leave pulls, so they only show in the body."""
        if self._health.failure is not None:
            return _json(503, {"status": "read-only", "reason": self._health.failure})
        try:
            await self._services.db.one("SELECT 1 FROM blob_total")
        except Exception:  # noqa: BLE001 - whatever it is, rows cannot be read
            return _json(503, {"status": "no database"})
        body = {"status": "ready"}
        mistrusted = (await read_state(self._services.db)).mistrusted
        if mistrusted is not None:
            body["store"] = mistrusted
        try:
            self._services.store.check_writable()
        except RegistryError as refusal:
            body["pushes"] = str(refusal)
        return _json(200, body)

    async def _measured(self) -> Reply:
        """Prometheus text, by worker."""
        blobs, size = await get_total(self._services.db)
        gauges: dict[str, tuple[str, float]] = {
            "moorage_uploads_open": ("Uploads begun and not ended.", await count(self._services.db)),
            "moorage_blobs": ("Live blobs.", blobs),
            "moorage_storage_used_bytes": ("Bytes of live blobs, each counted once.", size),
            "moorage_storage_writable": (
                "0 after a failed fsync, else 1.",
                float(self._health.failure is None),
            ),
            "moorage_blobs_damaged": (
                "Blobs that are 404 until they are pushed again.",
                await count_damaged(self._services.db),
            ),
            "moorage_store_mistrusted": (
                "1 while no garbage is collected, because rows and files may not belong together.",
                float((await read_state(self._services.db)).mistrusted is not None),
            ),
            "moorage_scrub_finished_seconds": (
                "When everything was last read again, in seconds since 1970; 0: never.",
                ((await read_round(self._services.db)).finished_at or 0) / 1000,
            ),
            "moorage_job_worker_alive": (
                "1 while a process runs jobs, else 0.",
                float(has_worker(self._services.settings.storage.data)),
            ),
        }
        jobs = GaugeMetricFamily("moorage_jobs", "Jobs that are remembered.", labels=["kind", "state"])
        for kind, state, number in await count_jobs(self._services.db):
            jobs.add_metric([kind, state], number)
        registry = CollectorRegistry()
        upstreams = await measure_upstreams(self._services.db, await self._services.managed.list_all())
        registry.register(RegistryCollector(self._metrics, gauges, [jobs, *upstreams]))
        body = generate_latest(registry)
        headers = [
            (b"content-type", CONTENT_TYPE_LATEST.encode()),
            (b"content-length", b"%d" % len(body)),
            NOSNIFF,
        ]
        return Reply(200, headers, body)


def _json(status: int, value: object) -> Reply:
    body = msgspec.json.encode(value)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        NOSNIFF,
    ]
    return Reply(status, headers, body)
