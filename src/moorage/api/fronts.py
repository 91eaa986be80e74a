"""What stands between a client and this server: proxies, and the name by which clients reach it.

An explicit public address comes first. `Forwarded` and `X-Forwarded-*` count only from the proxies that
the settings list; from anyone else they are what anyone can write. Where both came, `X-Forwarded-*` counts:
nearly every proxy writes that, and lets a client's own `Forwarded` through.

Source: RFC 7239; the de-facto `X-Forwarded-For`, `-Proto` and `-Host`.
"""

import ipaddress
import re
from functools import lru_cache
from urllib.parse import urlsplit

from moorage.api.exchange import Request
from moorage.config import ServerSettings

# the directive, not the same letters in another's value: a client chooses its Host
_FOR = re.compile(
    r"""(?:^|;)\s*for="?(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<v4>[0-9.]+))(?::[0-9]+)?"?\s*(?:;|$)""",
    re.ASCII | re.IGNORECASE,
)
_HOST = re.compile(r"[A-Za-z0-9._\-\[\]:]{1,255}", re.ASCII)
_DIRECTIVE = r'(?:^|;)\s*{}="?([^";,]+)"?'


class Fronts:
    """The settings' proxies and public addresses."""

    def __init__(self, settings: ServerSettings) -> None:
        self._proxies = [ipaddress.ip_network(each, strict=False) for each in settings.proxies]
        self._public = {urlsplit(each).netloc.lower(): each.rstrip("/") for each in settings.public}
        self._trusts = lru_cache(1024)(self._find_trust)

    def _find_trust(self, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        ip = getattr(ip, "ipv4_mapped", None) or ip
        return any(ip in network for network in self._proxies)

    def address(self, request: Request) -> str:
        """The client's address: the last one that no proxy of ours has."""
        peer = request.client
        if not self._proxies or not self._trusts(peer):
            return peer
        forwarded = _standard(request)
        chain = (
            [_client_of(each) for each in forwarded.split(",")]
            if forwarded is not None
            else [each.strip() for each in (request.header(b"x-forwarded-for") or "").split(",")]
        )
        for each in reversed(chain):
            if not _is_address(each):
                break
            peer = each
            if not self._trusts(each):
                break
        return peer

    def base(self, request: Request) -> str:
        """Scheme, host and port by which the client reaches the registry, without a slash at the end."""
        scheme, host = self._seen(request)
        if self._public:
            return self._public.get(host.lower()) or next(iter(self._public.values()))
        return f"{scheme}://{host}"

    def is_plain(self, request: Request) -> bool:
        """Whether what is sent can be read on its way: plain HTTP, and not from this machine itself."""
        if self._seen(request)[0] == "https":
            return False
        return not _is_loopback(self.address(request))

    def _seen(self, request: Request) -> tuple[str, str]:
        scheme = str(request.scope["scheme"])
        host = (request.headers.get(b"host") or b"").decode("latin-1")
        if self._proxies and self._trusts(request.client):
            forwarded = _standard(request)
            if forwarded is not None:
                # a client whose own words a proxy lets through first leads no one but itself astray
                first = forwarded.partition(",")[0]
                scheme = _directive(first, "proto") or scheme
                host = _directive(first, "host") or host
            else:
                scheme = _first(request, b"x-forwarded-proto") or scheme
                host = _first(request, b"x-forwarded-host") or host
        if _HOST.fullmatch(host) is None:
            server = request.scope.get("server") or ("localhost", 0)
            name = f"[{server[0]}]" if ":" in server[0] else server[0]
            host = f"{name}:{server[1]}"
        return ("https" if scheme.lower() == "https" else "http"), host


def _standard(request: Request) -> str | None:
    """`Forwarded`, from a proxy that does not write `X-Forwarded-For`."""
    return None if b"x-forwarded-for" in request.headers else request.header(b"forwarded")


def _client_of(element: str) -> str:
    """The address in one element of `Forwarded`; "" for one that names none, or is cut within quotes."""
    match = _FOR.search(element)
    return "" if match is None or element.count('"') % 2 else match["v6"] or match["v4"]


def _directive(element: str, name: str) -> str | None:
    match = re.search(_DIRECTIVE.format(name), element, re.IGNORECASE)
    return match[1].strip() if match else None


def _first(request: Request, name: bytes) -> str:
    return (request.header(name) or "").partition(",")[0].strip()


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@lru_cache(1024)
def is_loopback_host(host: str) -> bool:
    """Whether a Host header names this machine whatever a resolver says."""
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    return name == "localhost" or _is_loopback(name.strip("[]"))


def _is_loopback(address: str) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return ip.is_loopback
