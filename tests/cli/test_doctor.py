"""What `moorage doctor` finds: on this machine, and at a running registry from its clients' side."""

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from moorage.records.jobs.alive import WORKER, SharedLock
from tests.cli.commands import moorage
from tests.cli.fronts import front
from tests.servers import ServerProcess


def findings(*arguments: object, env: dict[str, str] | None = None) -> dict[str, tuple[str, str]]:
    """State and sentence by check; the exit code is 1 exactly when there is a problem."""
    ran = moorage("doctor", *arguments, "--json", env=env)
    found = {each["check"]: (each["state"], each["said"]) for each in json.loads(ran.out)}
    assert ran.code == int(any(state == "problem" for state, _ in found.values()))
    return found


def problems(found: dict[str, tuple[str, str]]) -> dict[str, str]:
    return {check: said for check, (state, said) in found.items() if state == "problem"}


def test_registry_with_nothing_in_between_has_no_problem(server: ServerProcess, admin_token: str) -> None:
    found = findings(f"http://{server.address}", env={"MOORAGE_TOKEN": admin_token})

    assert problems(found) == {}
    assert list(found) == ["reach", "tls", "registry", "clock", "realm", "bodies", "location"]
    assert found["location"] == ("ok", "uploads go on where they began")


def test_scheme_is_found_out_where_none_is_given(server: ServerProcess) -> None:
    assert problems(findings(server.address)) == {}


def test_plain_http_asked_by_https_is_told_in_words(server: ServerProcess) -> None:
    found = problems(findings(f"https://{server.address}"))

    assert list(found) == ["tls"]
    assert "server gave HTTP response to HTTPS client" in found["tls"]


@pytest.mark.parametrize(
    ("fault", "check", "sentence"),
    [
        ("host not passed on", "realm", "server.public"),
        ("body limit", "bodies", "client_max_body_size 0"),
        ("registry stopped", "registry", "it does not reach Moorage"),
        ("another path", "registry", "without a registry's header"),
        ("clock", "clock", "set both by NTP"),
        ("location rewritten", "location", "a proxy rewrites Location"),
    ],
)
def test_fault_of_a_proxy_is_found(
    server: ServerProcess, admin_token: str, fault: str, check: str, sentence: str
) -> None:
    with front(server.port, fault) as proxy:
        found = problems(findings(f"http://{proxy.address}", env={"MOORAGE_TOKEN": admin_token}))

    assert list(found) == [check]
    assert sentence in found[check]


def test_proxy_without_faults_has_no_problem(server: ServerProcess) -> None:
    with front(server.port) as proxy:
        assert problems(findings(f"http://{proxy.address}")) == {}


def test_own_certificate_leads_to_trust_until_its_root_is_given(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", "--workers", "1", is_tls=True) as server:
        untrusted = problems(findings(server.address))
        root = tmp_path / "root.pem"
        root.write_bytes((tmp_path / "data" / "tls" / "authority.pem").read_bytes())
        shown = moorage("certificate", "show", "--data", tmp_path / "data").check().out
        trusted = findings(server.address, "--ca", root)
        plain = problems(findings(f"http://{server.address}"))

    assert list(untrusted) == ["tls"]
    assert f"moorage trust {server.address}" in untrusted["tls"]
    fingerprint = untrusted["tls"].partition("SHA-256 ")[2].split(".")[0]
    assert len(fingerprint) == 95
    assert fingerprint in shown
    assert problems(trusted) == {}
    assert "trusted, issued by" in trusted["tls"][1]
    assert trusted["plain"] == ("ok", "plain HTTP on this port is refused in words (status 400)")
    assert "speaks HTTPS, not plain HTTP" in plain["tls"]


@contextmanager
def tls_at(address: str, pair: Path) -> Iterator[int]:
    """The port of something that speaks TLS there, and no more."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    listening = socket.create_server((address, 0))

    def greet() -> None:
        with suppress(OSError):
            while True:
                accepted, _ = listening.accept()
                with suppress(OSError), context.wrap_socket(accepted, server_side=True) as connection:
                    connection.recv(4096)

    thread = threading.Thread(target=greet)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
        listening.close()


def test_certificate_for_another_name_is_told(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", "--workers", "1", is_tls=True):
        pass
    folder = tmp_path / "data" / "tls"
    with tls_at("127.0.0.77", folder / "server.pem") as port:
        found = problems(findings(f"127.0.0.77:{port}", "--ca", folder / "authority.pem"))

    assert "not for 127.0.0.77" in found["names"]
    assert "tls.names" in found["names"]


def test_where_no_one_listens_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        found = problems(findings(f"127.0.0.1:{taken.getsockname()[1]}"))

    assert list(found) == ["reach"]
    assert "server.listen" in found["reach"]


def test_what_is_no_registry_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.listen()
        port = silent.getsockname()[1]
        found = problems(findings(f"http://127.0.0.1:{port}"))

    assert found
    assert "reach" not in found


def test_token_that_does_not_count_is_told(server: ServerProcess) -> None:
    found = problems(findings(f"http://{server.address}", env={"MOORAGE_TOKEN": "moor_wrong"}))

    assert "is not taken" in found["location"]


def test_secrets_that_others_could_read_are_a_problem(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", "--workers", "1"):
        pass
    before = findings("--data", tmp_path / "data", "--listen", "127.0.0.1:0")
    (tmp_path / "data" / "moorage.db").chmod(0o644)
    after = problems(findings("--data", tmp_path / "data", "--listen", "127.0.0.1:0"))

    assert before["folder"][0] == "ok"
    assert "chmod 600" in after["folder"]


def test_folder_whose_jobs_no_one_does_is_told(tmp_path: Path) -> None:
    """Without a worker no garbage is collected and nothing is backed up, and nobody would notice."""
    beside, data = {"MOORAGE_JOBS_BESIDE": "false"}, tmp_path / "data"
    looked = ("--data", data, "--listen", "127.0.0.1:0")
    with ServerProcess(data, "--workers", "1", env=beside):
        none = findings(*looked, env=beside)
        with SharedLock(data / WORKER) as lock:
            asyncio.run(lock.share())
            alive = findings(*looked, env=beside)

    assert none["jobs"][0] == "warning"
    assert "moorage worker" in none["jobs"][1]
    assert alive["jobs"] == ("ok", "a moorage worker does them")
    assert findings(*looked)["jobs"] == ("ok", "moorage serve does them")
