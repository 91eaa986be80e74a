"""Debian's Docker: push, pull, delete, mount, and what the server logs of it."""

import json
import re

from tests.acceptance.registry import DOCKER_MANIFEST, Registry, read_moved_bytes
from tests.acceptance.sandbox import Dockerd
from tests.servers import ServerProcess


def test_an_image_is_pushed_listed_and_deleted_by_its_digest(
    dockerd: Dockerd, registry: Registry, image: str, next_image: str
) -> None:
    for tag, source in (("v1", image), ("latest", image), ("v2", next_image)):
        dockerd("image", "tag", source, registry.name("gallery/ui", tag))
        dockerd("image", "push", registry.name("gallery/ui", tag))

    listed = registry.curl("/v2/gallery/ui/tags/list")
    assert (listed.status, listed.json) == (200, {"name": "gallery/ui", "tags": ["latest", "v1", "v2"]})

    headers = ("--head", "--header", f"Accept: {DOCKER_MANIFEST}")
    latest = registry.curl("/v2/gallery/ui/manifests/latest", *headers)
    assert latest.status == 200
    assert latest.headers["content-type"] == DOCKER_MANIFEST
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", latest.headers["docker-content-digest"])
    assert int(latest.headers["content-length"]) > 0

    assert registry.delete("gallery/ui", latest.headers["docker-content-digest"]) == 202
    listed = registry.curl("/v2/gallery/ui/tags/list")
    assert (listed.status, listed.json) == (200, {"name": "gallery/ui", "tags": ["v2"]})

    assert registry.delete("gallery/ui", registry.get_digest("gallery/ui", "v2")) == 202
    listed = registry.curl("/v2/gallery/ui/tags/list")
    assert (listed.status, listed.json) == (200, {"name": "gallery/ui", "tags": []})


def test_a_pulled_image_is_the_one_that_was_pushed(
    dockerd: Dockerd, registry: Registry, repository: str, layers: list[bytes]
) -> None:
    name = dockerd.load(registry.name(repository, "v1"), layers)
    image_id = dockerd.get_id(name)
    digest = dockerd.push(name)
    dockerd("image", "rm", name)

    printed = dockerd("image", "pull", name)

    assert printed.count("Pull complete") == 3
    assert f"Digest: {digest}" in printed
    assert dockerd.get_id(name) == image_id
    assert registry.get_manifest(repository, digest)["config"]["digest"] == image_id


def test_an_image_is_pulled_by_digest(
    dockerd: Dockerd, registry: Registry, repository: str, layers: list[bytes]
) -> None:
    name = dockerd.load(registry.name(repository, "v1"), layers)
    image_id = dockerd.get_id(name)
    pinned = registry.name(repository, dockerd.push(name))
    dockerd("image", "rm", name)

    printed = dockerd("image", "pull", pinned)

    assert printed.count("Pull complete") == 3
    assert dockerd.get_id(pinned) == image_id


def test_a_second_push_uploads_nothing(
    dockerd: Dockerd, registry: Registry, moorage: ServerProcess, repository: str, image: str
) -> None:
    first, second = registry.name(repository, "v1"), registry.name(repository, "v2")
    for name in (first, second):
        dockerd("image", "tag", image, name)
    digest = dockerd.push(first)

    printed = dockerd("image", "push", second)

    assert printed.count("Layer already exists") == 3
    assert f"v2: digest: {digest} " in printed
    sizes = registry.get_sizes(repository, digest)
    assert read_moved_bytes(moorage, repository, "v2") == (0, 0, sizes.total)


def test_a_first_push_is_logged_with_the_bytes_it_brought(
    dockerd: Dockerd, registry: Registry, moorage: ServerProcess, repository: str, layers: list[bytes]
) -> None:
    name = dockerd.load(registry.name(repository, "v1"), layers)

    digest = dockerd.push(name)

    sizes = registry.get_sizes(repository, digest)
    assert moorage.wait_for_event("image_pushed", repository=repository, tags=["v1"])["digest"] == digest
    assert read_moved_bytes(moorage, repository, "v1") == (sizes.total, 0, 0)


def test_layers_of_another_repository_are_mounted(
    dockerd: Dockerd, registry: Registry, moorage: ServerProcess, repository: str, image: str
) -> None:
    source, target = f"{repository}/source", f"{repository}/target"
    for name in (source, target):
        dockerd("image", "tag", image, registry.name(name, "v1"))
    dockerd.push(registry.name(source, "v1"))

    printed = dockerd("image", "push", registry.name(target, "v1"))

    assert printed.count("Mounted from ") == 3
    sizes = registry.get_sizes(target, "v1")
    assert read_moved_bytes(moorage, target, "v1") == (sizes.config, sizes.layers, 0)


def test_a_deleted_image_cannot_be_pulled_until_it_is_pushed_again(
    dockerd: Dockerd, registry: Registry, repository: str, image: str
) -> None:
    name = registry.name(repository, "v1")
    dockerd("image", "tag", image, name)
    digest = dockerd.push(name)
    assert registry.delete(repository, digest) == 202

    code, printed = dockerd.attempt("image", "pull", name)
    assert code != 0
    assert "manifest unknown" in printed or "not found" in printed

    assert dockerd.push(name) == digest
    dockerd("image", "pull", name)


def test_an_unknown_image_is_said_to_be_unknown(
    dockerd: Dockerd, registry: Registry, repository: str
) -> None:
    code, printed = dockerd.attempt("image", "pull", registry.name(repository, "v1"))

    assert code != 0
    assert "manifest unknown" in printed or "not found" in printed or "name unknown" in printed


def test_a_renamed_repository_is_pulled_by_its_old_name_and_pushed_to_anew(
    dockerd: Dockerd, registry: Registry, repository: str, layers: list[bytes]
) -> None:
    old, new = f"{repository}/old", f"{repository}/new"
    name = dockerd.load(registry.name(old, "v1"), layers)
    image_id, digest = dockerd.get_id(name), dockerd.push(name)
    renaming = ("--request", "PATCH", "--data", json.dumps({"name": new}))
    assert registry.curl(f"/api/v1/repositories/{old}", *renaming).status == 200
    dockerd("image", "rm", name)

    for each in (name, registry.name(old, digest), registry.name(new, "v1")):
        assert f"Digest: {digest}" in dockerd("image", "pull", each)
        assert dockerd.get_id(each) == image_id
        dockerd("image", "rm", each)

    dockerd("image", "pull", name)
    printed = dockerd("image", "push", name)
    assert f"v1: digest: {digest} " in printed
    assert "Layer already exists" not in printed
    assert registry.get_tags(old) == registry.get_tags(new) == ["v1"]
    assert registry.delete(new, digest) == 202
    dockerd("image", "rm", name)
    dockerd("image", "pull", name)
