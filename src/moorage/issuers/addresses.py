"""Which addresses may be connected to."""

import errno
import ipaddress
import socket
from collections.abc import Iterable
from typing import Any, Final

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_LOW_32_BITS: Final = 2**32 - 1


class AddressRefused(OSError):
    """An address that is no public one, and not listed."""


class Addresses:
    """Public addresses, and the networks that the settings list."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = [ipaddress.ip_network(each, strict=False) for each in networks]

    def open_socket(self, found: tuple[Any, ...]) -> socket.socket:
        """A socket for one address that a name was resolved to, just before it is connected.

        Raises AddressRefused.
        """
        family, kind, protocol, _, place = found
        if not self.is_allowed(str(place[0])):
            sentence = f"{place[0]} is no public address, and not in oidc.private_addresses"
            raise AddressRefused(errno.EACCES, sentence)
        return socket.socket(family, kind, protocol)

    def is_allowed(self, address: str) -> bool:
        """Whether this address may be asked."""
        ip = _inner(ipaddress.ip_address(address.partition("%")[0]))
        is_public = ip.is_global and not ip.is_multicast
        return is_public or any(ip in network for network in self._networks)


def _inner(ip: IPAddress) -> IPAddress:
    """The IPv4 address that an IPv6 one stands for, if it does."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & _LOW_32_BITS)
    return ip.ipv4_mapped or ip.sixtofour or ip
