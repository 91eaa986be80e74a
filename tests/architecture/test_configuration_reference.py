"""docs/configuration.md says what the code says."""

import subprocess
import sys
from pathlib import Path

from moorage.cli.reference import EXAMPLE, render_reference
from moorage.config import describe
from moorage.config_file import load

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
COMMAND = "python -m moorage.cli.reference > docs/configuration.md"


def test_page_is_what_the_code_says() -> None:
    assert PAGE.read_text("utf-8") == render_reference(), f"make it anew: {COMMAND}"


def test_page_says_how_it_is_made() -> None:
    assert COMMAND in render_reference()


def test_command_prints_the_page() -> None:
    command = [sys.executable, "-m", "moorage.cli.reference"]
    printed = subprocess.run(command, capture_output=True, check=True).stdout

    assert printed.decode() == render_reference()


def test_each_setting_has_a_row() -> None:
    rows = [line for line in render_reference().splitlines() if line.startswith("| `")]

    assert len(rows) == len(describe())
    for each, row in zip(describe(), rows, strict=True):
        assert f"| `{each.key}` |" in row
        assert f"`{each.variable}`" in row


def test_example_is_a_file_that_can_be_used(tmp_path: Path) -> None:
    path = tmp_path / "moorage.toml"
    path.write_text(EXAMPLE)

    assert load(path, {}).storage.data == Path("/var/lib/moorage")
