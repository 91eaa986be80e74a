"""How people and places are written on the command line and in files."""

import typer

NO_OWNER = "administrators"
"""As an owner: no one, so the administrators."""


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
