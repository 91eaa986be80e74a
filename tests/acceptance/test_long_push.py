"""A push over a slow line: it takes longer than the bearer token it began with lasts."""

import subprocess
import sys
import time
from pathlib import Path

from tests.acceptance.images import pack
from tests.acceptance.relay import Relay
from tests.acceptance.sandbox import Dockerd, Sandbox
from tests.content import some_bytes
from tests.servers import ServerProcess

PASSWORD = "correct horse battery"
TOKEN_LIFE_S = 60
MIB = 1024 * 1024


def test_push_that_outlasts_its_token_succeeds(tmp_path: Path, sandbox: Sandbox, dockerd: Dockerd) -> None:
    env = {"MOORAGE_TOKENS_LIFE": f"{TOKEN_LIFE_S}s", "MOORAGE_LIMITS_BODY_IDLE": "120s"}
    with ServerProcess(tmp_path / "data", env=env) as server:
        claim = ("admin", "claim", "ada", "--password-stdin", "--data", str(server.data_dir))
        subprocess.run(
            [sys.executable, "-m", "moorage", *claim], input=PASSWORD + "\n", text=True, check=True
        )
        stalls: list[float] = []

        def stall() -> None:
            began = time.monotonic()
            time.sleep(TOKEN_LIFE_S + 5)
            stalls.append(time.monotonic() - began)

        with Relay(server.port, 2 * MIB, stall) as relay:
            address = f"{sandbox.host}:{relay.port}"
            sandbox.say(PASSWORD, "docker", "login", "-u", "ada", "--password-stdin", address)
            name = dockerd.load(f"{address}/ada/slow:v1", [pack({"large": some_bytes(8 * MIB)})])

            digest = dockerd.push(name)

        assert stalls, "the line never stalled"
        assert server.wait_for_event("image_pushed", repository="ada/slow")["digest"] == digest
