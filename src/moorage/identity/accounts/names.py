"""Names of accounts, groups and namespaces.

One set for all of them: a repository's first component may be an account's name, so the grammar is that
of a component (distribution-spec v1.1.1, "Pulling manifests", `<name>`), and short.
"""

from typing import Final

from moorage.errors import AccountNameInvalid
from moorage.oci.names import is_component

NAME_MAX_LENGTH: Final = 64
EVERYONE: Final = "everyone"
"""Whoever has signed in: as the one that a grant is for."""

RESERVED: Final = frozenset({EVERYONE, "anonymous", "operator"})
"""Names with a meaning of their own, here and in the audit."""

# what the eye takes for the same: one letter each. `.`, `_`, `__` and `-` separate alike.
_ALIKE: Final = (("rn", "m"), ("vv", "w"), ("0", "o"), ("1", "l"))
_SEPARATORS: Final = str.maketrans({".": "-", "_": "-"})


def check_name(text: str) -> str:
    """The name itself.

    Raises AccountNameInvalid (400) for anything but lower-case ASCII letters and digits, parted by `.`, `_`
    or `-`, at most 64 characters; and for names with a meaning of their own.
    """
    if not (1 <= len(text) <= NAME_MAX_LENGTH and is_component(text)):
        raise AccountNameInvalid(
            name=text[:NAME_MAX_LENGTH],
            want="lower-case letters and digits, parted by '.', '_' or '-', as bot.ci; at most 64 characters",
        )
    if text in RESERVED:
        raise AccountNameInvalid(name=text, want=f"another name: {text} has a meaning of its own")
    return text


def skeleton_of(name: str) -> str:
    """The name as the eye takes it: equal for two names that look alike."""
    text = "-".join(part for part in name.translate(_SEPARATORS).split("-") if part)
    for seen, taken in _ALIKE:
        text = text.replace(seen, taken)
    return text
