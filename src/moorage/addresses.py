"""Which addresses this process may connect to, looked at just before it does.

A name can resolve to anything, and to something else a moment later. So what counts is the address that
the socket is opened for, in whatever spelling it came: an IPv6 address that stands for an IPv4 one is
looked at as that one.
"""

import errno
import ipaddress
import socket
from collections.abc import Iterable
from typing import Any, Final

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

EVERYWHERE: Final = ("0.0.0.0/0", "::/0")
"""All networks: for a command that a person runs, who may connect to whatever this machine can reach."""

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_LOW_32_BITS: Final = 2**32 - 1
_ISATAP: Final = (0x00005EFE, 0x02005EFE)


class AddressRefused(OSError):
    """An address that is no public one, and not listed."""


class Addresses:
    """Public addresses, and the networks that a setting lists; `setting` is its name, for the sentence."""

    def __init__(self, networks: Iterable[str], setting: str) -> None:
        self._networks = [ipaddress.ip_network(each, strict=False) for each in networks]
        self._setting = setting

    def open_socket(self, found: tuple[Any, ...]) -> socket.socket:
        """A socket for one address that a name was resolved to, just before it is connected.

        Raises AddressRefused.
        """
        self.check(str(found[4][0]))
        return socket.socket(*found[:3])

    def open_listed_socket(self, found: tuple[Any, ...]) -> socket.socket:
        """The same, for a listed address only: where nothing is encrypted.

        Raises AddressRefused.
        """
        address = str(found[4][0])
        if not self.is_listed(address):
            sentence = f"http:// goes only to addresses in {self._setting}, and {address} is not"
            raise AddressRefused(errno.EACCES, sentence)
        return socket.socket(*found[:3])

    def check(self, address: str) -> None:
        """Raises AddressRefused for one that may not be asked."""
        if not self.is_allowed(address):
            sentence = f"{address} is no public address, and not in {self._setting}"
            raise AddressRefused(errno.EACCES, sentence)

    def is_allowed(self, address: str) -> bool:
        """Whether this address may be asked."""
        return is_public(address) or self.is_listed(address)

    def is_listed(self, address: str) -> bool:
        """Whether the setting lists it."""
        ip = _parse(address)
        return any(ip in network for network in self._networks)


def is_public(address: str) -> bool:
    """Whether an address is one of the internet's: not private, loopback, link-local, shared or multicast."""
    ip = _parse(address)
    is_site_local = isinstance(ip, ipaddress.IPv6Address) and ip.is_site_local
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or is_site_local)


def _parse(address: str) -> IPAddress:
    """The address, or the IPv4 one that it stands for."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    is_isatap = ip.is_global and (int(ip) >> 32) & _LOW_32_BITS in _ISATAP
    if ip in _NAT64 or is_isatap:
        return ipaddress.IPv4Address(int(ip) & _LOW_32_BITS)
    return ip.ipv4_mapped or ip.sixtofour or ip
