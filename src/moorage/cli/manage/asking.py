"""Passwords from the terminal or from standard input; never from the command line, which others see."""

import sys
from typing import Annotated

import typer

from moorage.cli.manage.client import Unreachable

PasswordStdinOption = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input, one line.")
]


def ask_new_password(name: str, *, from_stdin: bool) -> str:
    """A password to be, asked twice.

    Raises Unreachable where there is no one to ask.
    """
    if from_stdin:
        return read_line()
    _check_terminal("--password-stdin")
    answer: str = typer.prompt(
        f"New password of {name}", hide_input=True, confirmation_prompt="The same again", err=True
    )
    return answer


def ask_password(name: str, *, from_stdin: bool = False) -> str:
    """A password that there is.

    Raises Unreachable where there is no one to ask.
    """
    if from_stdin:
        return read_line()
    _check_terminal("--password-stdin, or a token in $MOORAGE_TOKEN")
    answer: str = typer.prompt(f"Password of {name}", hide_input=True, err=True)
    return answer


def read_line() -> str:
    """The next line of standard input."""
    return sys.stdin.readline().rstrip("\r\n")


def _check_terminal(instead: str) -> None:
    if not sys.stdin.isatty():
        raise Unreachable(f"there is no terminal to ask for a password; use {instead}")
