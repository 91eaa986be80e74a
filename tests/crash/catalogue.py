"""Every case, and the registry that each starts from."""

from pathlib import Path

from tests.crash import cases, keeping

CASES = {**cases.CASES, **keeping.CASES}
NEEDED_BY = {cases.OLDER: "migrate", keeping.TREE: "import"}
"""The only case that works on a folder, where it is one."""


async def fill(data: Path) -> None:
    """Make the registry that every case starts from."""
    await cases.fill(data)
    await keeping.fill(data)
