"""Copies between real registries: byte for byte, with what refers to the images, and nothing sent twice."""

import http.client
import json
import ssl
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bench.servers import DockerRegistry
from tests.acceptance.images import INDEX, MANIFEST, Layout
from tests.acceptance.sandbox import Sandbox, require
from tests.access.people import PASSWORD, basic
from tests.copies.conftest import Guarded, Home
from tests.copies.content import ARTIFACT, add_multi, cosign, read_blobs, read_names, referrer, some_layers
from tests.servers import ServerProcess

Parts = dict[str, dict[str, Any]]
SignIn = Callable[[str], None]


def at(server: ServerProcess | DockerRegistry) -> str:
    return f"127.0.0.1:{server.port if isinstance(server, ServerProcess) else server.address.port}"


class Asked:
    """What a registry answers, byte for byte."""

    def __init__(
        self, address: str, authority: Path | None = None, headers: dict[str, str] | None = None
    ) -> None:
        self._headers = headers or {}
        if authority is None:
            self._connection = http.client.HTTPConnection(address, timeout=30)
        else:
            context = ssl.create_default_context(cafile=str(authority))
            self._connection = http.client.HTTPSConnection(address, timeout=30, context=context)

    def get(self, target: str) -> tuple[int, bytes]:
        self._connection.request("GET", target, headers={"Accept": f"{INDEX}, {MANIFEST}", **self._headers})
        reply = self._connection.getresponse()
        return reply.status, reply.read()

    def close(self) -> None:
        self._connection.close()

    def check_has(self, repository: str, layout: Layout, tags: dict[str, str]) -> None:
        """All that a layout holds, by digest; and these tags."""
        manifests = {
            digest for digest, content in layout.read_blobs().items() if b'"schemaVersion"' in content[:40]
        }
        for digest, content in layout.read_blobs().items():
            kind = "manifests" if digest in manifests else "blobs"
            assert self.get(f"/v2/{repository}/{kind}/{digest}") == (200, content)
        for tag, digest in tags.items():
            assert self.get(f"/v2/{repository}/manifests/{tag}") == (200, layout.read_blobs()[digest])

    def referrers(self, repository: str, subject: str) -> set[str]:
        status, listed = self.get(f"/v2/{repository}/referrers/{subject}")
        if status == 404:
            status, listed = self.get(f"/v2/{repository}/manifests/{subject.replace(':', '-')}")
        assert status in {200, 404}
        return {each["digest"] for each in json.loads(listed).get("manifests", [])}


def basic_of(name: str) -> dict[str, str]:
    return dict(basic(name))


def test_an_image_with_all_that_refers_to_it_goes_round_byte_for_byte(
    home: Home,
    docker_registry: DockerRegistry,
    plain: ServerProcess,
    guarded: Guarded,
    sign_in: SignIn,
    layout: Layout,
    multi: Parts,
    tmp_path: Path,
) -> None:
    """Layout, docker-registry, Moorage, Moorage with accounts and TLS, and back another way."""
    sign_in("writer")
    trust = ("--ca", guarded.authority)
    repository = "team/round"
    stops = [
        f"oci:{layout.folder}:1.0",
        f"{at(docker_registry)}/{repository}:1.0",
        f"{at(plain)}/{repository}:1.0",
        f"{guarded.server.address}/{repository}:1.0",
        f"{at(plain)}/{repository}/again",
        f"{at(docker_registry)}/{repository}/again",
        f"oci:{tmp_path / 'back'}",
    ]
    for source, target in pairwise(stops):
        target_tagged = f"{target}:1.0" if target.endswith("again") else target
        source_tagged = f"{source}:1.0" if source.endswith("again") else source
        said = home.run("copy", source_tagged, target_tagged, "--referrers", *trust, "--json").json()
        assert said["images"][0]["digest"] == multi["index"]["digest"]
        assert (said["manifests_sent"], said["referrers"]) == (8, 5), target

    names = read_names(layout.folder)
    assert read_names(tmp_path / "back") == names
    ours = layout.read_blobs()
    assert read_blobs(tmp_path / "back") == ours
    for address, name, authority, headers in (
        (at(docker_registry), repository, None, None),
        (at(docker_registry), f"{repository}/again", None, None),
        (at(plain), f"{repository}/again", None, None),
        (at(plain), repository, None, None),
        (guarded.server.address, repository, guarded.authority, basic_of("writer")),
    ):
        asked = Asked(address, authority, headers)
        asked.check_has(name, layout, names)
        for subject, found in (("index", "sbom"), ("arm", "sbom of arm"), ("sbom", "signature of sbom")):
            assert asked.referrers(name, multi[subject]["digest"]) == {multi[found]["digest"]}
        asked.close()


def test_skopeo_reads_what_was_copied(
    home: Home, plain: ServerProcess, layout: Layout, multi: Parts, tmp_path: Path
) -> None:
    require("skopeo")
    name = f"{at(plain)}/team/skopeo:1.0"
    home.run("copy", f"oci:{layout.folder}:1.0", name).check()
    home.run("pull", name, tmp_path / "pulled").check()
    home.run(
        "pull",
        name,
        f"{tmp_path / 'saved.tar'}:team/app:x",
        "--format",
        "docker",
        "--platform",
        "linux/amd64",
    ).check()
    with Sandbox(tmp_path / "clients") as sandbox:
        inspect = ("skopeo", "inspect", "--raw", "--tls-verify=false")
        printed = [
            sandbox.run(*inspect, place) for place in (f"docker://{name}", f"oci:{tmp_path / 'pulled'}:1.0")
        ]
        config = sandbox.run("skopeo", "inspect", "--config", f"docker-archive:{tmp_path / 'saved.tar'}")

    index = layout.read_blobs()[multi["index"]["digest"]]
    assert [each.strip().encode() for each in printed] == [index, index]
    assert json.loads(config)["architecture"] == "amd64"


def test_nothing_is_sent_twice(home: Home, plain: ServerProcess, layout: Layout, multi: Parts) -> None:
    """Neither an image that is there, nor a layer of another one."""
    name = f"{at(plain)}/team/twice"
    home.run("copy", f"oci:{layout.folder}:1.0", name).check()
    shared = layout.read_manifest(multi["amd"]["digest"])["layers"]
    layers = some_layers(1)
    digest = layout.add_image(layers, tag="2.0")["digest"]
    manifest = layout.read_manifest(digest) | {"layers": [*shared, *layout.read_manifest(digest)["layers"]]}
    layout._tag(layout.add_blob(json.dumps(manifest).encode(), MANIFEST), "3.0")

    again = home.run("copy", f"oci:{layout.folder}:1.0", name, "--json").json()
    more = home.run("copy", f"oci:{layout.folder}:3.0", name, "--json").json()

    assert (again["bytes_sent"], again["manifests_sent"], again["manifests_there"]) == (0, 0, 3)
    assert more["bytes_skipped"] == sum(layer["size"] for layer in shared)
    assert more["bytes_sent"] == manifest["layers"][-1]["size"] + manifest["config"]["size"]


@pytest.mark.parametrize("registry", ["docker_registry", "plain"])
def test_layers_of_another_repository_are_mounted(
    home: Home, registry: str, layout: Layout, multi: Parts, request: pytest.FixtureRequest
) -> None:
    address = at(request.getfixturevalue(registry))
    home.run("copy", f"oci:{layout.folder}:1.0", f"{address}/team/origin").check()

    said = home.run("copy", f"{address}/team/origin:1.0", f"{address}/team/mounted", "--json").json()

    assert (said["bytes_sent"], said["blobs_mounted"]) == (0, 5)
    asked = Asked(address)
    status, payload = asked.get("/v2/team/mounted/manifests/1.0")
    assert (status, payload) == (200, layout.read_blobs()[multi["index"]["digest"]])
    asked.close()


def test_a_repository_goes_by_a_pattern_of_its_tags(
    home: Home, docker_registry: DockerRegistry, plain: ServerProcess, layout: Layout
) -> None:
    for tag in ("1.0", "1.1", "2.0"):
        layout.add_image(some_layers(1, 1000), tag=tag)
    old, new = f"{at(docker_registry)}/team/tags", f"{at(plain)}/team/tags"
    home.run("copy", f"oci:{layout.folder}:*", old).check()

    said = home.run("copy", f"{old}:1.*", new, "--json").json()

    assert [image["tag"] for image in said["images"]] == ["1.0", "1.1"]
    assert "with a pattern of tags say none" in home.run("copy", f"{old}:*", f"{new}:1").refusal
    asked = Asked(at(plain))
    assert json.loads(asked.get("/v2/team/tags/tags/list")[1])["tags"] == ["1.0", "1.1"]
    asked.close()


def test_referrers_are_added_to_those_that_a_tag_lists(
    home: Home, docker_registry: DockerRegistry, layout: Layout
) -> None:
    """A registry without the API: what was listed there before stays listed."""
    image = layout.add_image(some_layers(1, 1000), tag="1.0")
    first = referrer(layout, image, "first")
    name = f"{at(docker_registry)}/team/listed"
    home.run("copy", f"oci:{layout.folder}:1.0", name, "--referrers").check()
    other = Layout(layout.folder.with_name("other"))
    for digest, content in layout.read_blobs().items():
        if digest != first["digest"]:
            (other.folder / "blobs" / "sha256" / digest.removeprefix("sha256:")).write_bytes(content)
    other._tag(image, "1.0")
    second = referrer(other, image, "second")

    home.run("copy", f"oci:{other.folder}:1.0", name, "--referrers").check()

    asked = Asked(at(docker_registry))
    assert asked.referrers("team/listed", image["digest"]) == {first["digest"], second["digest"]}
    _, listed = asked.get(f"/v2/team/listed/manifests/{image['digest'].replace(':', '-')}")
    assert {each["artifactType"] for each in json.loads(listed)["manifests"]} == {ARTIFACT}
    asked.close()


def test_what_cosign_put_beside_an_image_keeps_its_tag(
    home: Home, docker_registry: DockerRegistry, plain: ServerProcess, layout: Layout
) -> None:
    image = layout.add_image(some_layers(1, 1000), tag="1.0")
    beside = {ending: cosign(layout, image, ending)["digest"] for ending in (".sig", ".att", ".sbom")}
    old, new = f"{at(docker_registry)}/team/cosign", f"{at(plain)}/team/cosign"
    home.run("copy", f"oci:{layout.folder}:1.0", old, "--referrers").check()
    home.run("copy", f"{old}:1.0", new, "--referrers").check()

    asked = Asked(at(plain))
    for ending, digest in beside.items():
        status, payload = asked.get(f"/v2/team/cosign/manifests/{image['digest'].replace(':', '-')}{ending}")
        assert (status, payload) == (200, layout.read_blobs()[digest])
    asked.close()


def test_who_may_not_push_is_told_so(
    home: Home, plain: ServerProcess, guarded: Guarded, sign_in: SignIn, layout: Layout
) -> None:
    layout.add_image(some_layers(1, 1000), tag="1.0")
    target = f"{guarded.server.address}/team/guarded:1.0"
    trust = ("--ca", guarded.authority)

    anonymous = home.run("push", layout.folder, target, *trust).refusal
    sign_in("reader")
    reader = home.run("push", layout.folder, target, *trust).refusal
    sign_in("writer")
    home.run("push", layout.folder, target, *trust).check()
    elsewhere = home.run("push", layout.folder, f"{guarded.server.address}/other/app:1.0", *trust).refusal

    assert f"moorage login {guarded.server.address}" in anonymous
    assert "It was asked as reader, who may need to be granted it" in reader
    assert "It was asked as writer" in elsewhere
    assert PASSWORD not in anonymous + reader + elsewhere
    sign_in("reader")
    home.run("pull", target, layout.folder.with_name("pulled"), *trust).check()


def test_a_certificate_that_nobody_vouches_for_is_told_with_what_to_do(
    home: Home, guarded: Guarded, layout: Layout
) -> None:
    """And docker's and podman's folders of roots count."""
    layout.add_image(some_layers(1, 1000), tag="1.0")
    target = f"{guarded.server.address}/team/trusted:1.0"

    refusal = home.run("push", layout.folder, target).refusal
    folder = home.folder / "config" / "containers" / "certs.d" / guarded.server.address
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_bytes(guarded.authority.read_bytes())
    trusted = home.run("push", layout.folder, target).refusal

    assert "is not trusted" in refusal
    assert f"moorage trust {guarded.server.address}" in refusal
    assert f"moorage login {guarded.server.address}" in trusted
    broken = home.folder / "broken.pem"
    broken.write_text("nothing")
    assert "holds no certificate" in home.run("push", layout.folder, target, "--ca", broken).refusal


def test_a_push_and_a_pull_are_copies(
    home: Home, plain: ServerProcess, layout: Layout, tmp_path: Path
) -> None:
    parts = add_multi(layout, "2.0")
    name = f"{at(plain)}/team/thin"
    home.run("push", layout.folder, name, "--referrers").check()
    home.run("pull", f"{name}:2.0", tmp_path / "out.tar").check()
    home.run("push", f"{tmp_path / 'out.tar'}", f"{name}:again").check()
    home.run("pull", f"{name}@{parts['arm']['digest']}", f"{tmp_path / 'folder'}:arm").check()

    said = home.run("pull", f"{name}:again", tmp_path / "folder", "--json").json()

    assert said["images"][0]["digest"] == parts["index"]["digest"]
    assert read_names(tmp_path / "folder") == {
        "arm": parts["arm"]["digest"],
        "again": parts["index"]["digest"],
    }
    assert "there is no" in home.run("pull", f"{name}:missing", tmp_path / "folder").refusal
    assert "a pull comes from a registry" in home.run("pull", "oci:x", tmp_path / "folder").refusal
    assert "a push goes to a registry" in home.run("push", layout.folder, "oci:x").refusal
