"""Behind nginx, set up as docs/proxies.md says: a large layer, the realm, locations, refusals, addresses."""

import base64
import datetime as dt
import hashlib
import http.client
import ipaddress
import json
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.acceptance.images import MIB, Layout
from tests.acceptance.sandbox import Sandbox, require
from tests.access.people import PASSWORD, People
from tests.servers import ServerProcess, find_free_port

PAGE = Path(__file__).parents[2] / "docs" / "proxies.md"
START_SECONDS = 10
STOP_SECONDS = 10
CLIENT = "127.0.0.9"
"""Where clients are; nginx itself comes from 127.0.0.1."""
FORGED = "203.0.113.7"
FORGERIES = {
    "X-Forwarded-For": FORGED,
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "evil.test",
    "Forwarded": f"for={FORGED};proto=http;host=evil.test",
}
REFUSED_BYTES = 64 * MIB
TIMES = 20
"""A refusal that is lost now and then is lost too."""

_MAIN = """
daemon off;
master_process off;
pid {folder}/pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    scgi_temp_path {folder}/scgi;
    uwsgi_temp_path {folder}/uwsgi;
    include {folder}/moorage.conf;
}}
"""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back; `headers` by lower-case name."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Front:
    """nginx, and Moorage behind it."""

    moorage: ServerProcess
    people: People
    host: str
    port: int
    certificate: Path

    @property
    def name(self) -> str:
        """What stands before the first slash of an image's name."""
        return f"{self.host}:{self.port}"

    @contextmanager
    def connect(self) -> Iterator[http.client.HTTPSConnection]:
        """A connection of a client elsewhere."""
        context = ssl.create_default_context(cafile=self.certificate)
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=60, context=context, source_address=(CLIENT, 0)
        )
        try:
            yield connection
        finally:
            connection.close()

    def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: object = None
    ) -> Reply:
        """One request; the whole body is written before the reply is read."""
        with self.connect() as connection:
            return _ask(connection, method, path, {"Host": self.name, **(headers or {})}, body)

    def sign_ins(self) -> list[str]:
        """From where the audit says that the last ones were tried."""
        return [row["address"] for row in self.people.audit(action="sign-in")]


def _ask(
    connection: http.client.HTTPConnection, method: str, path: str, headers: Mapping[str, str], body: object
) -> Reply:
    connection.request(method, path, body, headers)  # type: ignore[arg-type] # an iterator too
    reply = connection.getresponse()
    return Reply(reply.status, {key.lower(): value for key, value in reply.getheaders()}, reply.read())


def _basic(name: str, password: str = PASSWORD) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


@pytest.fixture(scope="module")
def front(workspace: Path, sandbox: Sandbox) -> Iterator[Front]:
    nginx = require("nginx")
    folder = workspace / "nginx"
    folder.mkdir()
    port = find_free_port()
    env = {
        "MOORAGE_SERVER_PUBLIC": f"https://{sandbox.host}:{port}",
        "MOORAGE_SERVER_PROXIES": "127.0.0.1",
        "MOORAGE_LOG_REQUESTS": "true",
    }
    with ServerProcess(folder / "data", env=env) as moorage:
        people = People(moorage.data_dir, moorage.port)
        people.add("alice")
        front = Front(moorage, people, sandbox.host, port, folder / "registry.example.pem")
        _write_certificate(folder, sandbox.host)
        _write_configuration(folder, front)
        with _running(nginx, folder, port):
            yield front


def _write_configuration(folder: Path, front: Front) -> None:
    """The page's own, with this test's names, ports and paths."""
    found = re.search(r"```nginx\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    text = found[1]
    for theirs, ours in (
        ("server 127.0.0.1:5000;", f"server {front.moorage.address};"),
        ("listen 443 ssl;", f"listen 127.0.0.1:{front.port} ssl;"),
        ("server_name registry.example;", f"server_name {front.host};"),
        ("/etc/ssl/", f"{folder}/"),
    ):
        assert theirs in text
        text = text.replace(theirs, ours)
    (folder / "moorage.conf").write_text(text)
    (folder / "nginx.conf").write_text(_MAIN.format(folder=folder))


def _write_certificate(folder: Path, host: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host), address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "registry.example.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "registry.example.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


@contextmanager
def _running(nginx: str, folder: Path, port: int) -> Iterator[None]:
    log = folder / "error.log"
    process = subprocess.Popen(
        [nginx, "-p", folder, "-c", folder / "nginx.conf", "-e", log],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"nginx did not start:\n{log.read_text()}", pytrace=False)
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(timeout=STOP_SECONDS)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_layer_of_a_gibibyte_comes_back_as_it_was_pushed(
    front: Front, sandbox: Sandbox, layout: Layout, tmp_path: Path
) -> None:
    require("skopeo")
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    (trusted / "ca.crt").write_bytes(front.certificate.read_bytes())
    layer = layout.add_huge_image(1024 * MIB, tag="v1")

    sandbox.run(
        *("skopeo", "--insecure-policy", "copy", f"--dest-creds=alice:{PASSWORD}"),
        *(f"--dest-cert-dir={trusted}", f"oci:{layout.folder}:v1", f"docker://{front.name}/alice/huge:v1"),
    )

    pulled = hashlib.sha256()
    with front.connect() as connection:
        headers = {"Host": front.name, **_basic("alice")}
        connection.request("GET", f"/v2/alice/huge/blobs/{layer['digest']}", headers=headers)
        reply = connection.getresponse()
        while piece := reply.read(MIB):
            pulled.update(piece)
    assert reply.status == 200
    assert f"sha256:{pulled.hexdigest()}" == layer["digest"]


@pytest.mark.parametrize("forged", [{}, FORGERIES], ids=["plain", "forged"])
def test_clients_are_sent_to_the_public_name_for_a_token(front: Front, forged: dict[str, str]) -> None:
    reply = front.ask("GET", "/v2/", forged)

    assert reply.status == 401
    assert f'realm="https://{front.name}/token"' in reply.headers["www-authenticate"]
    token = front.ask("GET", "/token?service=moorage&scope=repository:alice/x:pull", _basic("alice"))
    assert token.status == 200, token


def test_an_upload_goes_on_at_the_location_it_was_given(front: Front) -> None:
    begun = front.ask("POST", "/v2/alice/parts/blobs/uploads/", _basic("alice"))
    first = front.ask("PATCH", begun.headers["location"], _basic("alice"), b"some ")
    digest = f"sha256:{hashlib.sha256(b'some content').hexdigest()}"
    location = f"{first.headers['location']}?digest={digest}"
    last = front.ask("PUT", location, _basic("alice"), b"content")

    assert (begun.status, first.status, last.status) == (202, 202, 201)
    assert front.ask("GET", last.headers["location"], _basic("alice")).body == b"some content"


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
def test_refusal_of_a_large_body_reaches_who_writes_all_of_it_first(
    front: Front, method: str, *, is_chunked: bool
) -> None:
    for _ in range(TIMES):
        headers = {} if is_chunked else {"Content-Length": str(REFUSED_BYTES)}
        pieces = (bytes(MIB) for _ in range(REFUSED_BYTES // MIB))
        reply = front.ask(method, "/v2/alice/x/blobs/uploads/none", headers, pieces)

        assert reply.status == 401, reply
        assert reply.json["errors"][0]["code"] == "UNAUTHORIZED"


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
def test_refusal_of_a_large_body_reaches_who_reads_while_writing(
    front: Front, sandbox: Sandbox, tmp_path: Path, method: str, *, is_chunked: bool
) -> None:
    require("curl")
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(REFUSED_BYTES)
    coding = ["--header", "Transfer-Encoding: chunked"] if is_chunked else []

    for _ in range(TIMES):
        printed = sandbox.run(
            *("curl", "--silent", "--show-error", "--cacert", front.certificate, "--max-time", "30"),
            *("--http1.1", "--request", method, "--upload-file", str(large), "--header", "Expect:", *coding),
            *("--write-out", " %{http_code}", f"https://{front.name}/v2/alice/x/blobs/uploads/none"),
        )
        body, _, status = printed.rpartition(" ")

        assert status == "401", printed
        assert json.loads(body)["errors"][0]["code"] == "UNAUTHORIZED"


@pytest.mark.parametrize("forged", [{}, FORGERIES], ids=["plain", "forged"])
def test_wrong_password_is_refused_and_audited_with_the_clients_address(
    front: Front, forged: dict[str, str]
) -> None:
    reply = front.ask("GET", "/token?service=moorage", {**_basic("alice", "a wrong one"), **forged})

    assert reply.status == 401
    assert reply.json["errors"][0]["code"] == "UNAUTHORIZED"
    assert front.sign_ins()[-1] == CLIENT
    assert front.moorage.wait_for_event("sign_in_refused")["client"] == CLIENT
    assert front.moorage.wait_for_event("request", path="/token", status=401)["client"] == CLIENT


def test_what_another_than_the_proxy_says_of_itself_is_ignored(front: Front) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", front.moorage.port, source_address=("127.0.0.8", 0))
    try:
        headers = {**_basic("bob", "a wrong one"), **FORGERIES, "X-Forwarded-Proto": "https"}
        reply = _ask(connection, "GET", "/token?service=moorage", headers, None)
    finally:
        connection.close()

    assert reply.status == 401
    assert front.sign_ins()[-1] == "127.0.0.8"


def test_metrics_are_not_for_everyone_who_reaches_the_proxy(front: Front) -> None:
    assert front.ask("GET", "/metrics").status == 401
    assert front.ask("GET", "/readyz").status == 200
