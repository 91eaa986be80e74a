"""What the log says of a full disk."""

import pytest
from structlog.testing import capture_logs

from moorage.api.full_disk import FullDiskLog
from moorage.errors import DatabaseFull, NameUnknown, RegistryError, StorageFailed, StorageFull
from moorage.lifecycle.garbage.status import Usage


class Disk:
    """A disk with so many bytes left; None: it cannot be asked."""

    def __init__(self, free_bytes: int | None) -> None:
        self._free_bytes = free_bytes

    def measure(self) -> Usage:
        return Usage(0, 0, 0, 0)

    def measure_free(self) -> int:
        if self._free_bytes is None:
            raise StorageFailed
        return self._free_bytes


@pytest.mark.parametrize("refusal", [StorageFull(reserve_bytes=5), DatabaseFull()])
def test_full_disk_is_logged_once_a_minute(refusal: RegistryError, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1000.0
    monkeypatch.setattr("moorage.api.full_disk.time.monotonic", lambda: now_s)
    said = FullDiskLog(Disk(4096))
    with capture_logs() as logged:
        for _ in range(3):
            said.note(refusal, "team/app")
        now_s += 59
        said.note(refusal, "team/app")
        assert len(logged) == 1
        now_s += 1
        said.note(refusal, "team/web")

    assert [
        (each["event"], each["log_level"], each["repository"], each["free_bytes"]) for each in logged
    ] == [("storage_full", "warning", "team/app", 4096), ("storage_full", "warning", "team/web", 4096)]


def test_what_was_refused_for_another_reason_is_not_logged_as_that() -> None:
    with capture_logs() as logged:
        FullDiskLog(Disk(4096)).note(NameUnknown(name="team/app"), "team/app")

    assert logged == []


def test_disk_that_cannot_be_asked_is_logged_all_the_same() -> None:
    with capture_logs() as logged:
        FullDiskLog(Disk(None)).note(StorageFull(), None)

    assert [each["free_bytes"] for each in logged] == [None]
