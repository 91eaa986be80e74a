"""Which addresses this process may connect to, looked at just before it does; and why one failed, in words.

A name can resolve to anything, and to something else a moment later. So what counts is the address that
the socket is opened for, in whatever spelling it came: an IPv6 address that stands for an IPv4 one is
looked at as that one.
"""

import errno
import ipaddress
import re
import socket
import ssl
from collections.abc import Iterable
from typing import Any, Final

from moorage.addresses import IPAddress, inner_of, is_public, read_networks

EVERYWHERE: Final = ("0.0.0.0/0", "::/0")
"""All networks: for a command that a person runs, who may connect to whatever this machine can reach."""


_WORDS: Final = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "it broke the connection off",
    errno.EHOSTDOWN: "no such machine there",
    errno.EHOSTUNREACH: "no route to it",
    errno.ENETUNREACH: "no route to it",
    errno.EPIPE: "it broke the connection off",
    errno.ETIMEDOUT: "no answer in time",
}
_ERRNO = re.compile(r"\[Errno ([0-9]+)\]", re.ASCII)
_MAX_CHARS = 300


class AddressRefused(OSError):
    """An address that is no public one, and not listed."""


class Addresses:
    """Public addresses, and the networks that a setting lists; `setting` is its name, for the sentence."""

    def __init__(self, networks: Iterable[str], setting: str) -> None:
        self._networks = read_networks(networks)
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
        return is_public(_parse(address)) or self.is_listed(address)

    def is_listed(self, address: str) -> bool:
        """Whether the setting lists it."""
        ip = _parse(address)
        return any(ip in network for network in self._networks)


def in_words(error: Exception) -> str:
    """Why a connection was not made, or went, in the words of a person; `error` is what a socket raises."""
    match error:
        case ssl.SSLCertVerificationError():
            return error.verify_message
        case ssl.SSLError():
            return (getattr(error, "reason", None) or "TLS failed").replace("_", " ").lower()
        case socket.gaierror():
            is_passing = error.errno == socket.EAI_AGAIN
            return "no answer from the name server" if is_passing else "name unknown"
        case TimeoutError():
            return _WORDS[errno.ETIMEDOUT]
        case ConnectionError() if error.errno is None:
            return _WORDS[errno.ECONNRESET]
    text = str(error)
    numbers = {getattr(error, "errno", None), *map(int, _ERRNO.findall(text))}
    if words := sorted({_WORDS[each] for each in numbers if each in _WORDS}):
        return " or ".join(words)
    return (getattr(error, "strerror", None) or text or type(error).__name__)[:_MAX_CHARS]


def _parse(address: str) -> IPAddress:
    return inner_of(ipaddress.ip_address(address.partition("%")[0]))
