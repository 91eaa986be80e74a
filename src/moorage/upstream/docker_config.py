"""Credentials where docker keeps them: config.json, and the helpers that it names.

Source: docker/cli v28, "docker login" and cli/config; docker-credential-helpers, "Development"; podman's
containers-auth.json(5), read where docker has none.
"""

import base64
import binascii
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from moorage.oci.references import DOCKER_HUB
from moorage.upstream.tokens import IDENTITY_TOKEN_USERNAME

HELPER_WITHIN_S: Final = 60.0
"""A helper may have to ask a person to unlock something."""

_HUB_KEY: Final = "https://index.docker.io/v1/"
_HUB_NAMES: Final = frozenset({DOCKER_HUB, "index.docker.io", "registry-1.docker.io"})
_FILE_MAX_BYTES: Final = 4 * 1024 * 1024
_helper = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_NOT_FOUND: Final = "credentials not found"

Document = dict[str, Any]


class DockerConfigError(Exception):
    """The file or a helper is of no use; the sentence says which, and what to do."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What is shown to a registry; as username `<token>` with an identity token for a password."""

    username: str
    password: str = field(repr=False)


class DockerConfig:
    """Docker's config.json of whoever runs this. All of it blocks: for the command line only.

    Each method raises DockerConfigError. A registry is `host[:port]` as in an image's name; docker.io is
    Docker Hub.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._home = Path(environ["HOME"]) if environ.get("HOME") else Path.home()

    @property
    def path(self) -> Path:
        """Where it is written."""
        folder = self._environ.get("DOCKER_CONFIG")
        return (Path(folder) if folder else self._home / ".docker") / "config.json"

    def find(self, registry: str) -> Credentials | None:
        """The credentials for a registry: of its helper, of the store, of the file, of podman's file."""
        for path in (self.path, *self._podman_paths()):
            document = _read(path)
            for helper in _helpers_for(document, registry, path):
                found = self._get(helper, registry)
                if found is not None:
                    return found
            found = _find_in(document, registry, path)
            if found is not None:
                return found
        return None

    def store(self, registry: str, credentials: Credentials) -> str:
        """Keep them; where, in words for a person."""
        document = _read(self.path)
        auths = document.setdefault("auths", {})
        key = _keys_of(registry)[0]
        helper = next(_helpers_for(document, registry, self.path), None)
        if helper is not None:
            entry = {"ServerURL": key, "Username": credentials.username, "Secret": credentials.password}
            self._run(helper, "store", json.dumps(entry))
            auths[key] = {}
            where = f"in docker-credential-{helper}"
        else:
            auths[key] = _entry_of(credentials)
            where = f"in {self.path}, not encrypted"
        _write(self.path, document)
        return where

    def erase(self, registry: str) -> bool:
        """Forget them; whether there were any."""
        document = _read(self.path)
        had_any = False
        for helper in _helpers_for(document, registry, self.path):
            if self._get(helper, registry) is not None:
                self._run(helper, "erase", _keys_of(registry)[0])
                had_any = True
        auths = document.get("auths", {})
        for key in [each for each in auths if _is_for(each, registry)]:
            had_any = bool(auths.pop(key)) or had_any
            _write(self.path, document)
        return had_any

    def _podman_paths(self) -> Iterator[Path]:
        if file := self._environ.get("REGISTRY_AUTH_FILE"):
            yield Path(file)
            return
        if folder := self._environ.get("XDG_RUNTIME_DIR"):
            yield Path(folder) / "containers" / "auth.json"
        config = self._environ.get("XDG_CONFIG_HOME")
        yield (Path(config) if config else self._home / ".config") / "containers" / "auth.json"

    def _get(self, helper: str, registry: str) -> Credentials | None:
        printed = self._run(helper, "get", _keys_of(registry)[0])
        if printed is None:
            return None
        try:
            answer = json.loads(printed)
            username, secret = answer["Username"], answer["Secret"]
        except (ValueError, LookupError, TypeError) as error:
            raise DockerConfigError(f"docker-credential-{helper} did not print credentials") from error
        if not isinstance(username, str) or not isinstance(secret, str):
            raise DockerConfigError(f"docker-credential-{helper} did not print credentials")
        return Credentials(username, secret) if secret else None

    def _run(self, helper: str, verb: str, text: str) -> str | None:
        """What a helper prints; None where it has no such credentials."""
        name = f"docker-credential-{helper}"
        program = shutil.which(name, path=self._environ.get("PATH"))
        if program is None:
            raise DockerConfigError(
                f"{name} is not on the PATH, but {self.path} has credentials kept there: install it, or take"
                " credsStore or credHelpers out of that file"
            )
        try:
            done = subprocess.run(  # noqa: S603 - docker's own way of keeping credentials
                [program, verb],
                input=text,
                capture_output=True,
                text=True,
                timeout=HELPER_WITHIN_S,
                check=False,
                env=dict(self._environ),
            )
        except subprocess.TimeoutExpired as error:
            raise DockerConfigError(f"{name} {verb} did not end within {HELPER_WITHIN_S:g} s") from error
        except (OSError, UnicodeDecodeError) as error:
            raise DockerConfigError(f"{name} {verb} cannot be run: {error}") from error
        if done.returncode == 0:
            return done.stdout
        # of a failure, helpers tell on standard output
        said = (done.stdout.strip() or done.stderr.strip())[:200]
        if verb != "store" and _NOT_FOUND in said.lower():
            return None
        raise DockerConfigError(f"{name} {verb} failed: {said or f'exit code {done.returncode}'}")


def _keys_of(registry: str) -> list[str]:
    """By which keys a registry goes, docker's own first."""
    return [_HUB_KEY, *sorted(_HUB_NAMES)] if registry in _HUB_NAMES else [registry]


def _is_for(key: str, registry: str) -> bool:
    """Whether an entry of `auths` is for a registry: older ones are URLs."""
    if key in _keys_of(registry):
        return True
    host, _, path = key.removeprefix("https://").removeprefix("http://").partition("/")
    return path.strip("/") in {"", "v1", "v2"} and host in {registry, *_keys_of(registry)}


def _read(path: Path) -> Document:
    """The document of a file, empty where there is none."""
    try:
        with path.open("rb") as file:
            text = file.read(_FILE_MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise DockerConfigError(f"{path} cannot be read: {error.strerror}") from error
    if not text.strip():
        return {}
    if len(text) > _FILE_MAX_BYTES:
        raise DockerConfigError(f"{path} is too large to be docker's")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DockerConfigError(f"{path} is not JSON: mend it, or move it away") from error
    if not isinstance(document, dict) or not all(
        isinstance(document.get(each, {}), dict) for each in ("auths", "credHelpers")
    ):
        raise DockerConfigError(f"{path} is no configuration of docker's: mend it, or move it away")
    return document


def _helpers_for(document: Document, registry: str, path: Path) -> Iterator[str]:
    """The helper for a registry, else the one for all."""
    helpers = document.get("credHelpers", {})
    found = next((helpers[key] for key in _keys_of(registry) if helpers.get(key)), None)
    helper = found or document.get("credsStore")
    if not helper:
        return
    if not isinstance(helper, str) or _helper.fullmatch(helper) is None:
        raise DockerConfigError(f"{path} names a credential helper that is none: {helper!r}")
    yield helper


def _find_in(document: Document, registry: str, path: Path) -> Credentials | None:
    auths = document.get("auths", {})
    keys = [*_keys_of(registry), *(each for each in auths if _is_for(each, registry))]
    for entry in (auths[key] for key in keys if isinstance(auths.get(key), dict)):
        if token := entry.get("identitytoken"):
            return Credentials(IDENTITY_TOKEN_USERNAME, str(token))
        if entry.get("auth"):
            try:
                pair = base64.b64decode(str(entry["auth"]), validate=True).decode()
            except (binascii.Error, ValueError) as error:
                raise DockerConfigError(f"{path} has an entry for {registry} that cannot be read") from error
            username, colon, password = pair.rstrip("\0").partition(":")
            if colon and password:
                return Credentials(username, password)
        if entry.get("username") and entry.get("password"):
            return Credentials(str(entry["username"]), str(entry["password"]))
    return None


def _entry_of(credentials: Credentials) -> Document:
    if credentials.username == IDENTITY_TOKEN_USERNAME:
        return {"identitytoken": credentials.password}
    pair = f"{credentials.username}:{credentials.password}".encode()
    return {"auth": base64.b64encode(pair).decode()}


def _write(path: Path, document: Document) -> None:
    """All or nothing, for nobody else to read; where it is a link, what that leads to."""
    try:
        target = path.resolve()
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # made for nobody else to read
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(json.dumps(document, indent="\t") + "\n")
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(target)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as error:
        raise DockerConfigError(f"{path} cannot be written: {error.strerror}") from error
