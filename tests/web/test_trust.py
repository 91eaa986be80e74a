"""/trust and the lines on it, run as a person would paste them, against a registry with TLS."""

import re
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage.web.trust import Trust, TrustPages, fingerprint, is_address
from tests.faults.means import require
from tests.faults.test_certificates import Pair
from tests.servers import ServerProcess

ROOT = b"a root, as far as a page is concerned"
BROWSER = "text/html,application/xhtml+xml"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("trust") / "data", "--workers", "1", is_tls=True) as server:
        yield server


def curl(server: ServerProcess, path: str, *options: str) -> str:
    require("curl", "curl")
    command = ["curl", "-sSk", "--max-time", "10", *options, f"{server.url}{path}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_page_is_text_for_curl_and_html_for_a_browser(server: ServerProcess) -> None:
    text = curl(server, "/trust")
    page = curl(server, "/trust", "-i", "-H", f"Accept: {BROWSER}")

    assert "<" not in text.split("\n")[0]
    assert "<!doctype html>" in page
    assert "content-security-policy: default-src 'none'" in page
    found = fingerprint(ssl.PEM_cert_to_DER_cert(curl(server, "/trust/ca.crt")))
    assert found in text
    assert found in page


def test_line_for_curl_fetches_the_root_and_it_is_trusted(server: ServerProcess, tmp_path: Path) -> None:
    (line,) = [
        each
        for each in curl(server, "/trust").split("\n")
        if "NOT trusted" in each and "cp $t/ca.crt" in each
    ]

    ended = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert ended.stdout == "trusted\n"
    root = str(tmp_path / "moorage-ca.crt")
    command = ["curl", "-sS", "--cacert", root, f"{server.url}/readyz"]
    assert '"ready"' in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_line_with_another_fingerprint_installs_nothing(server: ServerProcess, tmp_path: Path) -> None:
    line = Trust(server.address, "00:" * 31 + "00").line("curl")

    ended = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert ended.stdout == "NOT trusted\n"
    assert list(tmp_path.iterdir()) == []


def test_page_with_a_certificate_of_the_operators_says_so(tmp_path: Path) -> None:
    pair = Pair(tmp_path / "own.crt", tmp_path / "own.key")
    pair.put()
    with ServerProcess(tmp_path / "data", "--workers", "1", env=pair.env, is_tls=True) as server:
        assert "brought by its operator" in curl(server, "/trust")
        assert '"errors"' in curl(server, "/trust/ca.crt")


def test_without_tls_there_is_nothing_to_trust(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", "--workers", "1") as server:
        assert '"errors"' in curl(server, "/trust")


@pytest.mark.parametrize("host", ["registry.local:5000", "10.0.0.1:5000", "[::1]:5000", "db1"])
def test_page_names_the_registry_as_the_client_does(host: str) -> None:
    found = TrustPages("127.0.0.1:5000", lambda: ROOT).answer(b"/trust", host, "")

    assert found is not None
    assert f"https://{host}/trust/ca.der" in found[1].decode()


@pytest.mark.parametrize(
    "host", ["", "a;b", "$(id)", "a b", "a'b", "`id`", "a/b", "a:5000:1", "a\nb", "<b>", "[x]"]
)
def test_host_that_a_shell_would_take_for_more_is_not_repeated(host: str) -> None:
    found = TrustPages("127.0.0.1:5000", lambda: ROOT).answer(b"/trust", host, BROWSER)

    assert not is_address(host)
    assert found is not None
    assert "https://127.0.0.1:5000/trust/ca.der" in found[1].decode()


def test_every_line_compares_before_it_installs() -> None:
    for each in Trust("registry.local:5000", fingerprint(ROOT)).recipes():
        digits = fingerprint(ROOT).replace(":", "")
        assert "\n" not in each.line
        assert re.search(
            rf"trust/ca\.der['\"] .*{digits}.*(install|cp|add-trusted-cert|\.Add)", each.line, re.IGNORECASE
        )
