"""Where it was measured: a ratio means little without it."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def describe() -> dict[str, str | int]:
    """Give date, kernel, processor, cores, memory and the versions of what took part."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "kernel": platform.release(),
        "cpu": _find_field(Path("/proc/cpuinfo"), "model name"),
        "cores": os.cpu_count() or 0,
        "usable_cores": len(os.sched_getaffinity(0)),
        "memory": _find_field(Path("/proc/meminfo"), "MemTotal"),
        "python": platform.python_version(),
        "moorage": _moorage_version(),
        "docker-registry": _first_line("docker-registry", "--version"),
        "wrk": _first_line("wrk", "-v"),
    }


def load_average() -> float:
    """Give the load of the last minute: high before a row means that others were at work."""
    return os.getloadavg()[0]


def _find_field(path: Path, name: str) -> str:
    for line in path.read_text(encoding="utf-8").splitlines():
        field, _, value = line.partition(":")
        if field.strip() == name:
            return value.strip()
    return ""


def _first_line(*command: str) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return next(iter((ran.stdout or ran.stderr).splitlines()), "")


def _moorage_version() -> str:
    try:
        return version("moorage")
    except PackageNotFoundError:
        return "from this tree"
