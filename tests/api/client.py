"""Callers of the management API, in this process: who they are, what they send, what they read."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from tests.registry.in_process import InProcess
from tests.spec.client import Reply

ADMIN = "root"
PASSWORD = "a long enough password"


def basic(name: str, secret: str) -> tuple[str, str]:
    """The header that says who sends a request."""
    return "Authorization", f"Basic {base64.b64encode(f'{name}:{secret}'.encode()).decode()}"


@dataclass(slots=True)
class Person:
    """Someone who asks, by a password or a token; `secret` None: someone who has not signed in."""

    registry: InProcess
    name: str = "anonymous"
    secret: str | None = PASSWORD
    bodies: list[bytes] = field(default_factory=list)
    """All that this one was ever shown."""

    def ask(self, method: str, path: str, body: object = None) -> Reply:
        """One request to the API. `body` is sent as it is where it is bytes."""
        headers = [] if self.secret is None else [basic(self.name, self.secret)]
        payload = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        reply = self.registry.send(method, f"/api/v1{path}", payload, headers)
        self.bodies.append(reply.body)
        assert reply["cache-control"] == "no-store"
        return reply

    def get(self, path: str) -> Any:
        """What a GET shows."""
        return self.do("GET", path)

    def post(self, path: str, **body: Any) -> Any:
        """What a POST made."""
        return self.do("POST", path, body, 201)

    def do(self, method: str, path: str, body: object = None, *statuses: int) -> Any:
        """A request that shall be done; its document, None where there is none."""
        reply = self.ask(method, path, body)
        assert reply.status in (statuses or {200, 204}), reply
        return json.loads(reply.body) if reply.body else None

    def token(self, **fields: Any) -> "Person":
        """The same one by a new token."""
        made = self.post("/tokens", **{"name": "ci", **fields})
        return Person(self.registry, made["account"], made["secret"])


def person(admin: Person, name: str, **fields: Any) -> Person:
    """A new account, as it will ask."""
    admin.post("/accounts", name=name, password=PASSWORD, **fields)
    return Person(admin.registry, name)


def codes(reply: Reply) -> list[str]:
    """What a refusal says."""
    return [each["code"] for each in json.loads(reply.body)["errors"]]
