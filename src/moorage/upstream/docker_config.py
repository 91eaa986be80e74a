"""Credentials where docker keeps them: config.json, and the helpers that it names.

Source: docker/cli v28, "docker login" and cli/config; docker-credential-helpers, "Development"; podman's
containers-auth.json(5), read where docker has none.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

IDENTITY_TOKEN_USERNAME = "<token>"  # noqa: S105 - docker's word in place of a name
"""As `Credentials.username`: the password is an identity token. `Address` takes the same."""


class DockerConfigError(Exception):
    """The file or a helper is of no use; the sentence says which, and what to do."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What is shown to a registry."""

    username: str
    password: str = field(repr=False)


class DockerConfig:
    """Docker's config.json of whoever runs this. All of it blocks: for the command line only.

    Each method raises DockerConfigError. A registry is `host[:port]` as in an image's name; docker.io is
    Docker Hub.
    """

    def __init__(self, environ: Mapping[str, str]) -> None: ...

    @property
    def path(self) -> Path:
        """Where it is written."""
        raise NotImplementedError

    def find(self, registry: str) -> Credentials | None:
        """The credentials for a registry: of its helper, of the store, of the file, of podman's file."""
        raise NotImplementedError

    def store(self, registry: str, credentials: Credentials) -> str:
        """Keep them; where, in words for a person."""
        raise NotImplementedError

    def erase(self, registry: str) -> bool:
        """Forget them; whether there were any."""
        raise NotImplementedError
