"""/trust: how a client comes to trust this registry's own root certificate. One pasted line for each.

Each fetches the root from the registry without trusting anyone yet, compares the whole file with the
fingerprint in the line, and only then puts it where the client looks. The file is DER: a PEM file
may hold more than what is compared. Whoever is in between can replace the root or the page, so the
fingerprint has to come by another way: from the operator's terminal.
"""

import hashlib
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from moorage.web.templating import templates

PAGE = b"/trust"
ROOT = b"/trust/ca.der"
ROOT_TEXT = b"/trust/ca.crt"
ROOT_MAX_BYTES = 16 * 1024

# address = name / IPv4 / "[" IPv6 "]" [ ":" port ] ; it stands in lines for a shell, so nothing else may
_ADDRESS = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?", re.ASCII)
_POLICY = b"default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

Header = tuple[bytes, bytes]


def is_address(text: str) -> bool:
    """Whether it is HOST or HOST:PORT and nothing that a shell would take for more."""
    return _ADDRESS.fullmatch(text) is not None


def fingerprint(root: bytes) -> str:
    """SHA-256 of a certificate (DER), as openssl prints it: pairs of upper-case digits and colons."""
    return hashlib.sha256(root).digest().hex(":").upper()


@dataclass(frozen=True, slots=True)
class Recipe:
    """One client: the word for it, its name, and the line to paste."""

    word: str
    title: str
    line: str
    note: str = ""


def certificate_path(client: str, address: str) -> PurePosixPath:
    """Where a client on Linux looks for the root of one registry; or a system for all.

    `client` is docker, containerd, podman, debian (and Alpine) or rhel.
    """
    file = f"moorage-{re.sub('[^A-Za-z0-9.-]', '-', address)}.crt"
    return PurePosixPath(
        {
            "docker": f"/etc/docker/certs.d/{address}/ca.crt",
            "containerd": f"/etc/containerd/certs.d/{address}/ca.crt",
            "podman": f"/etc/containers/certs.d/{address}/ca.crt",
            "debian": f"/usr/local/share/ca-certificates/{file}",
            "rhel": f"/etc/pki/ca-trust/source/anchors/{file}",
        }[client]
    )


def containerd_hosts(address: str) -> str:
    """The `hosts.toml` by which containerd finds this registry's root."""
    root = certificate_path("containerd", address)
    return f'server = "https://{address}"\n\n[host."https://{address}"]\n  ca = "{root}"\n'


@dataclass(frozen=True, slots=True)
class Trust:
    """A registry as its clients reach it, and its root's SHA-256 in pairs with colons."""

    address: str
    fingerprint: str

    def line(self, client: str) -> str:
        """The line for one client, by its word."""
        return next(each.line for each in self.recipes() if each.word == client)

    def recipes(self) -> list[Recipe]:
        """All clients, the most frequent first."""
        hosts = containerd_hosts(self.address).replace("\n", "\\n")
        hosts_path = certificate_path("containerd", self.address).with_name("hosts.toml")
        containerd = f"{self._install('containerd')} && printf '{hosts}' | $s tee '{hosts_path}' >/dev/null"
        return [
            Recipe("docker", "docker", self._checked(self._install("docker"))),
            Recipe(
                "containerd",
                "containerd",
                self._checked(containerd),
                'Its config.toml must have config_path = "/etc/containerd/certs.d".',
            ),
            Recipe("podman", "podman, skopeo, buildah", self._checked(self._install("podman"))),
            Recipe(
                "curl",
                "curl",
                self._checked("cp $t/ca.crt moorage-ca.crt"),
                f"Then: curl --cacert moorage-ca.crt https://{self.address}/v2/",
            ),
            Recipe(
                "debian",
                "Debian, Ubuntu, Alpine: all programs",
                self._checked(f"{self._install('debian')} && $s update-ca-certificates"),
                "docker and containerd then need a restart.",
            ),
            Recipe(
                "rhel",
                "RHEL, Fedora, Rocky: all programs",
                self._checked(f"{self._install('rhel')} && $s update-ca-trust"),
                "docker and containerd then need a restart.",
            ),
            Recipe("macos", "macOS: all programs", self._macos(), "Docker Desktop then needs a restart."),
            Recipe(
                "windows",
                "Windows: all programs, in PowerShell as administrator",
                self._windows(),
                "Docker Desktop then needs a restart.",
            ),
        ]

    @property
    def _digits(self) -> str:
        return self.fingerprint.replace(":", "").lower()

    def _install(self, client: str) -> str:
        path = certificate_path(client, self.address)
        return f"$s mkdir -p '{path.parent}' && $s install -m 644 $t/ca.crt '{path}'"

    def _checked(self, then: str) -> str:
        """Fetch, compare, make it PEM, go on; by sudo where there is one."""
        return (
            f"s=$(command -v sudo); {self._fetched('sha256sum')} && (echo -----BEGIN CERTIFICATE-----;"
            f" base64 $t/ca.der; echo -----END CERTIFICATE-----) >$t/ca.crt && {then} && echo trusted"
            " || echo NOT trusted; rm -r $t"
        )

    def _fetched(self, digest: str) -> str:
        return (
            f"t=$(mktemp -d) && curl -fsSk 'https://{self.address}/trust/ca.der' -o $t/ca.der"
            f" && {digest} <$t/ca.der | grep -q ^{self._digits}"
        )

    def _macos(self) -> str:
        return (
            f"{self._fetched('shasum -a 256')} && sudo security add-trusted-cert -d -r trustRoot"
            " -k /Library/Keychains/System.keychain $t/ca.der && echo trusted || echo NOT trusted; rm -r $t"
        )

    def _windows(self) -> str:
        digits = self._digits.upper()
        return (
            f'$f = "$env:TEMP\\moorage-ca.der"; curl.exe -fsSk "https://{self.address}/trust/ca.der" -o $f;'
            " $c = New-Object Security.Cryptography.X509Certificates.X509Certificate2 $f;"
            " $h = [Security.Cryptography.SHA256]::Create().ComputeHash($c.RawData);"
            f" if ([BitConverter]::ToString($h).Replace('-', '') -eq '{digits}')"
            " { $s = New-Object Security.Cryptography.X509Certificates.X509Store 'Root', 'LocalMachine';"
            " $s.Open('ReadWrite'); $s.Add($c); $s.Close(); 'trusted' } else { 'NOT trusted' }"
        )


class TrustPages:
    """Answers /trust, /trust/ca.der and /trust/ca.crt."""

    def __init__(self, listen: str, find_root: Callable[[], bytes] | None) -> None:
        """`find_root` gives the root as DER; it is None when the operator's own certificate serves.

        `listen` stands for the address where a client names none.
        """
        self._listen = listen
        self._find_root = find_root

    def answer(self, path: bytes, host: str, accept: str) -> tuple[bytes, bytes] | None:
        """Content type and body for a path; None when there is nothing at it."""
        if path == ROOT and self._find_root is not None:
            return b"application/x-x509-ca-cert", self._find_root()
        if path == ROOT_TEXT and self._find_root is not None:
            return b"application/x-pem-file", ssl.DER_cert_to_PEM_cert(self._find_root()).encode()
        if path != PAGE:
            return None
        address = host if is_address(host) else self._listen
        trust = None if self._find_root is None else Trust(address, fingerprint(self._find_root()))
        is_page = "text/html" in accept
        text = (
            templates()
            .get_template("trust.html" if is_page else "trust.txt")
            .render(address=address, trust=trust)
        )
        return (b"text/html; charset=utf-8" if is_page else b"text/plain; charset=utf-8"), text.encode()

    @property
    def policy(self) -> Header:
        """What a browser may load for these pages."""
        return b"content-security-policy", _POLICY
