"""Which hosts are public and which are somewhere inside, in all the spellings that a resolver takes.

    127.0.0.1  127.1  0x7f.1  2130706433  [::1]  [::ffff:127.0.0.1]  [64:ff9b::7f00:1]     this machine
    localhost  registry.lan  nas.local  metadata.google.internal  nas                      names from inside

Names that look public are anyone's to point anywhere: who connects looks at the address once more.
Source: inet_aton(3); RFC 6052, RFC 3056, RFC 4380, RFC 3879; RFC 6761, RFC 6762, RFC 8375.
"""

import ipaddress
import re
from collections.abc import Iterable
from typing import Final

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_SITE_LOCAL: Final = ipaddress.ip_network("fec0::/10")
_LOW_32_BITS: Final = 2**32 - 1
_ISATAP: Final = (0x00005EFE, 0x02005EFE)
_INSIDE: Final = (
    "localhost",
    "localdomain",
    "local",
    "internal",
    "intranet",
    "lan",
    "home",
    "corp",
    "private",
)
"""Last labels of names that no public server answers for."""
_HOME: Final = "home.arpa"

# number ::= "0x" hex* | "0" octal* | decimal
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]+", re.ASCII)
_PARTS_MAX: Final = 4
_BYTE: Final = 256


def is_loopback(host: str) -> bool:
    """Whether a host, as a URL has it, is this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_networks(texts: Iterable[str]) -> list[Network]:
    """Networks, or single addresses. Raises ValueError."""
    return [ipaddress.ip_network(each, strict=False) for each in texts]


def is_allowed(ip: IPAddress, networks: Iterable[Network]) -> bool:
    """Whether an address is public, or lies in one of these networks."""
    inner = inner_of(ip)
    return is_public(inner) or any(each in network for each in (inner, ip) for network in networks)


def is_public(ip: IPAddress) -> bool:
    """Whether an address is one of the internet's."""
    inner = inner_of(ip)
    return inner.is_global and not (inner.is_multicast or inner.is_reserved or inner in _SITE_LOCAL)


def inner_of(ip: IPAddress) -> IPAddress:
    """The IPv4 address that an IPv6 one stands for, if it does."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    is_isatap = ip.is_global and (int(ip) >> 32) & _LOW_32_BITS in _ISATAP
    if ip in _NAT64 or is_isatap:
        return ipaddress.IPv4Address(int(ip) & _LOW_32_BITS)
    if ip.teredo is not None:
        return ip.teredo[1]
    return ip.ipv4_mapped or ip.sixtofour or ip


def read_host(host: str) -> IPAddress | None:
    """The address that a URL's host is, however it is spelled; None for a name.

    Raises ValueError where it ends in a number as no name does, and is no address.
    """
    if ":" in host:
        return ipaddress.IPv6Address(host)
    parts = host.split(".")
    if _NUMBER.fullmatch(parts[-1]) is None:
        return None
    if len(parts) > _PARTS_MAX or not all(_NUMBER.fullmatch(each) for each in parts):
        raise ValueError(f"{host} is no address")
    *high, low = map(_read_number, parts)
    if any(each >= _BYTE for each in high) or low >= _BYTE ** (_PARTS_MAX - len(high)):
        raise ValueError(f"{host} is no address")
    value = sum(each << 8 * (_PARTS_MAX - 1 - at) for at, each in enumerate(high))
    return ipaddress.IPv4Address(value + low)


def _read_number(text: str) -> int:
    if text[:2].lower() == "0x":
        return int(text[2:] or "0", 16)
    is_octal = text.startswith("0") and len(text) > 1
    return int(text, 8 if is_octal else 10)


def is_inside_name(name: str) -> bool:
    """Whether a name is one that only a network of one's own answers for."""
    last = name.rpartition(".")[2]
    return "." not in name or last in _INSIDE or name == _HOME or name.endswith(f".{_HOME}")


def network_of(address: str) -> str:
    """The address itself, or the /64 of an IPv6 one: whoever has one has all in it."""
    if ":" not in address:
        return address
    try:
        ip = ipaddress.IPv6Address(address)
    except ValueError:
        return address
    return str(ip.ipv4_mapped or ipaddress.IPv6Address(int(ip) >> 64 << 64))
