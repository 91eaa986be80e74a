"""`moorage import distribution`, run in this process."""

import asyncio
from pathlib import Path

from moorage import app
from moorage.storage.adopting import Adopter
from moorage.storage.distribution import DistributionTree
from moorage.transfer.takeover.bringing import Takeover
from moorage.transfer.takeover.report import Report
from tests.registry.in_process import settings_for


def take_over(source: Path, data: Path, pattern: str = "*", *, is_dry: bool = False) -> Report:
    async def run() -> Report:
        async with app.open_holding(settings_for(data)) as holding:
            adopter = Adopter(holding.store)
            tree = DistributionTree(source)
            lease_ms = holding.settings.delete.delay_ms
            takeover = Takeover(holding.db, holding.store, adopter, tree, holding.threads, lease_ms)
            return await takeover.run(pattern, is_dry=is_dry)

    return asyncio.run(run())


def told(report: Report) -> list[str]:
    """What was broken there, in words."""
    return [f"{problem.what}: {problem.reason}" for problem in report.skipped]


def kept(report: Report) -> list[str]:
    """What stays as it is here, in words."""
    return [f"{problem.what}: {problem.reason}" for problem in report.kept]
