import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage.web.trust import fingerprint
from tests.servers import ServerProcess, find_free_port


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("trust") / "data", "--workers", "1", is_tls=True) as server:
        yield server


@pytest.fixture
def root(server: ServerProcess) -> str:
    """The root as PEM."""
    text = (server.data_dir / "tls" / "authority.pem").read_text()
    return text[text.index("-----BEGIN CERTIFICATE") :]


def trust(*arguments: str | Path, said: str = "") -> tuple[int, str, str]:
    command = [sys.executable, "-m", "moorage", "trust", *map(str, arguments)]
    ended = subprocess.run(command, input=said, capture_output=True, text=True, timeout=60, check=False)
    return ended.returncode, ended.stdout, ended.stderr


def files(folder: Path) -> dict[str, str]:
    return {str(each.relative_to(folder)): each.read_text() for each in folder.rglob("*") if each.is_file()}


ALL = ("--for", "docker", "--for", "containerd", "--for", "podman")


def test_right_fingerprint_installs_for_all_that_were_named_without_a_question(
    server: ServerProcess, root: str, tmp_path: Path
) -> None:
    expected = fingerprint(ssl.PEM_cert_to_DER_cert(root))

    code, out, err = trust(server.address, "--fingerprint", expected, "--root", tmp_path, *ALL)

    assert (code, err) == (0, "")
    assert expected in out
    written = files(tmp_path)
    at = server.address
    assert {path for path, text in written.items() if text == root} == {
        f"etc/docker/certs.d/{at}/ca.crt",
        f"etc/containerd/certs.d/{at}/ca.crt",
        f"etc/containers/certs.d/{at}/ca.crt",
    }
    assert f'[host."https://{at}"]' in written[f"etc/containerd/certs.d/{at}/hosts.toml"]
    assert len(written) == 4


@pytest.mark.parametrize("expected", ["00", "AB:" * 31 + "AB", ""])
def test_other_fingerprint_is_refused_and_nothing_is_written(
    server: ServerProcess, tmp_path: Path, expected: str
) -> None:
    code, _, err = trust(server.address, "--fingerprint", expected, "--root", tmp_path, *ALL)

    assert code == 1
    assert "somebody may be in between" in err
    assert files(tmp_path) == {}


@pytest.mark.parametrize(("said", "count"), [("y\n", 1), ("n\n", 0), ("\n", 0), ("", 0)])
def test_person_is_asked_and_only_a_yes_installs(
    server: ServerProcess, tmp_path: Path, said: str, count: int
) -> None:
    code, out, _ = trust(server.address, "--root", tmp_path, "--for", "docker", said=said)

    assert code == (0 if count else 1)
    assert "Is it the same?" in out
    assert len(files(tmp_path)) == count


def test_clients_are_found_below_another_root(server: ServerProcess, tmp_path: Path) -> None:
    (tmp_path / "etc" / "containers").mkdir(parents=True)

    trust(server.address, "--root", tmp_path, said="y\n")

    assert list(files(tmp_path)) == [f"etc/containers/certs.d/{server.address}/ca.crt"]


def test_what_may_not_be_written_is_said_with_the_line_to_paste(
    server: ServerProcess, tmp_path: Path
) -> None:
    blocked = tmp_path / "etc"
    blocked.write_text("no folder")

    code, _, err = trust(server.address, "--root", tmp_path, "--for", "docker", said="y\n")

    assert code == 1
    assert "could not let docker trust it" in err


@pytest.mark.parametrize("address", ["a b", "https://localhost:5000", "$(id)", ""])
def test_what_is_no_address_is_refused(address: str) -> None:
    code, _, err = trust(address)

    assert code == 1
    assert "is not HOST:PORT" in err


def test_nobody_there_and_no_tls_are_told_in_a_sentence(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", "--workers", "1") as plain:
        for address, said in (
            (plain.address, "does not speak TLS"),
            (f"127.0.0.1:{find_free_port()}", "does not answer"),
        ):
            code, _, err = trust(address)
            assert code == 1
            assert said in err
            assert "Traceback" not in err
