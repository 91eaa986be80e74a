"""strace at a thread of a running process, and the record it writes.

A thread is attached to rather than started: `when=` counts from there, for each thread by itself, so that
the third write of the disk's thread is the third of every run, whatever another thread does meanwhile.
"""

import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CALLS = (
    *("openat", "write", "pwrite64", "pwritev", "pwritev2", "fsync", "fdatasync", "ftruncate"),
    *("rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "mkdir", "mkdirat"),
)
"""Python and SQLite change the disk by these; some architectures have only the `at` forms."""
_RECORDED_MAX_BYTES = 1 << 22

# line   = thread call "(" arguments ")" "= " result        <- strace -f -y -xx: every string in hex
# halves = thread call "(" arguments "<unfinished ...>"  and later  thread "<... " call " resumed>" rest
_LINE = re.compile(r"(?P<thread>\d+) +(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+|\?)(?P<rest>.*)")
_HALF = re.compile(r"(?P<thread>\d+) +(?P<start>\w+\(.*) <unfinished \.\.\.>")
_RESUMED = re.compile(r"(?P<thread>\d+) +<\.\.\. \w+ resumed>(?P<rest>.*)")
_PATH = re.compile(r"<((?:\\x[0-9a-f]{2})+)>")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')


@dataclass(frozen=True, slots=True)
class Call:
    """One system call that came back. `paths` are its file's, or those it names, absolute."""

    thread: int
    name: str
    paths: tuple[str, ...]
    content: bytes
    arguments: tuple[str, ...]
    """What is neither a string nor a path, in order: flags, lengths, offsets."""
    result: int

    @property
    def kind(self) -> str:
        """The name without the letters that tell only how its arguments are passed."""
        return self.name if self.name == "openat" else self.name.removesuffix("2").removesuffix("at")

    def paths_in(self, folder: Path) -> list[Path]:
        """Those of its paths that are the folder or below it, relative to it."""
        return [Path(path).relative_to(folder) for path in self.paths if Path(path).is_relative_to(folder)]

    def __str__(self) -> str:
        return f"{self.name} {' '.join(self.paths)}"


class TracerError(Exception):
    """strace could not do what was asked; the message is what it said."""


@contextmanager
def attached(thread: int, log: Path, arguments: Sequence[str]) -> Iterator[None]:
    """Trace a thread until it ends."""
    command = ["strace", "-p", str(thread), "-y", "-xx", "-o", str(log), *arguments]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    try:
        said = tracer.stderr.readline()
        if "attached" not in said:
            raise TracerError(said + tracer.stderr.read())
        yield
        tracer.wait(timeout=30)
    finally:
        tracer.kill()
        tracer.wait()
        tracer.stderr.close()


def recording_arguments() -> list[str]:
    """Record every call of every thread, with the bytes that were written."""
    names = ",".join(f"?{name}" for name in CALLS)
    return ["-f", "-s", str(_RECORDED_MAX_BYTES), "-e", f"trace={names}"]


def injecting_arguments(name: str, fault: str, ordinal: int) -> list[str]:
    """Let the n-th call of a name be met by a fault: `signal=SIGKILL`, or `error=` and its name."""
    return ["-s", "0", "-e", f"trace={name}", "-e", f"inject={name}:{fault}:when={ordinal}"]


def read_record(log: Path) -> list[Call]:
    """Return the calls in the order in which they came back."""
    calls: list[Call] = []
    halves: dict[str, str] = {}
    for line in log.read_text("ascii").splitlines():
        if half := _HALF.fullmatch(line):
            halves[half["thread"]] = half["start"]
            continue
        whole = line
        if resumed := _RESUMED.fullmatch(line):
            whole = f"{resumed['thread']} {halves.pop(resumed['thread'])}{resumed['rest']}"
        if match := _LINE.fullmatch(whole):
            calls.append(_parse(match))
    return calls


def _parse(match: re.Match[str]) -> Call:
    name, arguments = match["name"], match["arguments"]
    strings = [bytes.fromhex(found[1].replace("\\x", "")) for found in _STRING.finditer(arguments)]
    if any(found[2] for found in _STRING.finditer(arguments)):
        raise TracerError(f"a {name} is longer than the record holds")
    opened = [_decode(found) for found in _PATH.findall(arguments)]
    plain = _STRING.sub("", _PATH.sub("", arguments))
    names_paths = name in {"openat", "mkdir", "link", "unlink", "rename"} or name.endswith(("at", "at2"))
    paths = [_resolve(opened, string.decode()) for string in strings] if names_paths else opened
    return Call(
        thread=int(match["thread"]),
        name=name,
        paths=tuple(paths),
        content=b"" if names_paths else b"".join(strings),
        arguments=tuple(part.strip() for part in plain.split(",") if part.strip()),
        result=-1 if match["result"] == "?" else int(match["result"]),
    )


def encode(text: str) -> str:
    """As strace writes it."""
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


def _decode(encoded: str) -> str:
    return bytes.fromhex(encoded.replace("\\x", "")).decode()


def _resolve(folders: list[str], path: str) -> str:
    """An absolute path: what a process works with here is never below its working folder by accident."""
    return path if path.startswith("/") or not folders else f"{folders[0]}/{path}"
