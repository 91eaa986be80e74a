"""Parts of the crash suite for every run of the tests: what a 201 promises, and a sample of the rest.

`make crash` has every case, every fault and every call.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.checking import audit
from tests.crash.lanes import lanes
from tests.crash.linting import lint
from tests.crash.planted import PLANTED
from tests.crash.playing import fill_apart
from tests.crash.power import cut_power
from tests.crash.sweep import KILL, ROOM_BYTES, Workshop, recorded, sweep
from tests.faults.means import require
from tests.memory import find_quick_folder

EVERY = 8
"""Of so many calls one is met here where no 201 is given."""


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    require("strace", "strace")
    with (
        tempfile.TemporaryDirectory(prefix="moorage-crash-", dir=find_quick_folder(ROOM_BYTES)) as name,
        lanes(),
    ):
        folder = Path(name)
        fill_apart(folder / "template")
        yield Workshop(folder, folder / "template")


@pytest.mark.parametrize(
    "case", [pytest.param("chunks", id="F1 blob"), pytest.param("manifest", id="F2 manifest")]
)
def test_kill_at_any_call_leaves_what_was_acknowledged_and_nothing_half_done(
    workshop: Workshop, case: str
) -> None:
    with recorded(workshop, case) as recording:
        outcome = sweep(workshop, case, KILL, recording)

    assert outcome.damage == []
    assert outcome.points == outcome.stopped > 20


@pytest.mark.parametrize(
    "case",
    [
        pytest.param("delete", id="F3 deletions"),
        pytest.param("collect", id="F4 collection of garbage"),
        pytest.param("migrate", id="F5 migration"),
    ],
)
def test_kill_now_and_then_leaves_nothing_half_done(workshop: Workshop, case: str) -> None:
    with recorded(workshop, case) as recording:
        outcome = sweep(workshop, case, KILL, recording, every=EVERY)

    assert outcome.damage == []
    assert outcome.points == outcome.stopped > 20 // EVERY


@pytest.mark.parametrize("case", ["blob", "manifest"])
def test_f6_power_cut_at_any_call_leaves_what_was_acknowledged(workshop: Workshop, case: str) -> None:
    with recorded(workshop, case) as recording:
        assert lint(recording) == []
        folders, damage = cut_power(workshop, case, recording)

    assert damage == []
    assert folders > 20


@pytest.mark.parametrize("planted", [name for name, each in PLANTED.items() if "lint" in each.found_by])
def test_f6_missing_sync_is_found_in_the_record(workshop: Workshop, planted: str) -> None:
    with recorded(workshop, "blob", planted) as recording:
        assert lint(recording) != []


def test_folder_that_lost_a_file_is_found(workshop: Workshop, tmp_path: Path) -> None:
    """The check of what is left can fail."""
    with workshop.copy("blob") as data:
        blobs = sorted((data / "blobs").rglob("*.1"))
        blobs[0].unlink()

        assert any("has no file" in finding for finding in audit(data))
