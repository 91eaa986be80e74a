"""The registry as CI and docker speak to it."""

import base64
import http.client
import json
import sqlite3
import urllib.parse
from dataclasses import dataclass
from typing import Any

from tests.servers import ServerProcess

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        """Which check of an exchange failed."""
        return str(self.json["errors"][0]["detail"].get("reason", "")).partition(":")[0]


class Registry:
    """Asked from one address, which others do not use: refusals are counted by it."""

    def __init__(self, server: ServerProcess, address: str = "127.0.0.1") -> None:
        self.server = server
        self.url = server.url
        self.address = address

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.server.port, timeout=30, source_address=(self.address, 0)
        )
        try:
            connection.request(method, path, body, headers or {})
            reply = connection.getresponse()
            return Answer(reply.status, reply.read())
        finally:
            connection.close()

    def exchange(self, token: str, **fields: str) -> Answer:
        form = {
            "grant_type": EXCHANGE,
            "subject_token_type": JWT,
            "subject_token": token,
            **fields,
        }
        return self.send("POST", "/token", urllib.parse.urlencode(form).encode())

    def bearer(self, name: str, secret: str, scope: str) -> Answer:
        """As docker asks for a token."""
        query = urllib.parse.urlencode({"service": "moorage", "scope": scope, "account": name})
        return self.send("GET", f"/token?{query}", headers=basic(name, secret))

    def audit(self, action: str) -> list[tuple[str, str, str]]:
        """Actor, outcome and detail of the rows of an action from this address, in order."""
        path = self.server.data_dir / "moorage.db"
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            rows = db.execute(
                "SELECT actor, outcome, detail FROM audit WHERE action = ? AND address = ? ORDER BY id",
                (action, self.address),
            )
            return rows.fetchall()
        finally:
            db.close()


def basic(name: str, secret: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{name}:{secret}'.encode()).decode()}"}
