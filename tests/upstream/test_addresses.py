"""Which addresses are connected to, in every spelling that an address has."""

import socket
from ipaddress import ip_address

import pytest

from moorage.addresses import is_public
from moorage.connecting import EVERYWHERE, Addresses, AddressRefused

NOT_PUBLIC = [
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
    *("224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "192.0.0.1"),
    *("::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "fec0::1", "::", "ff02::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1"),
    *("2002:7f00:1::", "2002:a9fe:a9fe::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2"),
    *("2606:4700::5efe:10.0.0.1", "2606:4700::200:5efe:127.0.0.1", "fe80::5efe:8.8.8.8"),
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_b107_address_that_is_not_public_is_not_connected_to(address: str) -> None:
    assert not Addresses([], "x.y").is_allowed(address)


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "10.1.2.3", "::ffff:10.1.2.3"],
)
def test_address_that_is_public_or_listed_is(address: str) -> None:
    assert Addresses(["10.0.0.0/8"], "x.y").is_allowed(address)


def test_what_is_listed_stays_not_public() -> None:
    addresses = Addresses(["10.0.0.0/8", "fd00::/8"], "x.y")

    assert [addresses.is_listed(each) for each in ("10.0.0.1", "fd00::1", "1.1.1.1")] == [True, True, False]
    assert not is_public(ip_address("10.0.0.1"))


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_whoever_runs_a_command_connects_everywhere(address: str) -> None:
    assert Addresses(EVERYWHERE, "x.y").is_allowed(address)


@pytest.mark.parametrize("spelling", ["127.1", "0x7f.1", "2130706433", "017700000001", "localhost"])
def test_b107_what_counts_is_the_address_that_a_spelling_comes_to(spelling: str) -> None:
    found = socket.getaddrinfo(spelling, 443, type=socket.SOCK_STREAM)

    assert found
    for each in found:
        with pytest.raises(
            AddressRefused, match=r"is no public address, and not in mirrors\.private_addresses"
        ):
            Addresses([], "mirrors.private_addresses").open_socket(each)
