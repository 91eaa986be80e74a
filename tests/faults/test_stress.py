"""L4: clients push, overwrite, delete and pull while garbage is collected each second, a minute long."""

import os
import time
from pathlib import Path

from tests.faults.images import check_folder
from tests.faults.stress import Figures, Tireless
from tests.registry.audit import audit, find_incomplete
from tests.servers import ServerProcess

SECONDS = float(os.environ.get("STRESS_SECONDS", "60"))
CLIENTS = 10
HASTY = {
    "MOORAGE_JOBS_GARBAGE": "every 1s",
    "MOORAGE_DELETE_DELAY": "5s",
    "MOORAGE_DELETE_GRACE": "2s",
}


def test_nothing_that_was_acknowledged_is_lost_while_garbage_is_collected(tmp_path: Path) -> None:
    """F34 to F37, L4."""
    figures = Figures()
    with ServerProcess(tmp_path / "data", "--workers", "2", env=HASTY) as server:
        until = time.monotonic() + SECONDS
        clients = [Tireless(server.port, number, until, figures) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        collected = server.log_events("garbage_collected")
        # also what nothing but its tag keeps by now
        time.sleep(8)
        for client in clients:
            client.check_all()
        server.terminate()

    print(figures, f"{len(collected)} collections")
    assert figures.faults == []
    assert sum(run["blobs"] for run in collected) > 0
    assert sum(run["manifests"] for run in collected) > 0
    assert min(figures.pushes, figures.pulls, figures.deletions, figures.skipped) > 0
    check_folder(tmp_path / "data")
    assert audit(tmp_path / "data") == []
    assert find_incomplete(tmp_path / "data") == []
