"""What this machine is called and where it is reached.

Source: RFC 1123, section 2.1 (host names); getifaddrs(3).
"""

import ctypes
import ipaddress
import re
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAME_MAX = 253
_RESOLVER_S = 1.0
# name  = label *( "." label ) ; label = 1*63( letter / digit / "-" / "_" ), no "-" at an end
_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)


class NameRefused(ValueError):
    """Neither a host name nor an address; the sentence says so."""


@dataclass(frozen=True, slots=True)
class Names:
    """Host names in lower case and addresses, each once, in order."""

    hosts: tuple[str, ...] = ()
    addresses: tuple[Address, ...] = ()

    @classmethod
    def of(cls, texts: Iterable[str]) -> Self:
        """Sort out names and addresses. Raises NameRefused."""
        hosts: dict[str, None] = {}
        addresses: dict[Address, None] = {}
        for text in texts:
            address = find_address(text)
            if address is not None:
                addresses[address] = None
            elif is_host_name(text.lower()):
                hosts[text.lower()] = None
            else:
                raise NameRefused(f"{text!r} is neither a host name nor an address")
        return cls(tuple(hosts), tuple(addresses))

    def __or__(self, other: "Names") -> "Names":
        """All of both."""
        return Names(
            tuple(dict.fromkeys(self.hosts + other.hosts)),
            tuple(dict.fromkeys(self.addresses + other.addresses)),
        )

    def __str__(self) -> str:
        return ", ".join([*self.hosts, *map(str, self.addresses)])


def is_host_name(text: str) -> bool:
    """Whether it can stand in a certificate as it is; no wildcards."""
    return len(text) <= _NAME_MAX and _NAME.fullmatch(text) is not None


def find_address(text: str) -> Address | None:
    """The address that a text is, with or without brackets; None for a name."""
    try:
        return ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None


def find_names() -> Names:
    """This machine's names and the addresses of its interfaces, loopback included.

    A resolver that does not answer within a second is not waited for.
    """
    host = socket.gethostname().lower()
    hosts = ["localhost"]
    if is_host_name(host):
        short = host.partition(".")[0]
        # never the short name itself: to a root that may vouch for it, `dev` is all of .dev
        hosts += [f"{short}.local", f"{short}.lan", f"{short}.internal"]
        if "." in host:
            hosts.append(host)
    full = _ask_resolver(host)
    if full is not None and is_host_name(full):
        hosts.append(full)
    loopback = [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")]
    return Names(
        tuple(dict.fromkeys(hosts)),
        tuple(dict.fromkeys([*loopback, *sorted(_interface_addresses(), key=str)])),
    )


def _ask_resolver(host: str) -> str | None:
    """The full name of a host; None when there is none, or no answer in time."""
    found: list[str] = []
    asking = threading.Thread(target=lambda: found.append(socket.getfqdn(host).lower()), daemon=True)
    asking.start()
    asking.join(_RESOLVER_S)
    return found[0] if found and "." in found[0] else None


class _Interface(ctypes.Structure):
    """The start of `struct ifaddrs`."""


_Interface._fields_ = [
    ("next", ctypes.POINTER(_Interface)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("address", ctypes.c_void_p),
]


@contextmanager
def _interfaces() -> Iterator[Any]:
    c = ctypes.CDLL(None, use_errno=True)
    first = ctypes.POINTER(_Interface)()
    if c.getifaddrs(ctypes.byref(first)) != 0:
        raise OSError(ctypes.get_errno(), "getifaddrs")
    try:
        yield first
    finally:
        c.freeifaddrs(first)


def _interface_addresses() -> set[Address]:
    """Every address of every interface; IPv6 link-local ones stay out, as no client can name them alone."""
    found: set[Address] = set()
    with _interfaces() as each:
        while each:
            if each.contents.address:
                address = _read_socket_address(each.contents.address)
                if address is not None and not (address.version == 6 and address.is_link_local):  # noqa: PLR2004
                    found.add(address)
            each = each.contents.next  # noqa: PLW2901 - a linked list
    return found


def _read_socket_address(at: int) -> Address | None:
    """`struct sockaddr_in` or `sockaddr_in6`: family, port, then IPv6's flow, then the address."""
    family = ctypes.c_ushort.from_address(at).value
    if family == socket.AF_INET:
        return ipaddress.IPv4Address(ctypes.string_at(at + 4, 4))
    if family == socket.AF_INET6:
        return ipaddress.IPv6Address(ctypes.string_at(at + 8, 16))
    return None
