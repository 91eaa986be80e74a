"""Where a URL leads, and where what a registry says may lead: its realm, its redirects, its next pages.

Source: RFC 3986, 5; RFC 9110, 10.2.2 and 15.4; the cross-site rules are RFC 6265bis' in miniature.
"""

import ipaddress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin, urlsplit

_URL_MAX_CHARS: Final = 8192
_PORTS: Final = {"https": 443, "http": 80}
_PORT_FREE_FROM: Final = 1024
"""Below are other protocols' ports: mail, shells, files."""

_SECOND_LEVEL: Final = frozenset({"ac", "co", "com", "edu", "go", "gob", "gov", "ne", "net", "or", "org"})
"""Under a country: `x.co.uk` and `y.co.uk` are two sites."""

_COUNTRY_CHARS: Final = 2

_SHARED: Final = frozenset(
    {
        *("amazonaws.com", "azurecr.io", "azure.com", "azurewebsites.net", "windows.net", "cloudapp.net"),
        *("googleapis.com", "pkg.dev", "run.app", "appspot.com", "web.app", "cloudfunctions.net"),
        *("github.io", "githubusercontent.com", "gitlab.io", "pages.dev", "workers.dev", "r2.dev"),
        *("cloudfront.net", "fastly.net", "akamaized.net", "b-cdn.net", "digitaloceanspaces.com"),
        *("herokuapp.com", "vercel.app", "netlify.app", "fly.dev", "onrender.com", "ondigitalocean.app"),
        *("jfrog.io", "cloudsmith.io", "gitea.cloud", "ngrok.io", "ngrok.app", "trycloudflare.com"),
        *("duckdns.org", "ddns.net", "dyndns.org", "nip.io", "sslip.io", "backblazeb2.com"),
    }
)
"""Where strangers live side by side: the same site is the same host."""


class NoPlace(ValueError):
    """A URL that nothing is sent to; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Place:
    """A URL that may be asked, as it was written: presigned ones must not be spelled otherwise."""

    url: str
    scheme: str
    host: str
    port: int

    @property
    def origin(self) -> tuple[str, str, int]:
        """What has to be the same for credentials to be shown."""
        return self.scheme, self.host, self.port

    @property
    def name(self) -> str:
        """Who is there, for a person: the host, and the port if it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def parse_place(url: str) -> Place:
    """A URL of http or https without a user in it.

    Raises NoPlace.
    """
    if len(url) > _URL_MAX_CHARS or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise NoPlace("it is no URL")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise NoPlace("it is no URL") from error
    if parts.scheme not in _PORTS:
        raise NoPlace(f"it is not https but {parts.scheme[:20] or 'nothing'}:")
    if "@" in parts.netloc:
        raise NoPlace("it has a user in it")
    host = (parts.hostname or "").rstrip(".")
    if not host or parts.fragment:
        raise NoPlace("it is no URL of a server")
    return Place(url, parts.scheme, host, port if port is not None else _PORTS[parts.scheme])


def follow(base: Place, location: str) -> Place:
    """Where an answer of `base` leads: as safe as `base`, and to no other protocol's port.

    Raises NoPlace.
    """
    target = location.partition("#")[0]
    if not target:
        raise NoPlace("it does not say where")
    place = parse_place(urljoin(base.url, target))
    if base.scheme == "https" and place.scheme != "https":
        raise NoPlace("it leads from https to http")
    if place.port not in _PORTS.values() and place.port < _PORT_FREE_FROM and place.port != base.port:
        raise NoPlace(f"port {place.port} is no web server's")
    return place


def follow_upload(base: Place, location: str) -> Place:
    """Where an upload goes on. A registry behind a proxy may forget that it is asked by https.

    Raises NoPlace.
    """
    joined = urljoin(base.url, location)
    said = urlsplit(joined)
    if base.scheme == "https" and said.scheme == "http" and said.hostname == base.host:
        joined = said._replace(scheme="https", netloc=base.name).geturl()
    return follow(base, joined)


def find_realm(base: Place, realm: str) -> Place:
    """Where the registry at `base` has tokens given: by https, on its own site.

    Plain http only where `base` is asked by http itself. Raises NoPlace.
    """
    place = follow(base, parse_place(realm).url)
    if not is_same_site(base.host, place.host):
        raise NoPlace(f"{place.host} is another site than {base.host}")
    return place


def is_same_site(host: str, other: str) -> bool:
    """Whether two hosts are one organisation's: the same, or both under one domain that is not shared."""
    host, other = host.lower().rstrip("."), other.lower().rstrip(".")
    if host == other:
        return True
    site = _site_of(host)
    return site is not None and site == _site_of(other)


def _site_of(host: str) -> str | None:
    """The domain that someone has registered, as far as a small rule knows; None: the host itself."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return None
    labels = host.split(".")
    if labels[-1].isdigit():
        return None
    is_country = len(labels[-1]) == _COUNTRY_CHARS
    count = 3 if is_country and len(labels) > 1 and labels[-2] in _SECOND_LEVEL else 2
    if len(labels) < count or "" in labels or ".".join(labels[-2:]) in _SHARED:
        return None
    return ".".join(labels[-count:])
