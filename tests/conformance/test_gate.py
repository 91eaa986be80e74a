from pathlib import Path

import pytest

from tests.conformance.gate import (
    APIS,
    CHECKS_MIN,
    DATA_SETS,
    DISABLED_DATA,
    ResultsError,
    judge,
    read_checks,
    read_scores,
)

SCORES = """\
config:
  registry: 127.0.0.1:5000
  apis:
    ping: true
  roData:
    tags: []
  version: dev
  commit: unknown
apis:
  Ping: Pass
  Tag delete atomic: FAIL
data:
  Blobs sha512: Skip
  Sparse Manifests: Disabled
"""
CHECKS = """\
<testsuites tests="3"><testsuite name="OCI Conformance Test">
  <properties><property name="Config" value="registry: x"></property></properties>
  <testcase name="OCI Conformance Test/ping" classname="" time="0.1" status="passed"><system-err>GET</system-err></testcase>
  <testcase name="OCI Conformance Test/empty/referrers" time="0.1" status="failure"><system-out>expected 200
received 404</system-out></testcase>
  <testcase name="OCI Conformance Test/sha256 blobs/empty" time="0.1" status="skipped"></testcase>
</testsuite></testsuites>
"""  # noqa: E501


def write_results(
    folder: Path,
    *,
    version: str = "dev",
    apis: dict[str, str] | None = None,
    data: dict[str, str] | None = None,
    statuses: dict[str, str] | None = None,
    count: int = CHECKS_MIN,
) -> Path:
    """Write a good run, with these exceptions."""
    scores = {
        "apis": dict.fromkeys(sorted(APIS), "Pass") | (apis or {}),
        "data": {name: "Disabled" if name in DISABLED_DATA else "Pass" for name in sorted(DATA_SETS)}
        | (data or {}),
    }
    lines = ["config:", f"  version: {version}"]
    for section, table in scores.items():
        lines += [f"{section}:", *(f"  {name}: {score}" for name, score in table.items() if score)]
    (folder / "results.yaml").write_text("\n".join(lines) + "\n")

    names = [f"sha{256 * (1 + number % 2)} blobs/{number}" for number in range(count)]
    cases = dict.fromkeys(names, "passed") | (statuses or {})
    xml = "".join(
        f'<testcase name="OCI Conformance Test/{name}" status="{status}"/>' for name, status in cases.items()
    )
    (folder / "junit.xml").write_text(f"<testsuites><testsuite>{xml}</testsuite></testsuites>")
    return folder


def test_a_whole_run_without_a_fault_has_no_problems(tmp_path: Path) -> None:
    verdict = judge(write_results(tmp_path))

    assert verdict.problems == []
    assert verdict.by_status == {"passed": CHECKS_MIN}


@pytest.mark.parametrize("score", ["FAIL", "Error", "Skip", "Disabled", "Unknown"])
def test_an_api_that_did_not_pass_is_a_problem(tmp_path: Path, score: str) -> None:
    verdict = judge(write_results(tmp_path, apis={"Referrers": score}))

    assert verdict.problems == [f"API 'Referrers': {score}"]


@pytest.mark.parametrize("score", ["FAIL", "Skip"])
def test_a_digest_algorithm_that_did_not_pass_is_a_problem(tmp_path: Path, score: str) -> None:
    verdict = judge(write_results(tmp_path, data={"Blobs sha512": score}))

    assert verdict.problems == [f"data set 'Blobs sha512': {score}"]


def test_an_api_that_was_not_scored_is_a_problem(tmp_path: Path) -> None:
    verdict = judge(write_results(tmp_path, apis={"Tag listing": ""}))

    assert verdict.problems == ["API 'Tag listing' was not scored"]


def test_an_api_the_gate_does_not_know_is_a_problem(tmp_path: Path) -> None:
    verdict = judge(write_results(tmp_path, apis={"Blob teleport": "Pass"}))

    assert verdict.problems == ["API 'Blob teleport' is new to the gate"]


@pytest.mark.parametrize("status", ["failure", "error", "skipped"])
def test_a_single_check_that_did_not_pass_is_a_problem_though_every_score_is_pass(
    tmp_path: Path, status: str
) -> None:
    verdict = judge(write_results(tmp_path, statuses={"sha256 blobs/0": status}))

    assert verdict.problems == [f"{status}: sha256 blobs/0: no message"]


def test_mounts_may_be_skipped_by_who_signed_in_and_by_no_one_else(tmp_path: Path) -> None:
    check = "sha256 blobs/mount/blob-mount"
    results = write_results(
        tmp_path, apis={"Blob anonymous mount": "Skip"}, statuses={"sha256 blobs/0": "skipped"}
    )
    junit = results / "junit.xml"
    junit.write_text(
        junit.read_text().replace("sha256 blobs/0<", f"{check}<").replace('sha256 blobs/0"', f'{check}"')
    )

    assert judge(results, signs_in=True).problems == []
    assert len(judge(results).problems) == 2


def test_a_run_of_the_wrong_version_is_a_problem(tmp_path: Path) -> None:
    verdict = judge(write_results(tmp_path, version="1.1"))

    assert verdict.problems == ["the suite ran version '1.1', not 'dev'"]


def test_a_run_that_stopped_early_is_a_problem(tmp_path: Path) -> None:
    verdict = judge(write_results(tmp_path, count=CHECKS_MIN - 1))

    assert verdict.problems == [f"{CHECKS_MIN - 1} checks in junit.xml; a whole run has {CHECKS_MIN} or more"]


def test_a_run_without_sha512_blobs_is_a_problem(tmp_path: Path) -> None:
    write_results(tmp_path)
    junit = tmp_path / "junit.xml"
    junit.write_text(junit.read_text().replace("sha512 blobs", "sha256 blobs"))

    assert [problem[:25] for problem in judge(tmp_path).problems] == ["0 checks of sha512 blobs,"]


@pytest.mark.parametrize("missing", ["results.yaml", "junit.xml"])
def test_a_missing_results_file_is_refused(tmp_path: Path, missing: str) -> None:
    (write_results(tmp_path) / missing).unlink()

    with pytest.raises(ResultsError, match=missing):
        judge(tmp_path)


@pytest.mark.parametrize("cut", ["results.yaml", "junit.xml"])
def test_an_empty_results_file_is_refused(tmp_path: Path, cut: str) -> None:
    (write_results(tmp_path) / cut).write_text("")

    with pytest.raises(ResultsError, match=cut):
        judge(tmp_path)


def test_scores_are_read_as_the_suite_writes_them() -> None:
    scores = read_scores(SCORES)

    assert scores.version == "dev"
    assert scores.apis == {"Ping": "Pass", "Tag delete atomic": "FAIL"}
    assert scores.data == {"Blobs sha512": "Skip", "Sparse Manifests": "Disabled"}


@pytest.mark.parametrize(
    "line", ["  Ping: Maybe", "  Ping:", "    Ping: Pass", "  Tag delete atomic: Pass", "..."]
)
def test_a_line_among_the_scores_that_is_no_score_is_refused(line: str) -> None:
    with pytest.raises(ResultsError, match="not a score"):
        read_scores(SCORES.replace("\ndata:", f"\n{line}\ndata:"))


@pytest.mark.parametrize("section", ["config", "apis", "data"])
def test_scores_without_one_of_their_tables_are_refused(section: str) -> None:
    with pytest.raises(ResultsError, match="no config version"):
        read_scores(SCORES.replace(f"\n{section}:" if section != "config" else "  version: dev", "\nroData:"))


def test_checks_are_read_as_the_suite_writes_them() -> None:
    checks = read_checks(CHECKS)

    assert [(check.name, check.status) for check in checks] == [
        ("ping", "passed"),
        ("empty/referrers", "failure"),
        ("sha256 blobs/empty", "skipped"),
    ]
    assert checks[1].message == "expected 200; received 404"


def test_a_check_without_a_status_is_an_error() -> None:
    checks = read_checks('<testsuites><testcase name="OCI Conformance Test/ping"/></testsuites>')

    assert checks[0].status == "error"
