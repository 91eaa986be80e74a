"""The API of a registry over the network, by HTTPS or, where that was asked for, plain HTTP."""

import base64
import http.client
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from moorage.cli.manage.client import Refused, Transport, Unreachable
from moorage.connecting import in_words

_ANSWERS_WITHIN_S = 30.0
_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a registry is reached."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def read_address(text: str) -> Address:
    """An address from `https://HOST:PORT`, `http://...` or `HOST:PORT`, which is HTTPS.

    Raises Unreachable.
    """
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in _PORTS or not parts.hostname or parts.path.strip("/") or parts.username:
        raise Unreachable(f"{text!r} is no address of a registry: want https://HOST:PORT")
    return Address(parts.scheme, parts.hostname, port or _PORTS[parts.scheme])


def authorization(token: str | None, user: str | None, password: str | None) -> str | None:
    """The header that says who asks; None for no one."""
    if user is not None and password is not None:
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    return f"Bearer {token}" if token else None


def tls_context(authority: Path | None, root: str = "") -> ssl.SSLContext:
    """Trust what the system does, this file's certificates, and a root given as PEM.

    Raises Unreachable.
    """
    context = ssl.create_default_context()
    if root:
        context.load_verify_locations(cadata=root)
    if authority is not None:
        try:
            context.load_verify_locations(authority)
        except (OSError, ssl.SSLError) as error:
            raise Unreachable(f"{authority} holds no certificates: {error}") from error
    return context


def reach(address: Address, credentials: str | None, authority: Path | None, root: str = "") -> Transport:
    """The transport to a registry; `root` is a root of its as PEM.

    Raises Unreachable.
    """
    context = tls_context(authority, root) if address.scheme == "https" else None

    def send(method: str, target: str, body: bytes | None) -> tuple[int, bytes]:
        headers = {"accept": "application/json"}
        if credentials is not None:
            headers["authorization"] = credentials
        if body is not None:
            headers["content-type"] = "application/json"
        connection = _connection(address, context)
        try:
            connection.request(method, target, body, headers)
            reply = connection.getresponse()
            return reply.status, reply.read()
        except ssl.SSLError as error:
            raise Unreachable(_tls_trouble(address, error)) from error
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{address} does not answer: {why_not(error)}") from error
        finally:
            connection.close()

    return send


def why_not(error: OSError | http.client.HTTPException) -> str:
    """Why there was no answer, in words."""
    return in_words(error) if isinstance(error, OSError) else "what listens there speaks no HTTP"


def _connection(address: Address, context: ssl.SSLContext | None) -> http.client.HTTPConnection:
    if context is None:
        return http.client.HTTPConnection(address.host, address.port, timeout=_ANSWERS_WITHIN_S)
    return http.client.HTTPSConnection(address.host, address.port, timeout=_ANSWERS_WITHIN_S, context=context)


def _tls_trouble(address: Address, error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the certificate of {address} is not trusted: {error.verify_message}."
            f" If it is Moorage's own, compare its fingerprint and trust it with"
            f" `moorage trust {address} --for system`; or name the root's file with --ca."
        )
    if "WRONG_VERSION" in str(error.reason) or "RECORD_LAYER" in str(error.reason):
        return f"{address} does not speak HTTPS. If it is to be plain HTTP, write http://{address}."
    return f"no TLS with {address}: {error.reason or error}"


def explain(refusal: Refused, *, has_credentials: bool) -> str:
    """A remote registry's refusal in words."""
    if refusal.status == http.HTTPStatus.UNAUTHORIZED and not has_credentials:
        return (
            "the registry wants to know who asks: give a token in $MOORAGE_TOKEN or --token-file, or --user"
        )
    if refusal.status == http.HTTPStatus.UNAUTHORIZED:
        return f"the registry does not take this token or password: wrong, expired or revoked. {refusal}"
    if refusal.status == http.HTTPStatus.FORBIDDEN:
        return f"you may not do this here: {refusal}"
    return str(refusal)
