"""The port to the issuers: what is asked of them, over a network."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Issuers(Protocol):
    """Issuers that the settings name, each by its exact URL."""

    async def find_keys(self, issuer: str, kid: str) -> Sequence[Mapping[str, Any]]:
        """The keys of this id that an issuer publishes now, as JSON Web Keys; none where it has no such.

        Raises IssuerUnavailable (503) when it cannot be asked and was not lately.
        """
        ...

    async def get_authorization_endpoint(self, issuer: str) -> str:
        """Where a person's browser is sent.

        Raises IssuerUnavailable (503).
        """
        ...

    async def redeem(self, issuer: str, code: str, verifier: str, redirect_uri: str) -> str:
        """The ID token for a code that the browser brought back.

        Raises IssuerUnavailable (503), SignInRefused (403).
        """
        ...
