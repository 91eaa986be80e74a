"""The server is killed in the middle of a push: clients finish it once the server is back."""

import hashlib
import http.client
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.images import MIB, Layout, pack_layers
from tests.acceptance.registry import Registry
from tests.acceptance.relay import Relay
from tests.acceptance.sandbox import Dockerd, Sandbox, require
from tests.servers import ServerProcess

ATTEMPTS = 3


def test_docker_finishes_a_push_during_which_the_server_was_killed(
    dockerd: Dockerd, sandbox: Sandbox, own_moorage: ServerProcess, layers: list[bytes]
) -> None:
    with Relay(own_moorage.port, 4 * MIB, lambda: revive(own_moorage)) as relay:
        registry = Registry(sandbox, relay.port)
        name = dockerd.load(registry.name("team/app", "v1"), layers)
        image_id = dockerd.get_id(name)

        push_until_done(relay, lambda: dockerd.attempt("image", "push", name))

        dockerd("image", "rm", name)
        assert dockerd("image", "pull", name).count("Pull complete") == 3
        assert dockerd.get_id(name) == image_id


def test_skopeo_finishes_a_push_during_which_the_server_was_killed(
    sandbox: Sandbox, own_moorage: ServerProcess, layout: Layout, layers: list[bytes], tmp_path: Path
) -> None:
    require("skopeo")
    digest = layout.add_image(layers, tag="v1")["digest"]
    with Relay(own_moorage.port, 4 * MIB, lambda: revive(own_moorage)) as relay:
        registry = Registry(sandbox, relay.port)
        name = f"docker://{registry.name('team/app', 'v1')}"
        copy = ("skopeo", "--insecure-policy", "copy")

        push_until_done(
            relay, lambda: sandbox.attempt(*copy, "--dest-tls-verify=false", f"oci:{layout.folder}:v1", name)
        )

        assert registry.get_digest("team/app", "v1") == digest
        back = Layout(tmp_path / "back")
        sandbox.run(*copy, "--src-tls-verify=false", name, f"oci:{back.folder}:v1")
        assert back.read_blobs() == layout.read_blobs()


def test_an_image_pushed_before_the_server_was_killed_is_whole(
    sandbox: Sandbox, own_moorage: ServerProcess, layout: Layout, layers: list[bytes], tmp_path: Path
) -> None:
    require("skopeo")
    layout.add_image(layers, tag="v1")
    name = f"docker://{Registry(sandbox, own_moorage.port).name('team/app', 'v1')}"
    copy = ("skopeo", "--insecure-policy", "copy")
    sandbox.run(*copy, "--dest-tls-verify=false", f"oci:{layout.folder}:v1", name)

    revive(own_moorage)

    back = Layout(tmp_path / "back")
    sandbox.run(*copy, "--src-tls-verify=false", name, f"oci:{back.folder}:v1")
    assert back.read_blobs() == layout.read_blobs()


@pytest.mark.parametrize("way", ["killed", "restarted"])
def test_an_upload_goes_on_where_it_stood_when_the_server_was(way: str, own_moorage: ServerProcess) -> None:
    blob = pack_layers(way)[0]
    middle = len(blob) // 2
    digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
    _, started = ask(own_moorage, "POST", "/v2/team/app/blobs/uploads/", b"")
    status, patched = ask(own_moorage, "PATCH", started["Location"], blob[:middle])
    assert status == 202

    if way == "killed":
        revive(own_moorage)
    else:
        own_moorage.restart()

    status, standing = ask(own_moorage, "GET", patched["Location"])
    assert (status, standing["Range"]) == (204, f"0-{middle - 1}")
    span = {"Content-Range": f"{middle}-{len(blob) - 1}"}
    status, patched = ask(own_moorage, "PATCH", standing["Location"], blob[middle:], span)
    assert (status, patched["Range"]) == (202, f"0-{len(blob) - 1}")
    joint = "&" if "?" in patched["Location"] else "?"
    status, _ = ask(own_moorage, "PUT", f"{patched['Location']}{joint}digest={digest}", b"")
    assert status == 201
    status, held = ask(own_moorage, "HEAD", f"/v2/team/app/blobs/{digest}")
    assert (status, held["Content-Length"]) == (200, str(len(blob)))


def push_until_done(relay: Relay, push: Callable[[], tuple[int, str]]) -> None:
    """Push, and push again if the client gives up, until it ends well."""
    printed = ""
    for _ in range(ATTEMPTS):
        code, printed = push()
        assert relay.has_acted, "the server was not killed during the push"
        if code == 0:
            return
    pytest.fail(f"no push of {ATTEMPTS} succeeded; the last printed:\n{printed}", pytrace=False)


def revive(server: ServerProcess) -> None:
    """Kill the server and start it again."""
    server.kill()
    server.start()


def ask(
    server: ServerProcess,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, http.client.HTTPMessage]:
    """Send one request; return the reply's status and headers."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        reply = connection.getresponse()
        reply.read()
        return reply.status, reply.headers
    finally:
        connection.close()
