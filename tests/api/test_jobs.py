"""Jobs by the API: pages, filters, one's own, and what is measured of them."""

import re
from pathlib import Path

import pytest

from moorage.database import Transaction
from moorage.records.jobs import rows
from tests.api.client import Person, person
from tests.registry.in_process import InProcess


def make_jobs(tx: Transaction) -> None:
    """Five that wait, of which the first is alice's; one that was done, one that failed."""
    for number in range(5):
        rows.enqueue(tx, "garbage", {"number": number}, "root" if number else "alice", key=str(number))
    for state in ("done", "failed"):
        job = rows.enqueue(tx, "scrub", {}, "schedule")
        rows.take(tx, ["scrub"], "a worker", 1000)
        rows.end(tx, job, "a worker", state, result={"blobs": 3}, error="a reason")


@pytest.fixture
def jobs(registry: InProcess, admin: Person) -> Person:
    registry.loop.run_until_complete(registry.db.write(make_jobs))
    return admin


def test_jobs_are_listed_newest_first_page_by_page(jobs: Person) -> None:
    seen: list[int] = []
    after = ""
    while True:
        page = jobs.get(f"/jobs?n=3{after}")
        seen += [job["id"] for job in page["items"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"

    assert seen == [7, 6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("kind=scrub", [7, 6]),
        ("state=queued&n=2", [5, 4]),
        ("kind=scrub&state=failed", [7]),
        ("kind=none", []),
    ],
)
def test_jobs_are_found_by_kind_and_state(jobs: Person, query: str, ids: list[int]) -> None:
    assert [job["id"] for job in jobs.get(f"/jobs?{query}")["items"]] == ids


def test_account_that_is_called_like_the_schedule_has_not_asked_for_its_jobs(jobs: Person) -> None:
    schedule = person(jobs, "schedule")

    assert jobs.get("/jobs/6")["created_by"] == "schedule"
    assert schedule.ask("GET", "/jobs/6").status == 404


def test_unknown_state_is_refused(jobs: Person) -> None:
    assert jobs.ask("GET", "/jobs?state=lost").status == 400


def test_job_shows_what_came_of_it(jobs: Person) -> None:
    job = jobs.get("/jobs/7")

    assert (job["state"], job["error"], job["result"]) == ("failed", "a reason", {"blobs": 3})
    assert job["started_at"] <= job["finished_at"]
    assert "holder" not in job


def test_job_is_for_whoever_asked_for_it_and_auditors(jobs: Person) -> None:
    alice = person(jobs, "alice")

    assert alice.ask("GET", "/jobs/1").status == 200
    assert alice.ask("GET", "/jobs/2").status == 404
    assert alice.ask("GET", "/jobs/99").status == 404


def test_jobs_are_measured(jobs: Person, registry: InProcess, tmp_path: Path) -> None:
    body = registry.send("GET", "/metrics", headers=jobs.headers()).body.decode()

    assert set(re.findall(r"^moorage_jobs\{.*$", body, re.MULTILINE)) == {
        'moorage_jobs{kind="garbage",state="queued"} 5.0',
        'moorage_jobs{kind="scrub",state="done"} 1.0',
        'moorage_jobs{kind="scrub",state="failed"} 1.0',
    }
    assert "\nmoorage_job_worker_alive 0.0\n" in body
