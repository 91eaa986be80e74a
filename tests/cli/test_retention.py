"""`moorage retention` and `moorage repository rename`, on the folder and over the network."""

import hashlib
import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commands import moorage
from tests.servers import ServerProcess

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def send(server: ServerProcess, method: str, path: str, body: bytes = b"") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request(method, path, body, {"Content-Type": MANIFEST})
    status = connection.getresponse().status
    connection.close()
    return status


def push(server: ServerProcess, name: str, tag: str, size: int = 100_000) -> None:
    """An image of one layer that no other has."""
    config, layer = b"{}", f"{name}:{tag}".encode().ljust(size)
    descriptors = []
    for blob in (config, layer):
        digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
        assert send(server, "POST", f"/v2/{name}/blobs/uploads/?digest={digest}", blob) == 201
        descriptors.append({"mediaType": "application/x", "digest": digest, "size": len(blob)})
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptors[0],
        "layers": descriptors[1:],
    }
    assert send(server, "PUT", f"/v2/{name}/manifests/{tag}", json.dumps(manifest).encode()) == 201


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "data", "--workers", "1") as server:
        for number in range(1, 6):
            push(server, "team/app", f"1.{number}")
        push(server, "team/app", "latest")
        yield server


def test_rule_is_made_planned_and_run_while_the_registry_serves(filled: ServerProcess) -> None:
    local = ("--data", filled.data_dir)
    added = moorage("retention", "add", "team/*", "*", "--newest", "2", "--by", "version", *local).check().out
    listed = moorage("retention", "list", *local).check().out
    planned = moorage("retention", "plan", "team/app", *local).check().out
    facts = moorage("retention", "plan", "--json", *local).json()
    unsure = moorage("retention", "run", "team/*", *local, stdin="n\n")
    ran = moorage("retention", "run", "team/*", "--yes", "--json", *local).json()

    assert added.startswith("Rule 1, in team/*: of * keep the newest 2 by version.\nIt takes nothing before ")
    assert "of * keep the newest 2 by version" in listed
    lines = [line.split() for line in planned.splitlines()]
    assert lines[0] == ["REPOSITORY", "TAG", "DECISION", "RULE", "WHY", "FREES"]
    assert [line[1:4] for line in lines[1:-1]] == [
        ["1.1", "remove", "1"],
        ["1.2", "remove", "1"],
        ["1.3", "remove", "1"],
        ["1.4", "keep", "1"],
        ["1.5", "keep", "1"],
        ["latest", "keep", "-"],
    ]
    assert planned.splitlines()[-1] == "3 of 6 tags would go, which frees 293.0 KiB."
    assert (facts["removes"], facts["frees_bytes"]) == (3, 300_000)
    assert (unsure.code, send(filled, "GET", "/v2/team/app/manifests/1.1")) == (1, 404)
    assert (ran["tags"], ran["manifests"], ran["frees_bytes"]) == (3, 3, 300_000)
    assert [send(filled, "GET", f"/v2/team/app/manifests/1.{each}") for each in (3, 4)] == [404, 200]
    moorage("retention", "remove", "1", *local).check()
    assert "no rules" in moorage("retention", "list", *local).check().out


def test_run_on_a_folder_that_no_one_serves_is_done_by_the_command(filled: ServerProcess) -> None:
    local = ("--data", filled.data_dir)
    moorage("retention", "add", "team/app", "1.*", "--newest", "1", "--pushed", "1h", *local).check()
    filled.terminate()

    kept = moorage("retention", "run", "--yes", *local).check().out

    assert kept.startswith("0 tags are gone, 0 manifests in the trash; 0 B ")


@pytest.mark.parametrize(
    "option",
    [(), ("--pushed", "soon"), ("--newest", "0"), ("--newest", "x"), ("--newest", "1", "--by", "versoin")],
)
def test_rule_that_cannot_be_read_is_a_wrong_command_line(folder: Path, option: tuple[str, ...]) -> None:
    ran = moorage("retention", "add", "team/*", "*", *option, "--data", folder)

    assert ran.code == 2


def test_renamed_repository_is_told_of(filled: ServerProcess) -> None:
    local = ("--data", filled.data_dir)
    said = moorage("repository", "rename", "team/app", "team/web", *local).check().out
    shown = moorage("repository", "show", "team/web", "--json", *local).json()

    assert said.startswith("The repository team/app is team/web now; until ")
    assert said.endswith("it can be pulled from by the old name too.\n")
    assert [each["name"] for each in shown["old_names"]] == ["team/app"]
    assert send(filled, "GET", "/v2/team/app/manifests/latest") == 200
    taken = moorage("repository", "rename", "team/none", "team/x", *local).refusal
    assert "not known" in taken
