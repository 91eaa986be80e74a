"""A token service of the tests' own, and docker-registry that goes by its tokens.

Source: distribution's "Token Authentication Specification" and "Token Authentication Implementation".
"""

import base64
import json
import secrets
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from joserfc import jwt
from joserfc.jwk import ECKey

from bench.servers import DockerRegistry

SERVICE, ISSUER = "test registry, and more", "test"


class TokenService:
    """Gives tokens for whatever is asked for to one who has a password."""

    def __init__(self, name: str, password: str, folder: Path) -> None:
        self._basic = base64.b64encode(f"{name}:{password}".encode()).decode()
        self._name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = _sign_oneself(self._key)
        self.root = folder / "tokens.pem"
        self.root.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))
        self.given: list[list[str]] = []
        """The scopes of each token that was given."""
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, answer = service.answer(self.path, self.headers.get("Authorization", ""))
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.url = f"http://127.0.0.1:{self._server.server_port}/token"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, target: str, authorization: str) -> tuple[int, dict[str, Any]]:
        if authorization not in {"", f"Basic {self._basic}"}:
            return 401, {"errors": [{"code": "UNAUTHORIZED"}]}
        query = parse_qs(urlsplit(target).query)
        assert query["service"] == [SERVICE]
        scopes = query.get("scope", []) if authorization else []
        self.given.append(scopes)
        return 200, {"token": self._sign(scopes), "expires_in": 300}

    def _sign(self, scopes: list[str]) -> str:
        now = int(time.time())
        parts = [each.split(":") for each in scopes]
        claims = {
            "iss": ISSUER,
            "sub": self._name,
            "aud": SERVICE,
            "exp": now + 300,
            "nbf": now - 10,
            "iat": now,
            "jti": secrets.token_hex(8),
            "access": [
                {"type": kind, "name": name, "actions": acts.split(",")} for kind, name, acts in parts
            ],
        }
        der = self._certificate.public_bytes(serialization.Encoding.DER)
        header = {"alg": "ES256", "typ": "JWT", "x5c": [base64.b64encode(der).decode()]}
        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return jwt.encode(header, claims, ECKey.import_key(pem))


class TokenRegistry(DockerRegistry):
    """docker-registry that sends its clients there."""

    def __init__(self, name: str, folder: Path, service: TokenService) -> None:
        super().__init__(name, folder)
        self._service = service

    def command(self) -> list[str]:
        command = super().command()
        config = Path(command[-1])
        lines = [
            *("auth:", "  token:", f"    realm: {self._service.url}", f'    service: "{SERVICE}"'),
            *(f"    issuer: {ISSUER}", f"    rootcertbundle: {self._service.root}"),
        ]
        config.write_text(config.read_text() + "\n".join(lines) + "\n")
        return command

    def _is_ready(self) -> bool:
        self.ready_target = "/"
        return super()._is_ready()


def _sign_oneself(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tokens")])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
