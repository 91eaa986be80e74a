"""The row about TLS: what encrypting costs a server."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from bench.blobs import BlobGet
from bench.measures import Measure, ratio_at_most
from bench.servers import OwnServer, Server
from bench.stand import Figures, Stand
from moorage.certificates import authority
from moorage.certificates.names import Names


@dataclass(slots=True)
class TlsBlobGet:
    """GET a large blob whole by TLS, over one connection, from a server of the row's own."""

    name: ClassVar[str] = "tls-blob-get"
    title: ClassVar[str] = "blob GET by TLS, 256 MiB"
    measures: ClassVar[Sequence[Measure]] = (
        Measure("cpu_s_per_gib", "server CPU per GiB", "s", ratio_at_most(0.9)),
        Measure("mib_per_s", "throughput", "MiB/s"),
    )
    needs_quiet: ClassVar[bool] = True
    is_once: ClassVar[bool] = False
    _own: dict[str, OwnServer] = field(default_factory=dict)
    _get: BlobGet = field(default_factory=BlobGet)

    def prepare(self, stand: Stand, server: Server) -> None:
        """Start a sibling with a certificate; push the blob to it and pull it once."""
        if not isinstance(server, OwnServer):
            return
        sibling = server.sibling(stand.folder / f"tls-{len(self._own)}")
        sibling.certificate = _make_certificate(stand.folder / "tls.pem")
        stand.started.append(sibling)
        self._own[server.name] = sibling
        sibling.start()
        self._get.prepare(stand, sibling)

    def measure(self, stand: Stand, server: Server, number: int) -> Figures:
        """Pull it again and again."""
        sibling = self._own.get(server.name)
        return {} if sibling is None else self._get.measure(stand, sibling, number)


def _make_certificate(path: Path) -> Path:
    """Both servers get the same."""
    if not path.exists():
        names, now = Names.of(["127.0.0.1"]), datetime.now(UTC)
        path.write_bytes(authority.read(authority.make(names, "bench", now)).issue(names, now))
    return path
