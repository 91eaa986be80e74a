"""Tags that stay and tags that come back, as docker and skopeo see them, and the command line."""

import time
from datetime import UTC, datetime
from pathlib import Path

from tests.acceptance.images import Layout
from tests.acceptance.registry import Registry
from tests.acceptance.sandbox import Dockerd, Sandbox, require
from tests.cli.commands import moorage as command
from tests.servers import ServerProcess


def test_b70_docker_prints_which_rule_fixes_the_tag(
    dockerd: Dockerd,
    registry: Registry,
    moorage: ServerProcess,
    repository: str,
    image: str,
    next_image: str,
) -> None:
    local = ("--data", moorage.data_dir)
    rule = command("immutable", "add", repository, "--preset", "versions", "--json", *local).json()
    fixed, moving = registry.name(repository, "1.0.0"), registry.name(repository, "1.0")
    for name in (fixed, moving):
        dockerd("image", "tag", image, name)
        dockerd("image", "push", name)
    digest = registry.get_digest(repository, "1.0.0")

    for name in (fixed, moving):
        dockerd("image", "tag", next_image, name)
    began = time.monotonic()
    code, printed = dockerd.attempt("image", "push", fixed)
    took_s = time.monotonic() - began
    dockerd("image", "push", moving)

    assert code != 0
    assert printed.splitlines()[-1] == (
        f"denied: the tag is fixed: {repository}:1.0.0 cannot be moved:"
        f" rule {rule['id']} (preset versions in {repository})"
    )
    # docker takes it as final
    assert took_s < 5
    assert registry.get_digest(repository, "1.0.0") == digest
    assert registry.get_digest(repository, "1.0") != digest
    assert registry.delete(repository, digest) == 409
    dockerd("image", "tag", image, fixed)
    dockerd("image", "push", fixed)


def test_overwritten_tag_is_found_in_its_history_and_put_back(
    sandbox: Sandbox,
    registry: Registry,
    moorage: ServerProcess,
    repository: str,
    layout: Layout,
    layers: list[bytes],
    tmp_path: Path,
) -> None:
    require("skopeo")
    local = ("--data", moorage.data_dir)
    good = layout.add_image(layers, tag="good")["digest"]
    bad = layout.add_image(layers[:1], tag="bad")["digest"]
    name = f"{repository}:latest"

    def skopeo(*arguments: object) -> None:
        sandbox.run("skopeo", "--insecure-policy", "copy", *map(str, arguments))

    def push(tag: str) -> None:
        source = f"oci:{layout.folder}:{tag}"
        skopeo("--dest-tls-verify=false", source, f"docker://{registry.name(repository, 'latest')}")

    push("good")
    before_the_mistake = datetime.now(UTC).isoformat()
    time.sleep(0.01)
    push("bad")

    history = command("tags", "history", name, "--json", *local).json()
    assert [(each["from_digest"], each["to_digest"]) for each in history] == [(good, bad), (None, good)]
    said = command("tags", "restore", name, "--at", before_the_mistake, *local).check().out
    assert said == f"{name} points to {good}.\n"
    source = f"docker://{registry.name(repository, 'latest')}"
    skopeo("--src-tls-verify=false", source, f"oci:{tmp_path / 'pulled'}:latest")
    pulled = {each.name for each in (tmp_path / "pulled" / "blobs" / "sha256").iterdir()}
    assert good.removeprefix("sha256:") in pulled

    assert registry.delete(repository, good) == 202
    assert registry.get_tags(repository) == []
    said = command("tags", "restore", name, "--to", good, *local).check().out
    assert said == f"{name} points to {good}.\n"
    assert registry.get_digest(repository, "latest") == good
    listed = command("tags", "list", repository, "--json", *local).json()
    assert [(each["name"], each["digest"], each["platforms"]) for each in listed] == [
        ("latest", good, ["linux/amd64"])
    ]
