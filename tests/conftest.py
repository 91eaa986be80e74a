"""What every suite shares: a failing test shows what the server it used has printed."""

from collections.abc import Generator

import pytest

from tests.servers import ServerProcess


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for server in getattr(item, "funcargs", {}).values():
            if isinstance(server, ServerProcess):
                report.sections.append(("moorage's standard error", server.log_tail()))
    return report
