"""Digests as lists print them: cut short, and what they stand for."""

import re

from moorage.cli.manage.client import Client, Unreachable

# beginning = ( "sha256:" / "sha512:" ) 12*hex, and fewer than the whole has
_BEGINNING = re.compile(r"sha256:[0-9a-f]{12,63}|sha512:[0-9a-f]{12,127}", re.ASCII)


def find_digest(client: Client, repository: str, text: str) -> str:
    """The digest in a repository's history or trash that begins so; any other text as it is.

    Raises Refused; Unreachable where there is none, or more than one.
    """
    if not _BEGINNING.fullmatch(text):
        return text
    events = client.items("history", *repository.split("/"))
    known = {event[key] for event in events for key in ("from_digest", "to_digest")}
    known |= {deletion["digest"] for deletion in client.items("trash", repository=repository)}
    found = sorted(str(digest) for digest in known if digest is not None and digest.startswith(text))
    if not found:
        raise Unreachable(f"no tag or deletion in {repository} names {text}...: give the whole digest")
    if len(found) > 1:
        raise Unreachable(f"{text} may be any of {', '.join(found)}: give more of it")
    return found[0]
