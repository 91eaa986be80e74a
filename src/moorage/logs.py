"""The log: one event in the past tense and its keys; text for a person, JSON lines for a machine."""

import json
import sys

import msgspec
import structlog

from moorage.config import LogSettings

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def configure(settings: LogSettings) -> None:
    """Set up this process's log on standard error. A log that cannot be written never stops a request."""
    is_text = settings.format == "text" or (settings.format == "auto" and sys.stderr.isatty())
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if is_text:
        processors += [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    else:
        processors += [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(_json),
        ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[settings.level]),
        logger_factory=_lines,
        cache_logger_on_first_use=True,
    )


def _json(event: object, **_: object) -> str:
    line = msgspec.json.encode(event, enc_hook=repr).decode()
    # what a terminal could take for a change of direction stays a number
    return line if line.isascii() else json.dumps(json.loads(line))


class _Lines:
    """Writes whole lines to standard error and outlives a closed or full one."""

    def msg(self, line: str) -> None:
        try:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            return

    log = debug = info = warning = error = exception = critical = fatal = failure = msg


def _lines(*_: object) -> _Lines:
    return _Lines()
