"""What the server under test answers to curl."""

import json
from dataclasses import dataclass
from typing import Any

from tests.acceptance.images import INDEX, MANIFEST
from tests.acceptance.sandbox import Sandbox
from tests.servers import ServerProcess

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
ACCEPT = f"{DOCKER_MANIFEST}, {DOCKER_LIST}, {MANIFEST}, {INDEX}"


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply: its status, its headers by lower-case name, its body."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def json(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large the parts of an image are in the registry."""

    config: int
    layers: int

    @property
    def total(self) -> int:
        return self.config + self.layers


class Registry:
    """The server by the name its clients use."""

    def __init__(self, sandbox: Sandbox, port: int) -> None:
        self.address = f"{sandbox.host}:{port}"
        self._sandbox = sandbox

    def name(self, repository: str, reference: str) -> str:
        """Return an image's full name, by tag or by digest."""
        return f"{self.address}/{repository}{'@' if ':' in reference else ':'}{reference}"

    def curl(self, path: str, *options: str) -> Answer:
        """Ask for a path with curl and these options."""
        url = f"http://{self.address}{path}"
        printed = self._sandbox.run(
            "curl", "--silent", "--show-error", "--max-time", "30", "--include", *options, url
        )
        head, _, body = printed.replace("\r\n", "\n").partition("\n\n")
        status, *lines = head.split("\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return Answer(int(status.split()[1]), headers, body)

    def get_tags(self, repository: str) -> list[str]:
        """Return the tags of a repository that exists."""
        answer = self.curl(f"/v2/{repository}/tags/list")
        assert answer.status == 200, answer
        tags: list[str] = answer.json["tags"]
        return tags

    def get_digest(self, repository: str, reference: str) -> str:
        """Return the digest a reference has."""
        path = f"/v2/{repository}/manifests/{reference}"
        answer = self.curl(path, "--head", "--header", f"Accept: {ACCEPT}")
        assert answer.status == 200, answer
        return answer.headers["docker-content-digest"]

    def get_manifest(self, repository: str, reference: str) -> dict[str, Any]:
        """Return a manifest, parsed."""
        answer = self.curl(f"/v2/{repository}/manifests/{reference}", "--header", f"Accept: {ACCEPT}")
        assert answer.status == 200, answer
        return answer.json

    def get_sizes(self, repository: str, reference: str) -> Sizes:
        """Return the sizes an image manifest gives."""
        manifest = self.get_manifest(repository, reference)
        return Sizes(manifest["config"]["size"], sum(layer["size"] for layer in manifest["layers"]))

    def delete(self, repository: str, digest: str) -> int:
        """Delete a manifest by digest; return the status."""
        return self.curl(f"/v2/{repository}/manifests/{digest}", "--request", "DELETE").status


def read_moved_bytes(server: ServerProcess, repository: str, tag: str) -> tuple[int, int, int]:
    """Return what the log says a push of this tag uploaded, mounted and skipped, in bytes."""
    pushed = server.wait_for_event("image_pushed", repository=repository, tags=[tag])
    return pushed["uploaded_bytes"], pushed["mounted_bytes"], pushed["skipped_bytes"]
