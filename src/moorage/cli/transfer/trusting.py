"""What commands that ask a registry share: whose certificates count, and what to do when one does not."""

import re
from pathlib import Path
from typing import Annotated

import typer

_UNTRUSTED = re.compile(r"the certificate of (\S+) is not trusted")

AuthorityOption = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        metavar="FILE",
        help="PEM file of a root certificate to trust, besides the system's and those in certs.d folders.",
        show_default=False,
    ),
]


def advise(sentence: str) -> str:
    """What to do about a failure, where something can be done."""
    found = _UNTRUSTED.search(sentence)
    if found is None:
        return ""
    return (
        f". If it is Moorage's own, compare its fingerprint and trust it with `moorage trust {found[1]}`,"
        " or name the root's file with --ca"
    )
