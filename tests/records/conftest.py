import pytest

from tests.offline import offline

__all__ = ["offline"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
