"""The own certificate in its folder: made at the first start, issued anew in good time.

One process keeps it, the parent; the workers look at the file.
"""

import os
import socket
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from moorage.certificates import authority
from moorage.certificates.authority import SERVER_LIFE, Authority, AuthorityUnreadable, fingerprint, names_of
from moorage.certificates.names import NameRefused, Names, find_names

EVERY_S = 60.0
_RENEWED_BEFORE = SERVER_LIFE / 3

log = structlog.get_logger()


class CertificateRefused(Exception):
    """The certificate cannot be used; the sentence says why and what to do."""


class OwnCertificate:
    """The files of `<data>/tls`."""

    def __init__(
        self,
        folder: Path,
        configured: Names,
        find: Callable[[], Names] = find_names,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.authority_path = folder / "authority.pem"
        self.server_path = folder / "server.pem"
        self._folder = folder
        self._configured = configured
        self._find_names = find
        self._now = now
        self._left_out = Names()

    def prepare(self) -> Authority:
        """Make what is missing, at the start; the root that clients are to trust.

        Raises CertificateRefused, OSError.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.authority_path.exists():
            self._make_authority()
        own = self.read_authority()
        _, refused = own.divide(self._configured)
        if refused.hosts or refused.addresses:
            raise CertificateRefused(
                f"tls.names has {refused}, but this registry's root certificate ({self.authority_path}) may"
                " not vouch for that. Take it out of tls.names, or run `moorage certificate renew-authority`:"
                " it makes a new root, which every client then has to trust anew."
            )
        if own.certificate.not_valid_after_utc <= self._now():
            raise CertificateRefused(
                f"this registry's root certificate ({self.authority_path}) has expired. Run `moorage"
                " certificate renew-authority`, and let every client trust the new one."
            )
        self._keep(own)
        return own

    def renew_authority(self) -> Authority:
        """Make a new root and server certificate; the old root is kept beside it as `authority.pem.old`.

        Raises OSError.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.authority_path.exists():
            write_whole(self.authority_path.with_name("authority.pem.old"), self.authority_path.read_bytes())
        self._make_authority()
        own = self.read_authority()
        self._issue(own, self._wanted(own))
        return own

    def keep(self) -> None:
        """Issue anew when a name or an address has changed, or when a third of its life is left."""
        try:
            self._keep(self.read_authority())
        except (OSError, CertificateRefused) as error:
            log.warning("certificate_not_kept", reason=str(error))

    def _make_authority(self) -> None:
        pem = authority.make(self._find_names() | self._configured, socket.gethostname(), self._now())
        write_whole(self.authority_path, pem)
        made = self.read_authority()
        log.info("authority_made", fingerprint=fingerprint(made.certificate))

    def read_authority(self) -> Authority:
        """The root as it is in its file. Raises CertificateRefused, OSError."""
        try:
            return authority.read(self.authority_path.read_bytes())
        except AuthorityUnreadable as error:
            raise CertificateRefused(
                f"{self.authority_path} cannot be used: {error}. Restore it from a backup; or run `moorage"
                " certificate renew-authority`, after which every client has to trust the new one."
            ) from error

    def _wanted(self, own: Authority) -> Names:
        """All names and addresses that the root may vouch for. Others are told of once."""
        wanted, left_out = own.divide(self._find_names() | self._configured)
        if left_out != self._left_out:
            self._left_out = left_out
            if left_out.hosts or left_out.addresses:
                log.warning("names_left_out", names=str(left_out))
        return wanted

    def _keep(self, own: Authority) -> None:
        wanted = self._wanted(own)
        present = self._read_server()
        if present is not None and present.issuer == own.certificate.subject:
            is_fresh = present.not_valid_after_utc - self._now() > _RENEWED_BEFORE
            if is_fresh and names_of(present) == wanted and _is_signed_by(present, own):
                return
        self._issue(own, wanted)

    def _read_server(self) -> x509.Certificate | None:
        try:
            return x509.load_pem_x509_certificate(self.server_path.read_bytes())
        except (FileNotFoundError, ValueError):
            return None

    def _issue(self, own: Authority, names: Names) -> None:
        write_whole(self.server_path, own.issue(names, self._now()))
        log.info("certificate_issued", names=str(names))


def find_own(data: Path, configured: Sequence[str]) -> OwnCertificate:
    """The own certificate of a data folder, there already or not.

    Raises CertificateRefused.
    """
    try:
        return OwnCertificate(data / "tls", Names.of(configured))
    except NameRefused as refusal:
        raise CertificateRefused(f"tls.names: {refusal}. Mend the settings.") from refusal


def _is_signed_by(certificate: x509.Certificate, own: Authority) -> bool:
    try:
        certificate.verify_directly_issued_by(own.certificate)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def write_whole(path: Path, content: bytes) -> None:
    """Put a file in place at once, for its owner alone, so that it is there after a power cut.

    Raises OSError.
    """
    beside = path.with_name(f"{path.name}.tmp")
    beside.unlink(missing_ok=True)
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        if os.geteuid() == 0:
            # root at a terminal makes it for whom the folder belongs to
            owner = path.parent.stat()
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
