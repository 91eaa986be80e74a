"""Workers that are processes, killed and stopped in the middle of their jobs: nothing is lost."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from moorage import app
from moorage.databases import sqlite
from moorage.databases.sqlite import SqliteDatabase
from moorage.health import Health
from moorage.records.jobs import rows
from moorage.records.jobs.alive import WORKER, SharedLock
from moorage.records.jobs.rows import Job
from moorage.records.jobs.working import LEASE_S
from tests.faults.errands import KIND, read
from tests.faults.means import children_of, is_running, job_worker_of, wait_until
from tests.registry.in_process import settings_for
from tests.servers import ServerProcess

ROOT = Path(__file__).parents[2]
ERRANDS = (sys.executable, "-m", "tests.faults.errands")
JOBS = 400
WORKERS = 4
SHORT_LEASE_S = 1.0
LEASE_OF_MANY_S = 8.0
"""Longer than one of them waits for the others on a busy machine: else it is taken for dead."""


class Rows:
    """The jobs of a folder on which others work."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._runner = asyncio.Runner()
        self._db: SqliteDatabase | None = None

    def open(self) -> SqliteDatabase:
        if self._db is None:
            self._db = SqliteDatabase(self.folder / "moorage.db", Health())
        return self._db

    def ask(self, count: int = 1, **arguments: Any) -> list[int]:
        async def ask() -> list[int]:
            return await self.open().write(
                lambda tx: [
                    rows.enqueue(tx, KIND, arguments, "ada", f"{time.monotonic()} {number}")
                    for number in range(count)
                ]
            )

        return self._runner.run(ask())

    def job(self, job_id: int) -> Job:
        job = self._runner.run(rows.find(self.open(), job_id))
        assert job is not None
        return job

    def count(self) -> dict[str, int]:
        return {state: number for _, state, number in self._runner.run(rows.count(self.open()))}

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
        self._runner.close()


class ErrandServer(ServerProcess):
    """A registry that does errands."""

    def __init__(self, data: Path, *arguments: str, **options: Any) -> None:
        super().__init__(data, *arguments, **options)
        self._command = [*ERRANDS, "run", *self._command[3:]]


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Rows]:
    found = Rows(tmp_path / "data")
    yield found
    found.close()


@contextlib.contextmanager
def workers(folder: Path, count: int, lease_s: float) -> Iterator[list[subprocess.Popen[bytes]]]:
    started = [
        subprocess.Popen([*ERRANDS, "work", str(folder), str(lease_s)], cwd=ROOT, stdout=sys.stderr)
        for _ in range(count)
    ]
    try:
        yield started
    finally:
        for each in started:
            each.kill()
        for each in started:
            each.wait()


def moorage(*arguments: object) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("MOORAGE_")}
    return subprocess.run(
        [*ERRANDS, "run", *map(str, arguments)],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_of_four_workers_one_is_killed_and_exactly_its_job_runs_twice(jobs: Rows) -> None:
    jobs.folder.mkdir()
    sqlite.prepare(jobs.folder / "moorage.db")
    jobs.ask(JOBS // 2)
    (held,) = jobs.ask(hold=[1])
    jobs.ask(JOBS - JOBS // 2 - 1)

    with workers(jobs.folder, WORKERS, LEASE_OF_MANY_S):
        wait_until(lambda: any(each.job == held for each in read(jobs.folder, "starts")), seconds=60)
        (victim,) = (each.pid for each in read(jobs.folder, "starts") if each.job == held)
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: jobs.count() == {"done": JOBS}, seconds=60)

    starts = Counter(each.job for each in read(jobs.folder, "starts"))
    ends = Counter(each.job for each in read(jobs.folder, "ends"))
    assert len(starts) == JOBS
    assert {job: times for job, times in starts.items() if times > 1} == {held: 2}
    assert set(ends.values()) == {1}
    assert ends.keys() == starts.keys()
    assert len({each.pid for each in read(jobs.folder, "starts")}) == WORKERS


def test_workers_killed_again_and_again_lose_nothing(jobs: Rows) -> None:
    """At whatever point of taking, running and ending a job it is."""
    jobs.folder.mkdir()
    sqlite.prepare(jobs.folder / "moorage.db")
    asked = jobs.ask(100, turns=3)
    kills = 0
    while jobs.count() != {"done": len(asked)}:
        with workers(jobs.folder, 1, SHORT_LEASE_S) as (worker,):
            before = len(read(jobs.folder, "ends"))
            wait_until(
                lambda: len(read(jobs.folder, "ends")) > before + 15 or jobs.count() == {"done": len(asked)},  # noqa: B023
                seconds=60,
            )
            worker.kill()
            kills += 1

    assert kills > 3
    assert {each.job for each in read(jobs.folder, "ends")} == set(asked)
    again = len(read(jobs.folder, "starts")) - len(asked)
    assert again <= kills


def test_worker_beside_serve_that_is_killed_is_replaced_and_its_job_done(tmp_path: Path, jobs: Rows) -> None:
    with ErrandServer(jobs.folder, "--workers", "1") as server:
        requests = children_of(server.pid)
        (held,) = jobs.ask(hold=[1])
        wait_until(lambda: [each.job for each in read(jobs.folder, "starts")] == [held])
        (start,) = read(jobs.folder, "starts")
        assert start.pid == job_worker_of(server.pid)

        os.kill(start.pid, signal.SIGKILL)

        wait_until(lambda: jobs.job(held).state == "done", seconds=LEASE_S - 1)
        assert jobs.job(held).attempts == 2
        assert read(jobs.folder, "starts")[1].pid == job_worker_of(server.pid) != start.pid
        assert children_of(server.pid) == requests
        server.wait_for_event("worker_died", pid=start.pid, status=-9, work="jobs")
        server.wait_for_event("job_taken_over", job=held, state="queued")


def test_told_to_stop_serve_gives_its_job_back_and_goes_on_with_it_later(tmp_path: Path, jobs: Rows) -> None:
    with ErrandServer(jobs.folder, "--workers", "1") as server:
        (held,) = jobs.ask(hold=[1], turns=2)
        wait_until(lambda: len(read(jobs.folder, "starts")) == 1)
        worker = job_worker_of(server.pid)
        assert worker is not None
        began = time.monotonic()

        assert server.terminate() == 0

        assert time.monotonic() - began < 15
        assert not is_running(worker)
        job = jobs.job(held)
        assert (job.state, job.attempts, job.holder) == ("queued", 0, None)
        server.wait_for_event("job_put_back", job=held)
        server.start()
        wait_until(lambda: len(read(jobs.folder, "starts")) == 2)


def test_serve_killed_whole_goes_on_with_its_job_at_once(tmp_path: Path, jobs: Rows) -> None:
    with ErrandServer(jobs.folder, "--workers", "1") as server:
        (held,) = jobs.ask(hold=[1])
        wait_until(lambda: len(read(jobs.folder, "starts")) == 1)
        server.kill()
        assert jobs.job(held).state == "running"

        server.start()

        wait_until(lambda: jobs.job(held).state == "done", seconds=LEASE_S - 1)
        assert jobs.job(held).attempts == 2


def test_job_worker_that_keeps_dying_takes_no_request_worker_with_it(tmp_path: Path, jobs: Rows) -> None:
    with ErrandServer(jobs.folder, "--workers", "1") as server:
        requests = children_of(server.pid)
        for _ in range(6):
            wait_until(lambda: job_worker_of(server.pid) is not None, seconds=30)
            worker = job_worker_of(server.pid)
            assert worker is not None
            os.kill(worker, signal.SIGKILL)
            wait_until(lambda: not is_running(worker))  # noqa: B023

        assert children_of(server.pid) == requests
        assert server.is_ready()
        server.kill()


def test_serve_without_a_worker_leaves_jobs_to_one_that_runs_alone(tmp_path: Path, jobs: Rows) -> None:
    with ErrandServer(jobs.folder, "--workers", "1", env={"MOORAGE_JOBS_BESIDE": "false"}) as server:
        assert job_worker_of(server.pid) is None
        (first,) = jobs.ask()
        time.sleep(1)
        assert jobs.job(first).state == "queued"

        alone = subprocess.Popen(
            [*ERRANDS, "run", "worker", "--data", str(jobs.folder)],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            wait_until(lambda: jobs.job(first).state == "done")
            assert {each.pid for each in read(jobs.folder, "starts")} == {alone.pid}
            (second,) = jobs.ask(hold=[1])
            wait_until(lambda: len(read(jobs.folder, "starts")) == 2)
            alone.terminate()
            _, said = alone.communicate(timeout=60)
        finally:
            alone.kill()

        assert alone.returncode == 0, said
        assert [json.loads(line)["event"] for line in said.splitlines()] == [
            "job_worker_started",
            "job_done",
            "job_put_back",
            "job_worker_stopped",
        ]
        assert jobs.job(second).state == "queued"


def test_worker_without_a_registry_says_what_to_do(tmp_path: Path) -> None:
    ended = moorage("worker", "--data", tmp_path / "none")

    assert (ended.returncode, "start it once" in ended.stderr) == (1, True)


def test_command_line_lists_shows_cancels_and_retries(tmp_path: Path, jobs: Rows) -> None:
    with ErrandServer(jobs.folder, "--workers", "1"):
        (held,) = jobs.ask(hold=[1, 2], turns=4)
        wait_until(lambda: (told := jobs.job(held).progress) is not None and told.note == "held")
        local = ("--data", jobs.folder)

        (listed,) = json.loads(moorage("jobs", "list", *local, "--json").stdout)
        assert (listed["id"], listed["kind"], listed["state"]) == (held, "errand", "running")
        assert listed["progress"] == {"done": 1, "total": 4, "unit": "turns", "note": "held"}
        assert "1 of 4 turns (25 %), held" in moorage("jobs", "list", *local).stdout
        assert json.loads(moorage("jobs", "list", "--state", "done", *local, "--json").stdout) == []
        assert moorage("jobs", "cancel", held, *local).stdout == f"Job {held} was told to stop.\n"
        wait_until(lambda: jobs.job(held).state == "cancelled")
        assert "it has ended" in moorage("jobs", "cancel", held, *local).stderr
        assert moorage("jobs", "retry", held, *local).stdout == f"Job {held} is queued.\n"
        wait_until(lambda: jobs.job(held).state == "running")
        assert json.loads(moorage("jobs", "show", held, *local, "--json").stdout)["state"] == "running"
        assert moorage("jobs", "show", 99, *local).returncode == 1


def test_job_is_followed_to_its_end_by_a_worker_or_without_one(tmp_path: Path, jobs: Rows) -> None:
    with ErrandServer(jobs.folder, "--workers", "1") as server:
        (first,) = jobs.ask(turns=5, turn_s=0.4)

        followed = moorage("jobs", "show", first, "--follow", "--data", jobs.folder)

        assert followed.returncode == 0
        assert f"job {first} (errand): done, 5 of 5 turns (100 %)" in followed.stderr
        assert [each.pid for each in read(jobs.folder, "starts")] == [server_worker(server)]

    (second,) = jobs.ask(turns=5, turn_s=0.4)
    alone = moorage("jobs", "show", second, "--follow", "--data", jobs.folder, "--json")
    assert json.loads(alone.stdout)["state"] == "done"
    assert jobs.job(second).result == {"turns": 5}


def test_job_that_a_command_does_itself_is_left_to_others_when_it_is_interrupted(jobs: Rows) -> None:
    os.close(app.prepare(settings_for(jobs.folder)))
    (held,) = jobs.ask(hold=[1])
    command = [*ERRANDS, "run", "jobs", "show", str(held), "--follow", "--data", str(jobs.folder)]
    following = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: jobs.job(held).progress is not None, seconds=30)
        following.send_signal(signal.SIGINT)
        _, said = following.communicate(timeout=30)
    finally:
        following.kill()

    assert following.returncode == 1
    assert f"moorage jobs cancel {held}" in said
    assert "Traceback" not in said
    job = jobs.job(held)
    assert (job.state, job.attempts) == ("queued", 0)


def test_f56_schema_is_not_changed_under_a_worker_of_another_version(jobs: Rows) -> None:
    settings = settings_for(jobs.folder)
    os.close(app.prepare(settings))
    connection = apsw.Connection(str(settings.storage.database))
    connection.execute("DELETE FROM migration WHERE number = (SELECT max(number) FROM migration)")
    connection.close()
    before = settings.storage.database.read_bytes()
    with SharedLock(jobs.folder / WORKER) as lock:
        asyncio.run(lock.share())

        with pytest.raises(app.StartRefused, match=r"older Moorage.*job worker runs on the folder"):
            app.prepare(settings)

    assert settings.storage.database.read_bytes() == before


def server_worker(server: ServerProcess) -> int:
    found = job_worker_of(server.pid)
    assert found is not None
    return found
