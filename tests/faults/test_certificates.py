"""F48, F49: certificates of the operator's that change, or that cannot be used."""

import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from moorage.certificates import authority
from moorage.certificates.names import Names
from moorage.certificates.serving import ServerCertificate
from tests.faults.means import WrappedServer, wait_until
from tests.servers import ServerProcess, trusting_nobody

MARK = b"-----BEGIN CERTIFICATE"


@dataclass
class Pair:
    """A certificate and its key in two files."""

    certificate: Path
    key: Path

    @property
    def env(self) -> dict[str, str]:
        return {"MOORAGE_TLS_CERTIFICATE": str(self.certificate), "MOORAGE_TLS_KEY": str(self.key)}

    def put(self, *, age: timedelta = timedelta(0)) -> bytes:
        """Write new ones; the certificate as DER."""
        names, now = Names.of(["localhost", "127.0.0.1"]), datetime.now(UTC) - age
        whole = authority.read(authority.make(names, "test", now)).issue(names, now)
        key, _, certificate = whole.partition(MARK)
        self.key.write_bytes(key)
        self.certificate.write_bytes(MARK + certificate)
        return ssl.PEM_cert_to_DER_cert((MARK + certificate).decode())


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path / "own.crt", tmp_path / "own.key")


@pytest.fixture
def first(pair: Pair) -> bytes:
    return pair.put()


@pytest.fixture
def tls_server(tmp_path: Path, pair: Pair, first: bytes) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "data", "--workers", "2", env=pair.env, is_tls=True) as server:
        yield server


def connect(server: ServerProcess) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", server.port), 10)
    return trusting_nobody().wrap_socket(plain, server_hostname="localhost")


def shown(server: ServerProcess) -> set[bytes | None]:
    """The certificates that several new connections are shown, so by both workers."""
    found = set()
    for _ in range(12):
        with connect(server) as client:
            found.add(client.getpeercert(binary_form=True))
    return found


def answers(client: ssl.SSLSocket) -> bool:
    client.sendall(b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return client.recv(4096).startswith(b"HTTP/1.1 200")


def test_f48_new_certificate_is_used_at_once_and_no_connection_is_dropped(
    tls_server: ServerProcess, pair: Pair, first: bytes
) -> None:
    assert shown(tls_server) == {first}
    with connect(tls_server) as client:
        assert answers(client)

        second = pair.put()

        wait_until(lambda: shown(tls_server) == {second})
        assert answers(client)


def cut(pair: Pair) -> None:
    content = pair.certificate.read_bytes()
    pair.certificate.write_bytes(content[: len(content) // 2])


def change_only_certificate(pair: Pair) -> None:
    key = pair.key.read_bytes()
    pair.put()
    pair.key.write_bytes(key)


def let_expire(pair: Pair) -> None:
    pair.put(age=timedelta(days=91))


def remove_key(pair: Pair) -> None:
    pair.key.unlink()


def encrypt(pair: Pair) -> None:
    pair.key.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")


DAMAGES = [
    pytest.param(cut, "not whole", id="half-written"),
    pytest.param(change_only_certificate, "the key is not that of the certificate", id="wrong key"),
    pytest.param(let_expire, "expired on", id="expired"),
    pytest.param(remove_key, "cannot be read", id="no key"),
    pytest.param(encrypt, "", id="encrypted key"),
]


def test_f48_half_written_certificate_leaves_the_old_one_until_it_is_whole(
    tls_server: ServerProcess, pair: Pair, first: bytes
) -> None:
    # each of its workers has begun by then, or it would have nothing to go on with
    assert {each for _ in range(20) for each in shown(tls_server)} == {first}
    cut(pair)

    assert "not whole" in tls_server.wait_for_event("certificate_refused", level="error")["reason"]
    assert shown(tls_server) == {first}

    whole = pair.put()
    wait_until(lambda: shown(tls_server) == {whole})


@pytest.mark.parametrize(("damage", "said"), DAMAGES)
def test_f48_certificate_that_cannot_be_used_is_told_once_and_the_old_one_stays(
    pair: Pair, first: bytes, damage: Callable[[Pair], None], said: str
) -> None:
    served = ServerCertificate(pair.certificate, pair.key)
    before = served.context
    damage(pair)

    with capture_logs() as logged:
        for _ in range(5):
            served.follow()
    assert [entry["event"] for entry in logged] == ["certificate_refused"]
    assert said in logged[0]["reason"]
    assert served.context is before

    pair.put()
    served.follow()
    assert served.context is before, "it may still be being written"
    served.follow()
    assert served.context is not before


@pytest.mark.parametrize(("damage", "said"), DAMAGES)
def test_f49_certificate_that_cannot_be_used_ends_the_start_in_a_sentence(
    tmp_path: Path, pair: Pair, first: bytes, damage: Callable[[Pair], None], said: str
) -> None:
    damage(pair)

    code, printed = WrappedServer([], tmp_path / "data", env=pair.env).end_if_refused()

    assert code == 1
    assert "moorage: " in printed
    assert str(tmp_path) in printed
    assert said in printed
    assert "Traceback" not in printed


def test_f49_settings_of_one_without_the_other_are_refused(tmp_path: Path, pair: Pair, first: bytes) -> None:
    env = {"MOORAGE_TLS_CERTIFICATE": str(pair.certificate)}

    code, printed = WrappedServer([], tmp_path / "data", env=env).end_if_refused()

    assert code == 1
    assert "tls.key" in printed
