"""The certificate as the TLS server uses it: loaded, checked, and loaded again when its files change."""

import asyncio
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog
from cryptography import x509

from moorage.certificates.authority import names_of
from moorage.certificates.keeping import CertificateRefused
from moorage.certificates.names import Names

EVERY_S = 1.0

log = structlog.get_logger()

_Seen = tuple[tuple[int, int, int] | None, ...]


class ServerCertificate:
    """A certificate and its key, in one file or two. `context` is what a new connection is to use."""

    def __init__(
        self, certificate: Path, key: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """Load them. Raises CertificateRefused."""
        self._certificate = certificate
        self._key = key
        self._now = now
        self._seen = self._look()
        self._tried = self._seen
        self.names = Names()
        self.expires_at = datetime.min.replace(tzinfo=UTC)
        self.context = self._load()

    async def watch(self) -> None:
        """Load them anew whenever they have changed; until it is cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            self.follow()

    def follow(self) -> None:
        """Load what changed and then stayed as it is for one turn; what cannot be used changes nothing."""
        seen, self._seen = self._seen, self._look()
        if self._seen != seen or self._seen == self._tried:
            return
        self._tried = self._seen
        try:
            self.context = self._load()
        except CertificateRefused as refusal:
            log.error("certificate_refused", reason=str(refusal))  # noqa: TRY400 - a sentence says it all
        else:
            log.info("certificate_loaded", certificate=str(self._certificate))

    def _look(self) -> _Seen:
        return tuple(_identity(each) for each in (self._certificate, self._key))

    def _load(self) -> ssl.SSLContext:
        """Raises CertificateRefused."""
        try:
            text = self._certificate.read_bytes()
            context = _new_context()
            context.load_cert_chain(self._certificate, self._key, password=_no_password)
            certificate = x509.load_pem_x509_certificate(text)
        except ssl.SSLError as error:
            raise CertificateRefused(f"{self._named}: {_say(error)}") from error
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise CertificateRefused(f"{self._named} cannot be read: {reason}") from error
        if certificate.not_valid_after_utc <= self._now():
            raise CertificateRefused(f"{self._certificate} expired on {certificate.not_valid_after_utc:%F}")
        if certificate.not_valid_before_utc > self._now():
            raise CertificateRefused(
                f"{self._certificate} is not valid before {certificate.not_valid_before_utc:%F %T} UTC;"
                " is this machine's clock right?"
            )
        self.names, self.expires_at = names_of(certificate), certificate.not_valid_after_utc
        return context

    @property
    def _named(self) -> str:
        if self._certificate == self._key:
            return str(self._certificate)
        return f"{self._certificate} with {self._key}"


def _new_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    # the client knows best what its processor does fast; Go's, that is docker's, take AES-128 first
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    return context


def _no_password() -> str:
    """Raised through OpenSSL: else it would ask for one on the terminal."""
    raise CertificateRefused("the key is encrypted; give one without a password")


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _say(error: ssl.SSLError) -> str:
    match error.reason:
        case "KEY_VALUES_MISMATCH" | "KEY_TYPE_MISMATCH":
            return "the key is not that of the certificate"
        case None | "PEM_LIB" | "NO_START_LINE":
            return "not a certificate and a key in PEM form, or not whole"
        case reason:
            return reason.replace("_", " ").lower()
