"""What the root may vouch for, as OpenSSL judges it. Go's judgement: tests/acceptance/test_tls.py."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from moorage.certificates import authority
from moorage.certificates.authority import Authority, AuthorityUnreadable
from moorage.certificates.names import Names
from tests.faults.means import require

NOW = datetime.now(UTC)
HOST = ["db1", "db1.example.org", "203.0.113.7", "2001:db8::7", "10.1.2.3"]


@pytest.fixture(scope="module")
def root() -> Authority:
    return authority.read(authority.make(Names.of(HOST), "db1", NOW))


def verdict(root: Authority, leaf: bytes, folder: Path, *asked: str) -> bool:
    """Whether openssl takes the certificate for a server's."""
    require("openssl", "openssl")
    (folder / "root.pem").write_bytes(root.certificate.public_bytes(Encoding.PEM))
    (folder / "leaf.pem").write_bytes(leaf)
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "root.pem"]
    ended = subprocess.run([*command, *asked, "leaf.pem"], cwd=folder, capture_output=True, check=False)
    return ended.returncode == 0


INSIDE = [
    *("localhost", "registry.local", "a.b.lan", "x.internal", "db1", "db1.example.org", "a.db1.example.org"),
    *("127.0.0.1", "10.9.9.9", "172.31.0.1", "192.168.1.1", "169.254.1.1", "100.64.0.1", "203.0.113.7"),
    *("::1", "fd00::1", "fe80::1", "2001:db8::7"),
]
OUTSIDE = [
    *("example.com", "example.org", "notdb1.example.org", "xlocal", "local.com", "docker.io", "*.com"),
    *("8.8.8.8", "172.32.0.1", "100.128.0.1", "203.0.113.8", "2001:db8::8", "::2"),
]


@pytest.mark.parametrize("name", INSIDE)
def test_name_inside_is_vouched_for(root: Authority, tmp_path: Path, name: str) -> None:
    names = Names.of([name])

    assert root.divide(names) == (names, Names())
    kind = "-verify_ip" if names.addresses else "-verify_hostname"
    assert verdict(root, root.issue(names, NOW), tmp_path, kind, name)


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("beside", [[], ["db1"]], ids=["alone", "beside a name inside"])
def test_leaf_forged_for_a_name_outside_is_refused(
    root: Authority, tmp_path: Path, name: str, beside: list[str]
) -> None:
    """The key itself does not help: the root says what it may vouch for."""
    forged = Names(("*.com",)) if "*" in name else Names.of([name])
    names = Names.of(beside) | forged

    assert root.divide(names)[1] == forged
    assert not verdict(root, root.issue(names, NOW), tmp_path)


def test_root_is_bound_as_promised(root: Authority) -> None:
    extensions = root.certificate.extensions
    constraints = extensions.get_extension_for_class(x509.NameConstraints)
    basic = extensions.get_extension_for_class(x509.BasicConstraints)
    usage = extensions.get_extension_for_class(x509.KeyUsage)

    assert constraints.critical
    assert basic.critical
    assert usage.critical
    assert (basic.value.ca, basic.value.path_length) == (True, 0)
    assert (usage.value.key_cert_sign, usage.value.digital_signature) == (True, False)
    # a leading dot is no part of a DNS name here
    assert not any(
        each.value.startswith(".")
        for each in constraints.value.permitted_subtrees or ()
        if isinstance(each, x509.DNSName)
    )


def test_fingerprint_is_the_one_openssl_prints(root: Authority, tmp_path: Path) -> None:
    require("openssl", "openssl")
    path = tmp_path / "root.der"
    path.write_bytes(root.der)
    command = ["openssl", "x509", "-inform", "DER", "-in", str(path), "-noout", "-fingerprint", "-sha256"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert printed.strip().partition("=")[2] == authority.fingerprint(root.certificate)


@pytest.mark.parametrize("damage", [b"", b"-----BEGIN CERTIFICATE-----\n", b"\xff"])
def test_what_is_no_root_is_refused(damage: bytes) -> None:
    with pytest.raises(AuthorityUnreadable):
        authority.read(damage)


def test_key_of_another_root_is_refused(root: Authority) -> None:
    other = authority.make(Names.of(HOST), "db2", NOW)
    mixed = other[: other.index(b"-----BEGIN CERTIFICATE")] + root.certificate.public_bytes(Encoding.PEM)

    with pytest.raises(AuthorityUnreadable):
        authority.read(mixed)
