"""Judge what a run of the suite wrote: no failure, no error, nothing skipped, every API and data set passed.

results.yaml holds a `config`, an `apis` and a `data` table; junit.xml holds every single check. Both are
needed: a table keeps only the highest status it saw, so one pass hides any number of skips.
"""

import re
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

SUITE = "OCI Conformance Test/"
SPEC_VERSION = "dev"
CHECKS_MIN = 780
"""A whole run has more; fewer means that part of it did not run."""
CHECKS_PER_ALGORITHM_MIN = 60
ALGORITHMS = ("sha256", "sha512")
MOUNTS = frozenset({"Blob mount", "Blob anonymous mount"})
_MOUNT_CHECKS = re.compile(r"sha(?:256|512) blobs/mount(?: anonymous)?/blob-mount(?:-anonymous)?")
"""Skipped by someone who signed in: the suite's token does not name the source, and so cannot read it."""
DISABLED_DATA = frozenset({"Sparse Manifests"})
"""An image whose parts were never pushed: Moorage refuses it, as the specification allows."""

APIS = frozenset({
    "Blob anonymous mount",
    "Blob chunked",
    "Blob delete",
    "Blob delete atomic",
    "Blob get",
    "Blob get range",
    "Blob head",
    "Blob mount",
    "Blob post only",
    "Blob post put",
    "Blob push",
    "Blob streaming",
    "Blob upload cancel",
    "Manifest delete",
    "Manifest delete atomic",
    "Manifest get by digest",
    "Manifest get by tag",
    "Manifest head by digest",
    "Manifest head by tag",
    "Manifest put by digest",
    "Manifest put by tag",
    "Manifest put with subject",
    "Manifest put with tag params",
    "Ping",
    "Referrers",
    "Tag delete",
    "Tag delete atomic",
    "Tag listing",
})  # fmt: skip
DATA_SETS = frozenset({
    "Artifact",
    "Artifact Index",
    "Artifact without Layers",
    "Artifacts with Subject",
    "Bad Digest Image",
    "Blobs sha256",
    "Blobs sha512",
    "Custom Fields",
    "Data Field",
    "Digest Algorithm sha512",
    "Empty Index",
    "Image",
    "Image Uncompressed",
    "Image with Large Manifest",
    "Index",
    "Index with Subject",
    "Invalid Manifest Digest",
    "Missing Subject",
    "Nested Index",
    "No Layers",
    "Non-distributable Layers",
    "Sparse Manifests",
    "Tag Param",
    "Tag Param sha512",
})  # fmt: skip

_SECTION = re.compile(r"([a-zA-Z]+):")
_SCORE = re.compile(r"  ([^:\s][^:]*): (Pass|Skip|Disabled|FAIL|Error|Unknown)")
_VERSION = re.compile(r"  version: (\S+)")


class ResultsError(Exception):
    """The suite's files are missing, or not of the shape this module knows."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check of the suite, by its path below the suite's name."""

    name: str
    status: str
    """passed, skipped, failure or error."""
    message: str


@dataclass(frozen=True, slots=True)
class Scores:
    """The tables of results.yaml: name to Pass, Skip, Disabled, FAIL, Error or Unknown."""

    version: str
    apis: dict[str, str]
    data: dict[str, str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run amounts to; it is good when `problems` is empty."""

    scores: Scores
    checks: list[Check]
    problems: list[str]

    @property
    def by_status(self) -> Counter[str]:
        return Counter(check.status for check in self.checks)


def judge(results_dir: Path, *, signs_in: bool = False) -> Verdict:
    """Read a results directory; raises ResultsError when there is nothing sound to judge.

    `signs_in`: the run was by bearer tokens, of which each is for one repository, so mounts may be skipped.
    """
    scores = read_scores(_read(results_dir / "results.yaml"))
    checks = read_checks(_read(results_dir / "junit.xml"))
    problems = [
        *_find_unexpected_scores(scores, MOUNTS if signs_in else frozenset()),
        *_find_missing_checks(checks),
    ]
    problems += [
        f"{check.status}: {check.name}: {check.message or 'no message'}"
        for check in checks
        if check.status != "passed"
        and not (signs_in and check.status == "skipped" and _MOUNT_CHECKS.fullmatch(check.name))
    ]
    return Verdict(scores, checks, problems)


def read_scores(text: str) -> Scores:
    """Read the tables of results.yaml; every line of `apis` and `data` has to be understood."""
    tables: dict[str, dict[str, str]] = {}
    version = section = ""
    for line in text.splitlines():
        if found := _SECTION.fullmatch(line):
            section = found[1]
            tables[section] = {}
        elif section in {"apis", "data"}:
            if not (found := _SCORE.fullmatch(line)) or found[1] in tables[section]:
                raise ResultsError(f"results.yaml: not a score: {line!r}")
            tables[section][found[1]] = found[2]
        elif section == "config" and (found := _VERSION.fullmatch(line)):
            version = found[1]
    if not version or not tables.get("apis") or not tables.get("data"):
        raise ResultsError("results.yaml: no config version, apis or data in it")
    return Scores(version, tables["apis"], tables["data"])


def read_checks(text: str) -> list[Check]:
    """Read every check of junit.xml, in order."""
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise ResultsError(f"junit.xml: {error}") from error
    return [
        Check(
            name=case.get("name", "").removeprefix(SUITE),
            status=case.get("status", "error"),
            message=(case.findtext("system-out") or "").replace("\n", "; "),
        )
        for case in root.iter("testcase")
    ]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ResultsError(f"the suite left no readable {path.name}: {error}") from error


def _find_unexpected_scores(scores: Scores, may_skip: frozenset[str]) -> list[str]:
    problems = []
    if scores.version != SPEC_VERSION:
        problems.append(f"the suite ran version {scores.version!r}, not {SPEC_VERSION!r}")
    for kind, known, table in (("API", APIS, scores.apis), ("data set", DATA_SETS, scores.data)):
        problems += [f"{kind} {name!r} was not scored" for name in sorted(known - table.keys())]
        for name, score in table.items():
            if name not in known:
                problems.append(f"{kind} {name!r} is new to the gate")
            is_skipped = score == "Skip" and name in may_skip
            if not is_skipped and score != ("Disabled" if name in DISABLED_DATA else "Pass"):
                problems.append(f"{kind} {name!r}: {score}")
    return problems


def _find_missing_checks(checks: list[Check]) -> list[str]:
    problems = []
    if len(checks) < CHECKS_MIN:
        problems.append(f"{len(checks)} checks in junit.xml; a whole run has {CHECKS_MIN} or more")
    for algorithm in ALGORITHMS:
        count = sum(check.name.startswith(f"{algorithm} blobs/") for check in checks)
        if count < CHECKS_PER_ALGORITHM_MIN:
            problems.append(f"{count} checks of {algorithm} blobs, not {CHECKS_PER_ALGORITHM_MIN} or more")
    return problems
