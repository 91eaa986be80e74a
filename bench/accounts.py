"""Rows about accounts: pulls by those who signed in, and signing in."""

import json
import time
from base64 import b64encode
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from os import cpu_count
from typing import ClassVar, TypeVar

from bench import load
from bench.client import Client, push_image
from bench.images import KIB, MANIFEST_TYPE, make_image
from bench.manifests import load_figures, used_since
from bench.measures import Measure, at_least, at_most, ratio_at_least
from bench.servers import DockerRegistry, Moorage, OwnServer, Server
from bench.stand import Figures, Stand

_REPOSITORY = "team/small"
_TAG = "1.0"
_TARGET = f"/v2/{_REPOSITORY}/manifests/{_TAG}"
_TOKEN_TARGET = f"/token?service=moorage&scope=repository:{_REPOSITORY}:pull"
_IMAGE = make_image("signed in", [4 * KIB] * 6)
_NAME = "ada"
_PASSWORD = "correct horse battery"  # of servers that live for a minute, on loopback
_HTPASSWD = f"{_NAME}:$2b$05$nvZfF7Ya5NtYnX9HC/wgpu4bEDlWBVeNOC6LpoM7g.jKbey2zorcW\n"
"""The same password by bcrypt at `htpasswd -B`'s cost."""

_SIGN_INS = 60

S = TypeVar("S", bound=OwnServer)


@dataclass(slots=True)
class SignedInManifest:
    """GET a manifest by its tag as someone who signed in: by a bearer token, or htpasswd's way."""

    name: ClassVar[str] = "manifest-get-signed-in"
    title: ClassVar[str] = "manifest GET by tag, signed in"
    measures: ClassVar[Sequence[Measure]] = (
        Measure("requests_per_s", "requests", "/s", ratio_at_least(6)),
        Measure("cpu_us_per_request", "server CPU per request", "µs"),
        Measure("of_open", "requests, of those without accounts", "x", at_least(0.85)),
    )
    needs_quiet: ClassVar[bool] = False
    is_once: ClassVar[bool] = False
    _own: dict[str, OwnServer] = field(default_factory=dict)
    _headers: dict[str, dict[str, str]] = field(default_factory=dict)

    def prepare(self, stand: Stand, server: Server) -> None:
        """Push the image to the server, which is open, and to a sibling, which gets an account then."""
        stand.crew.run(push_image, server.address, _REPOSITORY, _TAG, _IMAGE)
        if not isinstance(server, OwnServer):
            return
        sibling = _start_sibling(stand, server, f"signed-in-{len(self._own)}")
        self._own[server.name] = sibling
        stand.crew.run(push_image, sibling.address, _REPOSITORY, _TAG, _IMAGE)
        if isinstance(sibling, DockerRegistry):
            sibling.stop()
            sibling.ask_for_password(_HTPASSWD)
            sibling.start()
            authorization = _basic(_NAME, _PASSWORD)
        else:
            _make_admin(sibling)
            authorization = f"Bearer {_fetch_token(sibling)}"
        self._headers[server.name] = {"Accept": MANIFEST_TYPE, "Authorization": authorization}

    def measure(self, stand: Stand, server: Server, number: int) -> Figures:
        """Load the one that asks who it is; Moorage also without accounts, right beside it."""
        del number
        sibling = self._own.get(server.name)
        if sibling is None:
            return {}
        headers = self._headers[server.name]
        if isinstance(sibling, Moorage):
            # a bearer token lasts five minutes
            headers["Authorization"] = f"Bearer {_fetch_token(sibling)}"
        before = sibling.cpu_seconds()
        loaded = load.run_wrk(sibling.address, _TARGET, stand.load_s, stand.folder, headers)
        figures = load_figures(loaded, used_since(sibling, before))
        if not isinstance(sibling, Moorage):
            return figures
        # the same header, so that what differs is the question alone
        opened = load.run_wrk(server.address, _TARGET, stand.load_s, stand.folder, headers)
        return dict(figures) | {"of_open": figures["requests_per_s"] / (opened.requests / opened.wall_s)}


@dataclass(slots=True)
class SigningIn:
    """The token endpoint: by a token, by a password known from before, by one that has to be hashed."""

    name: ClassVar[str] = "signing-in"
    title: ClassVar[str] = "token endpoint"
    measures: ClassVar[Sequence[Measure]] = (
        Measure("by_token_per_s", "by a robot's token", "/s", at_least(500)),
        Measure("by_password_per_s", "by a password checked before", "/s", at_least(500)),
        Measure("hashed_per_s_core", "by a password to be hashed, a core", "/s", at_least(5)),
        Measure("pull_p99_x", "p99 of pulls meanwhile, of that without", "x", at_most(2)),
    )
    needs_quiet: ClassVar[bool] = False
    is_once: ClassVar[bool] = False
    _own: dict[str, Moorage] = field(default_factory=dict)
    _secret: dict[str, str] = field(default_factory=dict)

    def prepare(self, stand: Stand, server: Server) -> None:
        """A sibling with an administrator, a robot with a token, and people who sign in."""
        if not isinstance(server, Moorage):
            return
        sibling = _start_sibling(stand, server, f"signing-in-{len(self._own)}")
        self._own[server.name] = sibling
        stand.crew.run(push_image, sibling.address, _REPOSITORY, _TAG, _IMAGE)
        _make_admin(sibling)
        _post(sibling, "/accounts", {"name": "bot.ci", "kind": "robot"})
        _post(sibling, "/grants", {"to": "everyone", "pattern": "team/*", "actions": ["pull"]})
        made = _post(sibling, "/tokens", {"name": "bench", "account": "bot.ci"})
        self._secret[server.name] = str(made["secret"])
        for number in range(_SIGN_INS):
            _post(sibling, "/accounts", {"name": f"person.{number}", "password": _PASSWORD})

    def measure(self, stand: Stand, server: Server, number: int) -> Figures:
        """Start anew, so that no password is known; let all sign in at once beside pulls; then by each means."""
        del number
        sibling = self._own.get(server.name)
        if sibling is None:
            return {}
        sibling.stop()
        sibling.start()
        bearer = {"Accept": MANIFEST_TYPE, "Authorization": f"Bearer {_fetch_token(sibling)}"}
        alone = load.run_wrk(sibling.address, _TARGET, stand.load_s, stand.folder, bearer)
        with ThreadPoolExecutor(1) as beside:
            signing_in = beside.submit(_sign_in_all, sibling)
            together = load.run_wrk(sibling.address, _TARGET, 1, stand.folder, bearer)
            wall_s = signing_in.result()
        robot = {"Authorization": _basic("bot.ci", self._secret[server.name])}
        person = {"Authorization": _basic(_NAME, _PASSWORD)}
        by_token = load.run_wrk(sibling.address, _TOKEN_TARGET, stand.load_s, stand.folder, robot)
        by_password = load.run_wrk(sibling.address, _TOKEN_TARGET, stand.load_s, stand.folder, person)
        return {
            "by_token_per_s": by_token.requests / by_token.wall_s,
            "by_password_per_s": by_password.requests / by_password.wall_s,
            "hashed_per_s_core": _SIGN_INS / wall_s / (cpu_count() or 1),
            "pull_p99_x": together.p99_ms / alone.p99_ms,
        }


def _sign_in_all(server: Server) -> float:
    """Let everyone sign in once, sixteen at a time; how many seconds that took."""

    def sign_in(number: int) -> None:
        with Client(server.address) as client:
            headers = {"Authorization": _basic(f"person.{number}", _PASSWORD)}
            client.ask("GET", _TOKEN_TARGET, headers=headers, want=200)

    began = time.perf_counter()
    with ThreadPoolExecutor(load.CONNECTIONS) as people:
        list(people.map(sign_in, range(_SIGN_INS)))
    return time.perf_counter() - began


def _start_sibling(stand: Stand, server: S, folder: str) -> S:
    sibling = server.sibling(stand.folder / folder)
    stand.started.append(sibling)
    sibling.start()
    return sibling


def _make_admin(server: Server) -> None:
    """The first account ends that the server is open."""
    _post(server, "/accounts", {"name": _NAME, "password": _PASSWORD})


def _post(server: Server, path: str, body: object) -> dict[str, object]:
    with Client(server.address) as client:
        headers = {"Authorization": _basic(_NAME, _PASSWORD), "Content-Type": "application/json"}
        reply = client.ask("POST", f"/api/v1{path}", json.dumps(body).encode(), headers, want=201)
    made: dict[str, object] = json.loads(reply.body)
    return made


def _fetch_token(server: Server) -> str:
    with Client(server.address) as client:
        reply = client.ask(
            "GET", _TOKEN_TARGET, headers={"Authorization": _basic(_NAME, _PASSWORD)}, want=200
        )
    return str(json.loads(reply.body)["token"])


def _basic(name: str, secret: str) -> str:
    return "Basic " + b64encode(f"{name}:{secret}".encode()).decode()
