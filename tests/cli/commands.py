"""`moorage` in a process of its own, as a person or a script runs it."""

import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO, Any, Self

from tests.starting import start

PASSWORD = "correct horse battery staple"
SECONDS = 120


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
    """Run it to its end, within two minutes; `stdin` is all that there is to read."""
    with ExitStack() as stack:
        given, out, err = (stack.enter_context(TemporaryFile("w+", encoding="utf-8")) for _ in range(3))
        given.write(stdin)
        given.seek(0)
        child = start(
            [*map(str, arguments)],
            env=environment(env),
            stdin=given.fileno(),
            stdout=out.fileno(),
            stderr=err.fileno(),
        )
        try:
            code = child.wait(timeout=SECONDS)
        finally:
            child.kill()
            child.wait()
        return Ran(code, *(_read(each) for each in (out, err)))


def _read(written: IO[str]) -> str:
    written.seek(0)
    return written.read()
