"""What every suite shares: a failing test shows what its server printed, and a log is one test's only."""

from collections.abc import Generator, Iterator
from typing import Any

import pytest
import structlog

from tests.servers import ServerProcess


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for server in getattr(item, "funcargs", {}).values():
            if isinstance(server, ServerProcess):
                report.sections.append(("moorage's standard error", server.log_tail()))
    return report


@pytest.fixture(autouse=True)
def log_of_one_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo what a command run in this process sets up: loggers that are cached keep it for good."""
    configure = structlog.configure

    def configure_for_now(**given: Any) -> None:
        configure(**{**given, "cache_logger_on_first_use": False})

    monkeypatch.setattr(structlog, "configure", configure_for_now)
    yield
    structlog.reset_defaults()
