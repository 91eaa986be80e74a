"""A run of retention whose worker is killed in the middle of it, again and again: each tag goes once."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import apsw

from tests.content import image
from tests.faults.means import job_worker_of, wait_until
from tests.servers import ServerProcess
from tests.spec.client import Client, Repository

TAGS = 800
KEPT = 3
KILLS = 3


def test_killed_run_is_gone_on_with_and_removes_what_its_plan_says_once(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", "--workers", "1") as server:
        client = Client(server.port)
        repository = Repository(client, "team/app")
        repository.push_blob(b"{}")
        for number in range(TAGS):
            document = image(b"{}", annotations={"number": str(number)})
            repository.push_manifest(document, f"1.0.{number}")
        rule = b'{"scope": "team/*", "pattern": "*", "keep_newest": 3, "newest_by": "version"}'
        assert client.send("POST", "/api/v1/retention/rules", rule).status == 201
        job = client.send("POST", "/api/v1/retention/runs", b'{"scope": "team/*"}').json["id"]

        killed = 0
        for _ in range(KILLS):
            left = count_tags(repository)
            # in the middle: something has gone, and something has not
            wait_until(lambda left=left: count_tags(repository) < left or has_ended(client, job), seconds=40)  # type: ignore[misc]
            worker = job_worker_of(server.pid)
            if has_ended(client, job) or worker is None:
                break
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
                killed += 1
            time.sleep(0.2)
        wait_until(lambda: has_ended(client, job), seconds=60)

        ended = client.send("GET", f"/api/v1/jobs/{job}").json
        assert (ended["state"], killed > 0) == ("done", True), ended
        kept = [f"1.0.{number}" for number in range(TAGS - KEPT, TAGS)]
        assert repository.send("GET", "tags/list").json["tags"] == kept

    rows = apsw.Connection(str(tmp_path / "data" / "moorage.db"), flags=apsw.SQLITE_OPEN_READONLY)
    counts = {
        "events": "SELECT count(*), count(DISTINCT name) FROM tag_event WHERE to_digest IS NULL",
        "trash": "SELECT count(*), count(DISTINCT manifest) FROM trash",
        "audit": "SELECT count(*), count(DISTINCT detail) FROM audit WHERE action = 'delete'",
    }
    found = {name: rows.execute(sql).fetchone() for name, sql in counts.items()}
    rows.close()
    assert found == dict.fromkeys(counts, (TAGS - KEPT, TAGS - KEPT))


def count_tags(repository: Repository) -> int:
    return len(repository.send("GET", "tags/list").json["tags"])


def has_ended(client: Client, job: int) -> bool:
    return client.send("GET", f"/api/v1/jobs/{job}").json["finished_at"] is not None
