"""How people and places are written on the command line and in files."""

import re
from contextlib import suppress
from datetime import UTC, datetime

import typer

from moorage.config_file import read_duration

NO_OWNER = "administrators"
"""As an owner: no one, so the administrators."""

_FRACTION = re.compile(r"\d[.,]\d", re.ASCII)


def read_receiver(text: str) -> str:
    """Who a grant or a namespace is for, in the API's words, from `alice`, `group:ops` or `everyone`."""
    kind, colon, name = text.replace(" ", ":", 1).partition(":")
    if not colon:
        return text if text == "everyone" else f"account {text}"
    if kind not in {"account", "group"} or not name:
        raise typer.BadParameter(f"{text!r}: want NAME, group:NAME or everyone")
    return f"{kind} {name}"


def read_owner(text: str) -> str | None:
    """An owner in the API's words, from `alice`, `group:ops` or `administrators`."""
    return None if text == NO_OWNER else read_receiver(text)


def read_actions(text: str) -> list[str]:
    """Actions, from a list with commas."""
    return [each.strip() for each in text.split(",") if each.strip()]


def read_scope(text: str) -> dict[str, object]:
    """A token's scope, from `push:team/*`."""
    actions, colon, pattern = text.partition(":")
    if not colon or not pattern:
        raise typer.BadParameter(f"{text!r}: want ACTIONS:PATTERN, as push:team/*")
    return {"pattern": pattern, "actions": read_actions(actions)}


def read_tag(text: str) -> tuple[str, str]:
    """A repository and a tag in it, from `team/app:1.0`."""
    repository, colon, tag = text.rpartition(":")
    if not colon or not repository or "/" in tag:
        raise typer.BadParameter(f"{text!r}: want REPOSITORY:TAG, as team/app:1.0")
    return repository, tag


def read_moment(text: str | None, *, is_end: bool = False) -> str | None:
    """A moment for the API: one that was given, or so long ago, as `2h`, `2h ago`.

    `is_end`: of a time in whole seconds, as lists show it, the end of its second.
    """
    if text is None:
        return None
    with suppress(ValueError):
        duration = read_duration(text.strip().removesuffix(" ago").strip())
        return (datetime.now(UTC) - duration).isoformat(timespec="milliseconds")
    with suppress(ValueError):
        at = datetime.fromisoformat(text)
        if is_end and not _FRACTION.search(text):
            at = at.replace(microsecond=999_000)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).isoformat(timespec="milliseconds")
    raise typer.BadParameter(f"{text!r}: want a time as 1h, 7d or 2026-01-31T08:00:00Z")
