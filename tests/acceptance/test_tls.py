"""Clients over TLS with nothing configured but the printed line; and what they have to refuse.

docker verifies no registry on 127.0.0.0/8, so these servers listen on ::1.
"""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from moorage.certificates import authority
from moorage.certificates.names import Names
from tests.acceptance.images import Layout, pack
from tests.acceptance.sandbox import Dockerd, Sandbox, require, require_root
from tests.servers import ServerProcess

HOST = "registry.internal"
OTHER_HOST = "other.internal"
"""The root may vouch for it; no certificate is issued for it."""
FOREIGN_HOST = "registry.example"
"""The root may not vouch for it."""


@pytest.fixture(scope="module")
def clients(sandbox: Sandbox) -> Sandbox:
    """In whose hosts file the names are; what they are let trust is for the ports of these tests only."""
    require("curl")
    require("skopeo")
    require_root()
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on loopback")
    return sandbox


@pytest.fixture(scope="module")
def server(workspace: Path) -> Iterator[ServerProcess]:
    with serving(workspace / "tls" / "data", {"MOORAGE_TLS_NAMES": HOST}) as server:
        yield server


@contextmanager
def serving(data: Path, env: dict[str, str], host: str = "::1") -> Iterator[ServerProcess]:
    text = env | {"MOORAGE_LOG_FORMAT": "text"}
    with ServerProcess(data, "--workers", "1", env=text, host=host, is_tls=True) as started:
        yield started


@pytest.fixture
def forged(server: ServerProcess, tmp_path: Path) -> Iterator[ServerProcess]:
    """Somebody has the root's key, and another registry's name."""
    with serving(tmp_path / "forged", forge(server, tmp_path, FOREIGN_HOST, HOST)) as forged:
        yield forged


def forge(server: ServerProcess, folder: Path, *names: str) -> dict[str, str]:
    """Issue a certificate by a server's root for any names; the settings to serve it."""
    root = authority.read((server.data_dir / "tls" / "authority.pem").read_bytes())
    path = folder / "forged.pem"
    path.write_bytes(root.issue(Names.of(names), datetime.now(UTC)))
    return {"MOORAGE_TLS_CERTIFICATE": str(path), "MOORAGE_TLS_KEY": str(path)}


def printed_line(server: ServerProcess, host: str) -> str:
    """The line for docker that the registry printed at its start, for another of its names."""
    (line,) = re.findall(r"^  (s=.*/etc/docker/certs\.d/.*)$", server.log_tail(), re.MULTILINE)
    return str(line).replace(server.address, f"{host}:{server.port}")


def trust(clients: Sandbox, server: ServerProcess, host: str, word: str) -> None:
    """Paste a line of /trust."""
    page = clients.run("curl", "-sSk", f"https://{host}:{server.port}/trust")
    line = page.partition(f"\n# {word}")[2].split("\n")[1]

    assert "NOT trusted" not in clients.run("sh", "-c", line)


def copy_root(clients: Sandbox, folder: str, source: ServerProcess, host: str, port: int) -> None:
    """Let clients trust a root for a registry, whoever it is of."""
    root = (source.data_dir / "tls" / "authority.pem").read_text()
    certificate = root[root.index("-----BEGIN CERTIFICATE") :]
    at = f"/etc/{folder}/certs.d/{host}:{port}"
    clients.run("sh", "-c", f"mkdir -p '{at}' && printf '%s' '{certificate}' > '{at}/ca.crt'")


def test_docker_pushes_and_pulls_after_the_printed_line(
    dockerd: Dockerd, clients: Sandbox, server: ServerProcess, image: str
) -> None:
    name = f"{HOST}:{server.port}/team/app:v1"
    dockerd("image", "tag", image, name)
    code, printed = dockerd.attempt("image", "push", name)
    assert code != 0
    assert "certificate signed by unknown authority" in printed

    assert clients.run("sh", "-c", printed_line(server, HOST)) == "trusted\n"

    digest = dockerd.push(name)
    image_id = dockerd.get_id(name)
    dockerd("image", "rm", name)
    dockerd("image", "pull", name)
    assert dockerd.get_id(name) == image_id
    assert digest.startswith("sha256:")


def test_docker_refuses_another_root(
    dockerd: Dockerd, clients: Sandbox, server: ServerProcess, image: str, tmp_path: Path
) -> None:
    with serving(tmp_path / "data", {"MOORAGE_TLS_NAMES": HOST}) as other:
        copy_root(clients, "docker", server, HOST, other.port)

        assert "certificate" in refusal_of_docker(dockerd, image, f"{HOST}:{other.port}")


def test_docker_refuses_a_name_that_the_certificate_is_not_for(
    dockerd: Dockerd, clients: Sandbox, server: ServerProcess, image: str
) -> None:
    copy_root(clients, "docker", server, OTHER_HOST, server.port)

    assert "certificate is valid for" in refusal_of_docker(dockerd, image, f"{OTHER_HOST}:{server.port}")


@pytest.mark.parametrize("host", [FOREIGN_HOST, HOST])
def test_docker_refuses_a_leaf_forged_by_the_roots_key(
    dockerd: Dockerd, clients: Sandbox, server: ServerProcess, forged: ServerProcess, image: str, host: str
) -> None:
    copy_root(clients, "docker", server, host, forged.port)

    assert "not permitted" in refusal_of_docker(dockerd, image, f"{host}:{forged.port}")


def refusal_of_docker(dockerd: Dockerd, image: str, address: str) -> str:
    name = f"{address}/team/app:v1"
    dockerd("image", "tag", image, name)
    code, printed = dockerd.attempt("image", "push", name)
    assert code != 0
    assert "x509" in printed
    return printed


def push_by_skopeo(clients: Sandbox, folder: Path, address: str) -> tuple[int, str]:
    layout = Layout(folder)
    layout.add_image([pack({"etc/motd": b"hello\n"})], tag="v1")
    command = (
        "skopeo",
        "--insecure-policy",
        "copy",
        f"oci:{folder}:v1",
        f"docker://{address}/team/skopeo:v1",
    )
    return clients.attempt(*command)


def test_skopeo_and_podman_are_let_trust_by_their_line(
    clients: Sandbox, server: ServerProcess, tmp_path: Path
) -> None:
    require("podman")
    address = f"{HOST}:{server.port}"
    # skopeo looks at what docker is let trust too
    clients.run("rm", "-rf", f"/etc/docker/certs.d/{address}")
    code, printed = push_by_skopeo(clients, tmp_path / "before", address)
    assert code != 0
    assert "unknown authority" in printed

    trust(clients, server, HOST, "podman, skopeo, buildah")

    code, printed = push_by_skopeo(clients, tmp_path / "after", address)
    assert code == 0, printed
    store = ("--root", tmp_path / "root", "--runroot", "/run/podman-tls", "--storage-driver", "vfs")
    options = ("--cgroup-manager", "cgroupfs", "--events-backend", "none")
    clients.run("podman", *store, *options, "image", "pull", f"{address}/team/skopeo:v1")


def test_skopeo_is_let_trust_an_address_and_refuses_one_forged_by_the_roots_key(
    clients: Sandbox, tmp_path: Path
) -> None:
    """It verifies on 127.0.0.1 too."""
    with serving(tmp_path / "data", {}, "127.0.0.1") as server:
        copy_root(clients, "containers", server, "127.0.0.1", server.port)
        code, printed = push_by_skopeo(clients, tmp_path / "good", server.address)
        assert code == 0, printed

        paths = forge(server, tmp_path, "127.0.0.1", "8.8.8.8")
        with serving(tmp_path / "forged", paths, "127.0.0.1") as forged:
            copy_root(clients, "containers", server, "127.0.0.1", forged.port)
            code, printed = push_by_skopeo(clients, tmp_path / "bad", forged.address)
            assert code != 0
            assert "not permitted" in printed


@pytest.mark.parametrize("host", [FOREIGN_HOST, HOST])
def test_skopeo_refuses_a_leaf_forged_by_the_roots_key(
    clients: Sandbox, server: ServerProcess, forged: ServerProcess, tmp_path: Path, host: str
) -> None:
    copy_root(clients, "containers", server, host, forged.port)

    code, printed = push_by_skopeo(clients, tmp_path / "layout", f"{host}:{forged.port}")

    assert code != 0
    assert "not permitted" in printed


def test_system_store_is_let_trust_by_its_line_and_openssl_keeps_to_the_constraints(
    clients: Sandbox, server: ServerProcess, forged: ServerProcess
) -> None:
    trust(clients, server, HOST, "Debian, Ubuntu, Alpine")

    clients.run("curl", "-sS", f"https://{HOST}:{server.port}/v2/")
    clients.run("curl", "-sS", f"https://[::1]:{server.port}/v2/")
    for host, of in ((OTHER_HOST, server), (HOST, forged), (FOREIGN_HOST, forged)):
        code, printed = clients.attempt("curl", "-sS", f"https://{host}:{of.port}/v2/")
        assert code == 60, printed
