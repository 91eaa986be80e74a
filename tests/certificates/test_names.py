import ipaddress
import socket

import pytest

from moorage.certificates.names import NameRefused, Names, find_names


def test_names_and_addresses_are_told_apart_and_each_stands_once() -> None:
    names = Names.of(["Registry.Local", "10.0.0.1", "[::1]", "registry.local"])

    assert names.hosts == ("registry.local",)
    assert [str(each) for each in names.addresses] == ["10.0.0.1", "::1"]


@pytest.mark.parametrize("text", ["", "*.lan", "a..b", "-a", "a b", "häuschen", "a" * 64, "x/y", "1.2.3.4/8"])
def test_what_is_neither_name_nor_address_is_refused(text: str) -> None:
    with pytest.raises(NameRefused):
        Names.of([text])


def test_this_machine_has_its_host_name_and_its_loopback_addresses() -> None:
    own = find_names()

    short = socket.gethostname().lower().partition(".")[0]
    assert {"localhost", f"{short}.local", f"{short}.lan", f"{short}.internal"} <= set(own.hosts)
    assert {ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")} <= set(own.addresses)
    assert not any(each.is_link_local for each in own.addresses if each.version == 6)


def test_host_named_like_a_top_level_domain_is_not_vouched_for_by_that_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "dev")
    monkeypatch.setattr(socket, "getfqdn", lambda _: "dev")

    assert find_names().hosts == ("localhost", "dev.local", "dev.lan", "dev.internal")


def test_address_that_the_kernel_would_send_from_is_among_this_machines() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("no route out of here")
        address = ipaddress.ip_address(probe.getsockname()[0])

    assert address in find_names().addresses
