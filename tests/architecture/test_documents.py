"""What the pages for operators list is what there is: log events, metrics, errors, links."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage.errors import RegistryError
from tests.architecture.source import read_modules

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
OPERATING = (ROOT / "docs" / "operating.md").read_text("utf-8")
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text("utf-8")

LEVELS = {"debug", "info", "warning", "error", "exception", "_said"}


def events() -> dict[str, set[str]]:
    """The keys of each event that the program may log."""
    found: dict[str, set[str]] = {}
    for module in read_modules():
        for node in ast.walk(module.tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in LEVELS
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                keys = {each.arg for each in node.keywords if each.arg} - {"exc_info"}
                found.setdefault(str(node.args[0].value), set()).update(keys)
    return found


def rows(page: str, heading: str) -> Iterator[list[str]]:
    """The cells of the tables under a heading."""
    section = page.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    for line in section.splitlines():
        if line.startswith("|") and not line.startswith("|-"):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def words(cell: str) -> set[str]:
    return set(re.findall(r"`([a-z_]+)`", cell))


def test_every_log_event_is_listed_with_its_keys() -> None:
    listed = {cells[0].strip("`"): cells[2] if len(cells) > 2 else "" for cells in rows(OPERATING, "The log")}
    listed.pop("Event")
    logged = events()

    assert listed.keys() == logged.keys()
    for event, keys in logged.items():
        assert keys <= words(listed[event]), event


def test_every_metric_is_listed() -> None:
    named = {
        node.value
        for module in read_modules()
        if module.is_in("api")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if re.fullmatch(r"moorage_[a-z_]+", node.value)
    }
    listed = {cells[0].strip("`") for cells in rows(OPERATING, "Health and metrics")}

    assert {name.removesuffix("_total") for name in listed if name.startswith("moorage_")} == named


def refusals(of: type[RegistryError]) -> Iterator[type[RegistryError]]:
    yield of
    for each in of.__subclasses__():
        yield from refusals(each)


def test_every_refusal_is_listed() -> None:
    listed = [(cells[0], cells[1].strip("`")) for cells in rows(PROTOCOL, "Errors")][1:]

    assert set(listed) == {(str(each.status), each.code) for each in refusals(RegistryError)}
    assert len(listed) == len(set(listed))


SECURITY = (ROOT / "docs" / "security.md").read_text("utf-8")
TESTS = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
}


def test_every_promise_names_the_tests_that_hold_it() -> None:
    promises = list(rows(SECURITY, "Promises"))[1:]

    assert len(promises) > 10
    for promise, held_by in promises:
        named = re.findall(r"`(\w+)`", held_by)
        assert named, promise
        assert set(named) <= TESTS, promise


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text("utf-8")):
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), target
        headings = re.findall(r"^#+ (.+)$", linked.read_text("utf-8"), re.MULTILINE) if anchor else []
        slugs = {re.sub(r"[^a-z0-9 -]", "", each.lower()).replace(" ", "-") for each in headings}
        assert not anchor or anchor in slugs, target
