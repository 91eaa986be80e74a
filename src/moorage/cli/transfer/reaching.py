"""How a registry is reached: where it answers, what it is shown, and whose certificates count."""

import asyncio
import ipaddress
import os
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Final

from moorage.mirrors.asking import Unreachable, UpstreamFailure
from moorage.mirrors.upstreams import Address
from moorage.oci.references import DOCKER_HUB
from moorage.transfer.between.ports import CopyRefused
from moorage.upstream.docker_config import Credentials, DockerConfig
from moorage.upstream.pushing import HttpPusher

_HUB_API: Final = "registry-1.docker.io"
_TIMEOUT_S: Final = 30.0
_PROBE_S: Final = 10.0
_CERTS = ("/etc/docker/certs.d", "/etc/containers/certs.d")
_OWN_CERTS = "containers/certs.d"


class Reaching:
    """Finds the addresses of registries by their names in references. `authority`: a file to trust too."""

    def __init__(self, pusher: HttpPusher, config: DockerConfig, authority: Path | None) -> None:
        self._pusher = pusher
        self._config = config
        self._authority = authority

    async def find(self, domain: str, *, is_plain: bool) -> Address:
        """The address of a registry, with the credentials that docker has for it.

        Raises CopyRefused, DockerConfigError, UpstreamFailure.
        """
        credentials = await asyncio.to_thread(self._config.find, domain)
        return await self.find_for(domain, credentials, is_plain=is_plain)

    async def find_for(self, domain: str, credentials: Credentials | None, *, is_plain: bool) -> Address:
        """The same, with these credentials. Raises CopyRefused, UpstreamFailure."""
        if not domain:
            raise CopyRefused("this names no registry that could be asked")
        host = _HUB_API if domain == DOCKER_HUB else domain
        known = credentials or Credentials("", "")
        authority = "" if is_plain else read_authorities(host, self._authority)
        secure = Address(f"https://{host}", known.username, known.password, authority)
        plain = Address(f"http://{host}", known.username, known.password)
        if is_plain:
            return plain
        if not await is_loopback(host):
            return secure
        # as docker does: on this machine plain HTTP will do, where there is no TLS
        try:
            await self._answers(secure)
        except Unreachable as failure:
            try:
                await self._answers(plain)
            except UpstreamFailure:
                raise failure from None
            return plain
        return secure

    async def _answers(self, at: Address) -> None:
        """Whether there is one at all: what it says of credentials is for later."""
        anonymous = Address(at.url, authority=at.authority)
        try:
            await self._pusher.ping(anonymous, _PROBE_S)
        except Unreachable:
            raise
        except UpstreamFailure:
            if at.url.startswith("http:"):
                await self._pusher.ping(at, _TIMEOUT_S)


def read_authorities(host: str, file: Path | None) -> str:
    """PEM of all roots that count for a registry; empty when those are the system's alone.

    Raises CopyRefused for a file of which there is nothing to read.
    """
    found = [] if file is None else [_read_pem(file)]
    for folder in certificate_folders():
        with suppress(OSError):
            found += [_read_pem(path) for path in sorted((folder / host).glob("*.crt"))]
    if not found:
        return ""
    with suppress(OSError, TypeError):
        paths = ssl.get_default_verify_paths()
        found.append(Path(paths.cafile or paths.openssl_cafile).read_text("ascii", "ignore"))
    return "\n".join(found)


def certificate_folders() -> list[Path]:
    """Where docker and podman look for the roots of registries; only root reads docker's own."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return [*map(Path, _CERTS), home / _OWN_CERTS]


async def is_loopback(host: str) -> bool:
    """Whether a name means this machine, and nothing else."""
    name = host.rpartition(":")[0] if ":" in host.rpartition("]")[2] else host
    name = name.strip("[]")
    with suppress(ValueError):
        return ipaddress.ip_address(name).is_loopback
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return bool(found) and all(ipaddress.ip_address(each[4][0]).is_loopback for each in found)


def _read_pem(path: Path) -> str:
    try:
        text = path.read_text("ascii")
        ssl.create_default_context(cadata=text)
    except (OSError, UnicodeDecodeError, ssl.SSLError, ValueError) as error:
        raise CopyRefused(f"{path} holds no certificate that can be read: {error}") from error
    return text
