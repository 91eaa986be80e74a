"""A clock and a machine whose names a test may change."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog

from moorage.certificates.keeping import OwnCertificate
from moorage.certificates.names import Names


@dataclass
class Machine:
    """What a certificate depends on."""

    folder: Path
    names: Names = field(default_factory=lambda: Names.of(["localhost", "db1", "127.0.0.1"]))
    now: datetime = datetime(2026, 7, 1, tzinfo=UTC)

    def certificate(self, *configured: str) -> OwnCertificate:
        return OwnCertificate(self.folder, Names.of(configured), lambda: self.names, lambda: self.now)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "tls")


@pytest.fixture
def logged() -> Iterator[list[structlog.typing.EventDict]]:
    """What the program logs meanwhile."""
    with structlog.testing.capture_logs() as entries:
        yield entries
