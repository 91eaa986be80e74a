"""A registry with one administrator, in this process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.client import ADMIN, PASSWORD, Person, person
from tests.registry.in_process import InProcess


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[InProcess]:
    running = InProcess(tmp_path / "data")
    running.open()
    yield running
    running.end()


@pytest.fixture
def admin(registry: InProcess) -> Person:
    """The first account, which administers."""
    Person(registry, secret=None).post("/accounts", name=ADMIN, password=PASSWORD)
    return Person(registry, ADMIN)


@pytest.fixture
def alice(admin: Person) -> Person:
    return person(admin, "alice")


@pytest.fixture
def bob(admin: Person) -> Person:
    return person(admin, "bob")


@pytest.fixture
def auditor(admin: Person) -> Person:
    return person(admin, "watch", role="auditor")
