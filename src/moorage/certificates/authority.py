"""This registry's own root certificate, and what it issues.

Source: RFC 5280, section 4.2.1.10 (name constraints) and 4.2.1.12; CA/Browser baseline for life times.
"""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from moorage.certificates.names import Address, Names, Network

AUTHORITY_LIFE = timedelta(days=3650)
SERVER_LIFE = timedelta(days=90)
CLOCK_SLACK = timedelta(hours=1)
"""How far behind a client's clock may be when a certificate is new."""
_COMMON_NAME_MAX = 64

_PRIVATE_DOMAINS = ("localhost", "local", "lan", "internal")
_PRIVATE_NETWORKS: tuple[Network, ...] = tuple(
    ipaddress.ip_network(each)
    for each in (
        *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"),
        *("::1/128", "fc00::/7", "fe80::/10"),
    )
)


class AuthorityUnreadable(Exception):
    """The file does not hold a root certificate of Moorage's and its key."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A root certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        """The certificate, for clients."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    def permits_host(self, host: str) -> bool:
        """Whether it can vouch for a name: one of its domains, or below one."""
        return any(host == each or host.endswith(f".{each}") for each in self._domains())

    def permits_address(self, address: Address) -> bool:
        """Whether it can vouch for an address."""
        return any(address.version == each.version and address in each for each in self._networks())

    def divide(self, names: Names) -> tuple[Names, Names]:
        """What of these it can vouch for, and the rest."""
        may = Names(
            tuple(filter(self.permits_host, names.hosts)),
            tuple(filter(self.permits_address, names.addresses)),
        )
        rest = Names(
            tuple(each for each in names.hosts if each not in may.hosts),
            tuple(each for each in names.addresses if each not in may.addresses),
        )
        return may, rest

    def _permitted(self) -> list[x509.GeneralName]:
        constraints = self.certificate.extensions.get_extension_for_class(x509.NameConstraints)
        return list(constraints.value.permitted_subtrees or ())

    def _domains(self) -> list[str]:
        return [each.value for each in self._permitted() if isinstance(each, x509.DNSName)]

    def _networks(self) -> list[Network]:
        networks = [each.value for each in self._permitted() if isinstance(each, x509.IPAddress)]
        return [each for each in networks if isinstance(each, ipaddress.IPv4Network | ipaddress.IPv6Network)]

    def issue(self, names: Names, now: datetime) -> bytes:
        """A new key and a server certificate for these names, as PEM. The constraints are not asked here."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives: list[x509.GeneralName] = [x509.DNSName(each) for each in names.hosts]
        alternatives += [x509.IPAddress(each) for each in names.addresses]
        issuer_key = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        certificate = (
            _begin(_name((names.hosts or ("moorage",))[-1]), self.certificate.subject, key, now, SERVER_LIFE)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(is_authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_key), critical=False
            )
            .sign(self.key, hashes.SHA256())
        )
        return _pem(key, certificate)


def make(names: Names, title: str, now: datetime) -> bytes:
    """A new root, as PEM: it can vouch for these names, what is below them, and private networks."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(f"Moorage authority of {title}")
    certificate = (
        _begin(subject, subject, key, now, AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(is_authority=True), critical=True)
        .add_extension(x509.NameConstraints(_subtrees(names), None), critical=True)
        # for servers only: not for mail, programs or people
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pem(key, certificate)


def _subtrees(names: Names) -> list[x509.GeneralName]:
    """What it permits. "lan" permits itself and all below; RFC 5280 has no leading dot here, as in ".lan"."""
    domains = list(_PRIVATE_DOMAINS)
    domains += [each for each in names.hosts if not any(_is_below(each, own) for own in _PRIVATE_DOMAINS)]
    networks = list(_PRIVATE_NETWORKS)
    networks += [
        ipaddress.ip_network(each)
        for each in names.addresses
        if not any(each.version == own.version and each in own for own in _PRIVATE_NETWORKS)
    ]
    return [*map(x509.DNSName, dict.fromkeys(domains)), *map(x509.IPAddress, dict.fromkeys(networks))]


def _is_below(host: str, domain: str) -> bool:
    return host == domain or host.endswith(f".{domain}")


def read(pem: bytes) -> Authority:
    """What `make` gave.

    Raises AuthorityUnreadable.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        key = serialization.load_pem_private_key(pem, None)
        certificate.extensions.get_extension_for_class(x509.NameConstraints)
    except (ValueError, TypeError, x509.ExtensionNotFound) as error:
        raise AuthorityUnreadable(str(error)) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise AuthorityUnreadable("the key is not that of the certificate")
    return Authority(certificate, key)


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of a certificate, as openssl prints it: pairs of upper-case digits and colons."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def names_of(certificate: x509.Certificate) -> Names:
    """The names and addresses that a certificate is for."""
    try:
        value = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return Names()
    return Names(
        tuple(value.get_values_for_type(x509.DNSName)),
        tuple(
            each
            for each in value.get_values_for_type(x509.IPAddress)
            if isinstance(each, ipaddress.IPv4Address | ipaddress.IPv6Address)
        ),
    )


def _begin(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    now = now.astimezone(UTC).replace(microsecond=0)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SLACK)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:_COMMON_NAME_MAX])])


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + certificate.public_bytes(serialization.Encoding.PEM)
