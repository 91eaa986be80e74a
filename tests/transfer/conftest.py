"""Folders of the test's own: one that `serve` has once been started on, one of another registry."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage import app
from tests.registry.in_process import InProcess, settings_for
from tests.transfer.trees import Tree


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder that nobody serves."""
    folder = tmp_path / "data"
    os.close(app.prepare(settings_for(folder)))
    return folder


@pytest.fixture
def registry(data: Path) -> Iterator[InProcess]:
    """It, served in this process."""
    registry = InProcess(data)
    registry.open()
    yield registry
    registry.end()


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "old")
