"""The document says what the API does: as a schema, and as a program finds that reads it."""

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from moorage.api.manage.openapi import describe
from moorage.api.manage.table import TABLE
from tests.api.client import ADMIN, PASSWORD
from tests.servers import ServerProcess

DOCUMENT = json.loads(json.dumps(describe(TABLE)))


def test_document_is_openapi() -> None:
    assert [str(error) for error in OPENAPI_31_VALIDATOR.iter_errors(DOCUMENT)] == []


def test_document_has_every_operation_once() -> None:
    described = [
        (method.upper(), path, operation["operationId"])
        for path, operations in DOCUMENT["paths"].items()
        for method, operation in operations.items()
    ]

    assert len(described) == len({name for _, _, name in described}) == len(TABLE)
    assert {(method, path) for method, path, _ in described} == {
        (route.method, "/api/v1" + route.path.replace("...", "")) for route in TABLE
    }


def test_every_name_in_the_document_leads_somewhere() -> None:
    schemas = set(DOCUMENT["components"]["schemas"])
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(DOCUMENT)))

    assert named == schemas


def test_page_lists_every_operation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")
    listed = re.findall(r"^\| `([A-Z]+)` \| `([^`]+)` \|", page, re.MULTILINE)

    assert listed == [(route.method, route.path.replace("...", "")) for route in TABLE]


CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def test_program_that_reads_the_document_finds_no_fault(tmp_path: Path) -> None:
    """Schemathesis, as an administrator, on every operation: as described, and as it is not."""
    config = tmp_path / "moorage.toml"
    config.write_text('[log]\nformat = "json"\n')
    with ServerProcess(tmp_path / "data", "--workers", "1", "--config", str(config)) as server:
        first = json.dumps({"name": ADMIN, "password": PASSWORD}).encode()
        urllib.request.urlopen(f"{server.url}/api/v1/accounts", first, timeout=30).close()
        command = [
            str(Path(sys.executable).with_name("schemathesis")),
            *("run", f"{server.url}/api/v1/openapi.json", "--auth", f"{ADMIN}:{PASSWORD}"),
            *("--generation-deterministic", "--max-examples", "5", "--phases", "coverage,fuzzing"),
            *("--checks", CHECKS, "--no-color"),
        ]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)

        assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
        cases = re.search(r"([0-9]+) generated, ([0-9]+) passed", ran.stdout)
        assert cases is not None, ran.stdout[-2000:]
        assert int(cases[1]) == int(cases[2]) > 500
        assert [each for each in server.log_events() if each["level"] in {"error", "critical"}] == []
