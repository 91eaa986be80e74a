"""Whether the line is encrypted, by a certificate that this machine trusts, for this name, for how long."""

import ipaddress
import socket
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from moorage.cli.doctor import Finding
from moorage.cli.manage.remote import Address, tls_context
from moorage.cli.probing.wire import NoAnswer, Target, ask, connect
from moorage.connecting import in_words

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_EXPIRY_NEAR: Final = timedelta(days=14)
_OWN_AUTHORITY: Final = "Moorage authority of "
_ROOT: Final = "/trust/ca.der"
# X509_V_ERR_*, openssl/x509_vfy.h
_NOT_YET, _EXPIRED, _OTHER_NAMES = 9, 10, frozenset({62, 64})


def check_reach(address: Address) -> Finding:
    """Whether anything listens there."""
    try:
        with socket.create_connection((address.host, address.port), 10) as connection:
            peer = connection.getpeername()[0]
    except socket.gaierror:
        return Finding(
            "reach", "problem", f"{address.host} is no name that this machine can resolve: see its DNS"
        )
    except TimeoutError:
        return Finding(
            "reach",
            "problem",
            f"{address} does not answer within 10 s: a firewall in between, or the wrong host",
        )
    except OSError as error:
        hint = "is Moorage running, on an address that others can reach (server.listen)?"
        return Finding("reach", "problem", f"{address}: {in_words(error)}; {hint}")
    return Finding("reach", "ok", f"{address} answers at {peer}")


def find_line(
    address: Address, authority: Path | None, *, is_told: bool
) -> tuple[list[Finding], Target | None]:
    """How to speak with the registry, and what is wrong with that. `is_told`: the scheme was given.

    Raises Unreachable for a file of certificates that holds none.
    """
    if address.scheme == "http":
        return _find_plain(address)
    context = tls_context(authority)
    try:
        with connect(address, context) as connection:
            assert isinstance(connection, ssl.SSLSocket)  # noqa: S101 - the context wraps it
            found = _check_life(_certificate(connection), connection.version() or "TLS")
    except ssl.SSLCertVerificationError as error:
        return _find_untrusted(address, error)
    except ssl.SSLError as error:
        plain = Target(replace(address, scheme="http"), None, is_trusted=_is_this_machine(address))
        if _speaks_http(plain):
            return [_speaks_plain(plain, is_told=is_told)], plain
        return [Finding("tls", "problem", f"no TLS and no HTTP: {error.reason or error}")], None
    except OSError as error:
        said = (
            f"the connection was cut while TLS began ({in_words(error)}): see the log of what listens there"
        )
        return [Finding("tls", "problem", said)], None
    return [found, check_plain(address)], Target(address, context, is_trusted=True)


def _find_plain(address: Address) -> tuple[list[Finding], Target | None]:
    """It was asked for by http://."""
    target = Target(address, None, is_trusted=_is_this_machine(address))
    unverified = _unverified()
    try:
        with connect(address, unverified):
            said = f"this port speaks HTTPS, not plain HTTP: use https://{address}"
            there = replace(address, scheme="https")
            return [Finding("tls", "problem", said)], Target(there, unverified, is_trusted=False)
    except OSError:
        pass
    return [_speaks_plain(target, is_told=False)], target


def _speaks_plain(target: Target, *, is_told: bool) -> Finding:
    if is_told:
        return Finding(
            "tls",
            "problem",
            "asked by HTTPS, it speaks plain HTTP; docker then says: server gave HTTP response to HTTPS"
            " client. Set tls.mode to always, and server.insecure_http to false",
        )
    if target.is_trusted:
        return Finding("tls", "ok", "plain HTTP, on this machine only")
    return Finding(
        "tls",
        "problem",
        "plain HTTP: everyone on the way can read passwords and images and put others in."
        " Drop server.insecure_http, or let the proxy in front speak TLS",
    )


def check_plain(address: Address) -> Finding:
    """What someone gets who speaks plain HTTP to a port that speaks TLS."""
    try:
        answer = ask(Target(address, None, is_trusted=False), "GET", "/v2/")
    except NoAnswer:
        return Finding("plain", "ok", "plain HTTP on this port is cut off")
    if answer.status < 400:  # noqa: PLR2004 - the first that refuses
        said = f"this port also answers plain HTTP, with status {answer.status}: let it speak TLS only"
        return Finding("plain", "problem", said)
    return Finding("plain", "ok", f"plain HTTP on this port is refused in words (status {answer.status})")


def _find_untrusted(
    address: Address, error: ssl.SSLCertVerificationError
) -> tuple[list[Finding], Target | None]:
    """A certificate that was not accepted: why, and what its owner or this machine can do about it."""
    context = _unverified()
    try:
        with connect(address, context) as connection:
            assert isinstance(connection, ssl.SSLSocket)  # noqa: S101 - the context wraps it
            certificate = _certificate(connection)
    except OSError as failure:
        return [Finding("tls", "problem", f"no TLS: {in_words(failure)}")], None
    target = Target(address, context, is_trusted=False)
    names = _names(certificate)
    match error.verify_code:
        case code if code in _OTHER_NAMES:
            return [_misnamed(address, names)], target
        case code if code == _NOT_YET:
            since = f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
            said = f"not valid before {since}: one of the clocks is wrong"
            return [Finding("tls", "problem", said)], target
        case code if code == _EXPIRED:
            said = f"expired on {certificate.not_valid_after_utc:%Y-%m-%d}: bring a new one (tls.certificate)"
            return [Finding("tls", "problem", said)], target
        case _:
            findings = [Finding("tls", "problem", _distrusted(target, certificate, error))]
            if _is_for(names, address.host):
                return findings, target
            return [*findings, _misnamed(address, names)], target


def _distrusted(target: Target, certificate: "Certificate", error: ssl.SSLCertVerificationError) -> str:
    issuer = _common_name(certificate.issuer.rfc4514_string())
    if not issuer.startswith(_OWN_AUTHORITY):
        return (
            f"issued by {issuer!a}, which this machine does not trust ({error.verify_message}):"
            " install its root, or name its file with --ca; the server has to send what lies in between"
        )
    shown = _root_fingerprint(target)
    fingerprint = f" Its root, as it shows it: SHA-256 {shown}." if shown else ""
    return (
        f"issued by Moorage's own root, {issuer!a}, which this machine does not trust yet.{fingerprint}"
        f" Compare that with what the registry printed and run: moorage trust {target.address}"
    )


def _root_fingerprint(target: Target) -> str | None:
    """Of the root that a Moorage shows to whoever asks. Nothing is proven by it before it is compared."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    try:
        root = x509.load_der_x509_certificate(ask(target, "GET", _ROOT).body)
        return root.fingerprint(hashes.SHA256()).hex(":").upper()
    except (NoAnswer, ValueError):
        return None


def _misnamed(address: Address, names: list[str]) -> Finding:
    return Finding(
        "names",
        "problem",
        f"the certificate is for {', '.join(names) or 'no name'}, not for {address.host}:"
        f" ask by one of those, or add {address.host!a} to tls.names",
    )


def _check_life(certificate: "Certificate", version: str) -> Finding:
    until = certificate.not_valid_after_utc
    left = until - datetime.now(UTC)
    issuer = _common_name(certificate.issuer.rfc4514_string())
    said = f"{version}; trusted, issued by {issuer!a}, until {until:%Y-%m-%d} ({left.days} days)"
    if left < _EXPIRY_NEAR and left < (until - certificate.not_valid_before_utc) / 3:
        return Finding("tls", "warning", f"{said}: see why it is not renewed")
    return Finding("tls", "ok", said)


def _certificate(connection: ssl.SSLSocket) -> "Certificate":
    from cryptography import x509

    return x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")


def _names(certificate: "Certificate") -> list[str]:
    from cryptography import x509

    try:
        value = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    addresses = [str(each) for each in value.get_values_for_type(x509.IPAddress)]
    return [*value.get_values_for_type(x509.DNSName), *addresses]


def _is_for(names: list[str], host: str) -> bool:
    """Source: RFC 6125, section 6.4: a star stands for one whole label."""
    wild = f"*.{host.partition('.')[2]}"
    return any(each.lower() in {host.lower(), wild.lower()} for each in names)


def _common_name(subject: str) -> str:
    return subject.partition("CN=")[2].partition(",")[0] or subject


def _unverified() -> ssl.SSLContext:
    """For looking only: nothing secret is ever sent over it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _speaks_http(target: Target) -> bool:
    try:
        ask(target, "GET", "/v2/")
    except NoAnswer:
        return False
    return True


def _is_this_machine(address: Address) -> bool:
    try:
        return address.host == "localhost" or ipaddress.ip_address(address.host).is_loopback
    except ValueError:
        return False
