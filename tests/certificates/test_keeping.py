import ipaddress
import os
from datetime import timedelta
from pathlib import Path

import pytest
import structlog
from cryptography import x509

from moorage.certificates.authority import SERVER_LIFE, names_of
from moorage.certificates.keeping import CertificateRefused, OwnCertificate, write_whole
from moorage.certificates.names import Names
from tests.certificates.conftest import Machine

Events = list[structlog.typing.EventDict]


def served(own: OwnCertificate) -> x509.Certificate:
    return x509.load_pem_x509_certificate(own.server_path.read_bytes())


def test_first_start_makes_a_root_and_a_certificate_that_only_the_owner_reads(machine: Machine) -> None:
    own = machine.certificate("registry.lan")

    root = own.prepare()

    assert [oct(each.stat().st_mode & 0o777) for each in (own.authority_path, own.server_path)] == [
        "0o600"
    ] * 2
    assert oct(machine.folder.stat().st_mode & 0o777) == "0o700"
    served(own).verify_directly_issued_by(root.certificate)
    assert names_of(served(own)) == machine.names | Names.of(["registry.lan"])
    assert sorted(path.name for path in machine.folder.iterdir()) == ["authority.pem", "server.pem"]


def test_second_start_keeps_both(machine: Machine) -> None:
    machine.certificate().prepare()
    before = [path.read_bytes() for path in sorted(machine.folder.iterdir())]

    machine.certificate().prepare()

    assert [path.read_bytes() for path in sorted(machine.folder.iterdir())] == before


def test_certificate_is_issued_anew_when_an_address_changes(machine: Machine) -> None:
    own = machine.certificate()
    own.prepare()
    machine.names = Names.of(["localhost", "db1", "127.0.0.1", "10.0.0.9"])

    own.keep()

    assert ipaddress.ip_address("10.0.0.9") in names_of(served(own)).addresses


def test_certificate_is_issued_anew_when_a_third_of_its_life_is_left(machine: Machine) -> None:
    own = machine.certificate()
    own.prepare()
    first = served(own)
    machine.now += SERVER_LIFE * 2 / 3 - timedelta(minutes=1)
    own.keep()
    assert served(own) == first

    machine.now += timedelta(minutes=2)
    own.keep()

    assert served(own).not_valid_after_utc == machine.now + SERVER_LIFE


def test_certificate_that_was_damaged_or_is_anothers_is_issued_anew(machine: Machine, tmp_path: Path) -> None:
    own = machine.certificate()
    own.prepare()
    other = Machine(tmp_path / "other").certificate()
    other.prepare()

    for content in (b"", own.server_path.read_bytes()[:300], other.server_path.read_bytes()):
        own.server_path.write_bytes(content)
        root = own.prepare()
        served(own).verify_directly_issued_by(root.certificate)


def test_name_of_the_machine_that_the_root_may_not_vouch_for_is_left_out_and_told_once(
    machine: Machine, logged: Events
) -> None:
    own = machine.certificate()
    own.prepare()
    before = served(own)
    machine.names |= Names.of(["db1.example.org", "198.51.100.4"])

    own.keep()
    own.keep()

    assert served(own) == before
    told = [entry for entry in logged if entry["event"] == "names_left_out"]
    assert [entry["names"] for entry in told] == ["db1.example.org, 198.51.100.4"]


def test_configured_name_that_the_root_may_not_vouch_for_is_refused_with_what_to_do(machine: Machine) -> None:
    machine.certificate().prepare()
    before = machine.certificate().authority_path.read_bytes()

    with pytest.raises(CertificateRefused, match=r"registry\.example\.org.*renew-authority"):
        machine.certificate("registry.example.org").prepare()

    assert machine.certificate().authority_path.read_bytes() == before


def test_renewed_root_may_vouch_for_it_and_the_old_one_is_kept(machine: Machine) -> None:
    machine.certificate().prepare()
    old = machine.certificate().authority_path.read_bytes()
    own = machine.certificate("registry.example.org")

    root = own.renew_authority()

    assert root.permits_host("registry.example.org")
    served(own).verify_directly_issued_by(root.certificate)
    assert (machine.folder / "authority.pem.old").read_bytes() == old
    assert own.prepare().certificate == root.certificate


def test_root_that_has_expired_or_is_damaged_is_refused_and_never_replaced(machine: Machine) -> None:
    own = machine.certificate()
    own.prepare()
    machine.now += timedelta(days=3651)
    with pytest.raises(CertificateRefused, match=r"expired.*renew-authority"):
        own.prepare()

    own.authority_path.write_bytes(b"damaged")
    with pytest.raises(CertificateRefused, match="renew-authority"):
        own.prepare()

    assert own.authority_path.read_bytes() == b"damaged"


def test_keeping_never_fails(machine: Machine, logged: Events) -> None:
    own = machine.certificate()
    own.prepare()
    own.authority_path.write_bytes(b"damaged")

    own.keep()

    assert [entry["event"] for entry in logged][-1] == "certificate_not_kept"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write for another")
def test_file_that_root_writes_belongs_to_whom_the_folder_does(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    folder.mkdir()
    os.chown(folder, 65534, 65534)

    write_whole(folder / "server.pem", b"x")

    written = (folder / "server.pem").stat()
    assert (written.st_uid, written.st_gid, written.st_mode & 0o777) == (65534, 65534, 0o600)
