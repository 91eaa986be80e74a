"""A certified OpenID provider (npm's `oidc-provider`) as a process of its own, and a browser for it.

The keys are made here and handed to it, so a test can also sign what the provider never would.
"""

import base64
import fcntl
import http.cookiejar
import json
import os
import re
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from joserfc import jwt
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from tests.acceptance.sandbox import require
from tests.servers import find_free_port

HERE = Path(__file__).parent
INSTALLED = HERE.parents[1] / ".tools" / "oidc"
REDIRECTS_MAX = 10
START_S = 30.0
AUDIENCE = "https://registry.example"
CLAIMS = {"repository": "acme/app", "ref": "refs/heads/main"}


def install() -> None:
    """Put the pinned version into an ignored folder, each package checked against its hash."""
    require("node")
    npm = require("npm")
    lock = (HERE / "package-lock.json").read_bytes()
    INSTALLED.parent.mkdir(exist_ok=True)
    with INSTALLED.with_suffix(".lock").open("w") as turn:
        # another lane of the tests may be at it
        fcntl.flock(turn, fcntl.LOCK_EX)
        _install(npm, lock)


def _install(npm: str, lock: bytes) -> None:
    stamp = INSTALLED / "installed.json"
    if stamp.exists() and stamp.read_bytes() == lock:
        return
    shutil.rmtree(INSTALLED, ignore_errors=True)
    INSTALLED.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, INSTALLED)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run(command, cwd=INSTALLED, check=True, capture_output=True, timeout=200)
    stamp.write_bytes(lock)


class Provider:
    """The provider on a loopback port; a context manager. `restart` keeps its port."""

    def __init__(self, redirect_uri: str, host: str = "127.0.0.1") -> None:
        self.port = find_free_port()
        self.issuer = f"http://{host}:{self.port}"
        self.redirect_uri = redirect_uri
        self.requests: list[str] = []
        self.new_keys("1")
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def new_keys(self, name: str) -> None:
        """Keys with ids of this ending; the provider has them after a restart."""
        self.rsa = RSAKey.generate_key(2048, {"kid": f"rsa-{name}", "use": "sig"})
        self.ec: Key = ECKey.generate_key("P-256", {"kid": f"ec-{name}", "use": "sig"})
        self.okp: Key = OKPKey.generate_key("Ed25519", {"kid": f"okp-{name}", "use": "sig"})

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        settings = {
            "port": self.port,
            "issuer": self.issuer,
            "jwks": {"keys": [key.as_dict(private=True) for key in (self.rsa, self.ec, self.okp)]},
            "claims": CLAIMS,
            "clients": [
                {
                    "client_id": "moorage",
                    "client_secret": "of the tests",
                    "redirect_uris": [self.redirect_uri],
                    "id_token_signed_response_alg": "ES256",
                },
                {
                    "client_id": "moorage-public",
                    "token_endpoint_auth_method": "none",
                    "redirect_uris": [self.redirect_uri],
                },
                {
                    "client_id": "ci",
                    "client_secret": "of ci",
                    "grant_types": ["client_credentials"],
                    "redirect_uris": [],
                    "response_types": [],
                },
            ],
        }
        process = subprocess.Popen(
            [require("node"), HERE / "issuer.mjs", INSTALLED],
            env={**os.environ, "NODE_NO_WARNINGS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._process = process
        assert process.stdin is not None
        process.stdin.write(json.dumps(settings))
        process.stdin.close()
        self._reader = threading.Thread(target=self._read, args=(process,), daemon=True)
        self.requests = []
        self._reader.start()
        deadline = time.monotonic() + START_S
        while "ready" not in self.requests:
            assert process.poll() is None, "the provider ended"
            assert time.monotonic() < deadline, "the provider does not start"
            time.sleep(0.02)

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.requests.append(line.strip())

    def stop(self) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            process.wait(10)
            assert self._reader is not None
            self._reader.join(10)
            assert process.stdout is not None
            process.stdout.close()

    def restart(self) -> None:
        self.stop()
        self.start()

    def ci_token(self, audience: str = AUDIENCE) -> str:
        """A job's token, as the provider gives it."""
        form = urllib.parse.urlencode({"grant_type": "client_credentials", "resource": audience}).encode()
        pair = base64.b64encode(b"ci:of+ci").decode()
        request = urllib.request.Request(
            f"{self.issuer}/token", form, headers={"Authorization": f"Basic {pair}"}
        )
        with urllib.request.urlopen(request, timeout=30) as reply:
            return str(json.load(reply)["access_token"])

    def sign(self, key: Key | None = None, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """What the provider might have signed, but for what is said here. A claim of None is left out."""
        now = int(time.time())
        key = key or self.rsa
        said = {
            "iss": self.issuer,
            "sub": "ci",
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + 600,
            **CLAIMS,
            **claims,
        }
        said = {name: value for name, value in said.items() if value is not None}
        fields = {"alg": "RS256", "kid": key.kid, **(header or {})}
        registry = JWSRegistry(algorithms=[fields["alg"]], strict_check_header=False)
        text: str = jwt.encode(fields, said, key, registry=registry)
        return text


class Page:
    """What a browser shows."""

    def __init__(self, url: str, status: int, headers: Any, text: str) -> None:
        self.url = url
        self.status = status
        self.headers = headers
        self.text = text

    @property
    def form(self) -> str:
        """Where its first form goes."""
        found = re.search(r'<form[^>]*action="([^"]+)"', self.text)
        assert found, self.text
        return str(urllib.parse.urljoin(self.url, found[1]))


class Browser:
    """Keeps cookies and follows redirects."""

    def __init__(self) -> None:
        self.cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies), _Still())

    def header(self, url: str) -> dict[str, str]:
        """The cookies that it would send, as a header: a server may have them dropped."""
        request = urllib.request.Request(url)
        self.cookies.add_cookie_header(request)
        return dict(request.header_items())

    def ask(
        self, url: str, form: dict[str, str] | None = None, headers: dict[str, str] | None = None
    ) -> Page:
        """One request, its redirect not followed."""
        data = None if form is None else urllib.parse.urlencode(form).encode()
        try:
            with self._opener.open(urllib.request.Request(url, data, headers or {}), timeout=20) as reply:
                return Page(url, reply.status, reply.headers, reply.read().decode())
        except urllib.error.HTTPError as reply:
            with reply:
                return Page(url, reply.code, reply.headers, reply.read().decode())

    def go(self, url: str, form: dict[str, str] | None = None, until: str | None = None) -> Page:
        """A page, wherever it is; one whose address begins with `until` is not asked for."""
        page = self.ask(url, form)
        for _ in range(REDIRECTS_MAX):
            if page.status not in {302, 303}:
                return page
            target = urllib.parse.urljoin(page.url, page.headers["Location"])
            if until and target.startswith(until):
                return Page(target, 0, {}, "")
            page = self.ask(target)
        raise AssertionError("redirected too often")

    def sign_in(self, url: str, login: str, until: str | None = None) -> Page:
        """From the registry's page to the provider, through its forms, and back."""
        page = self.go(url)
        page = self.go(page.form, {"prompt": "login", "login": login, "password": "any"}, until)
        if page.status == 200 and "prompt" in page.text:
            page = self.go(page.form, {"prompt": "consent"}, until)
        return page


class _Still(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None
