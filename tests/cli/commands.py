"""`moorage` in a process of its own, as a person or a script runs it."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

PASSWORD = "correct horse battery staple"
COMMAND = (sys.executable, "-m", "moorage")


def environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's, without what would set Moorage up."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MOORAGE_")}
    return {**inherited, "NO_COLOR": "1", "COLUMNS": "120", **(env or {})}


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of it."""

    code: int
    out: str
    err: str

    def check(self) -> Self:
        assert self.code == 0, self.err
        return self

    def json(self) -> Any:
        return json.loads(self.check().out)

    @property
    def refusal(self) -> str:
        """What it said when it was refused."""
        assert (self.code, self.out) == (1, "")
        return self.err


def moorage(*arguments: object, stdin: str = "", env: Mapping[str, str] | None = None) -> Ran:
    ran = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        input=stdin,
        env=environment(env),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return Ran(ran.returncode, ran.stdout, ran.stderr)
