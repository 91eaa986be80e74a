"""Repository names and tags: the two words a person chooses in a registry's URLs.

Source: distribution-spec v1.1.1 and main @967efdc, "Pulling manifests". Docker's grammar of a path
component and of a tag is the same (distribution/reference v0.6.0): `moorage.oci.references` builds on it.

In Python a dollar sign matches before a last newline too, and a word character is one of any alphabet.
Hence `fullmatch`, `re.ASCII` and spelled-out classes, here and wherever a grammar is written.
"""

import re
from typing import Final, NewType, TypeGuard

RepositoryName = NewType("RepositoryName", str)
"""A `str` that `is_repository_name` has accepted."""

Tag = NewType("Tag", str)
"""A `str` that `is_tag` has accepted."""

NAME_MAX_LENGTH: Final = 255
"""Characters in a repository name, slashes included. The specification sets no limit; clients do, at 255."""

NAME_MAX_COMPONENTS: Final = 32
"""Components in a repository name. Our own limit: the specification and docker have none."""

TAG_MAX_LENGTH: Final = 128
"""Characters in a tag."""

# name      ::= component ("/" component)*
# component ::= alnum+ (separator alnum+)*
# separator ::= "." | "_" | "__" | "-"+
# alnum     ::= [a-z0-9]
_COMPONENT = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_component = re.compile(_COMPONENT, re.ASCII)
_name = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)

# tag       ::= word (word | "." | "-"){0,127}
# word      ::= [a-zA-Z0-9_]
_tag = re.compile(rf"[a-zA-Z0-9_][a-zA-Z0-9_.-]{{0,{TAG_MAX_LENGTH - 1}}}", re.ASCII)


def is_repository_name(text: str) -> TypeGuard[RepositoryName]:
    """Say whether `text` may be a repository's name in `/v2/<name>/...`: no host, no tag, limits included.

    Source: distribution-spec v1.1.1, "Pulling manifests", `<name>`.
    """
    return (
        len(text) <= NAME_MAX_LENGTH
        and text.count("/") < NAME_MAX_COMPONENTS
        and _name.fullmatch(text) is not None
    )


def is_component(text: str) -> bool:
    """Say whether `text` may stand between two slashes of a repository's name.

    Source: distribution-spec v1.1.1, "Pulling manifests", `<name>`.
    """
    return len(text) <= NAME_MAX_LENGTH and _component.fullmatch(text) is not None


def is_tag(text: str) -> TypeGuard[Tag]:
    """Say whether `text` may be a tag. Case matters: `A` and `a` are two tags.

    Source: distribution-spec v1.1.1, "Pulling manifests", `<reference>` as a tag.
    """
    return len(text) <= TAG_MAX_LENGTH and _tag.fullmatch(text) is not None
