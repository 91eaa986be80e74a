"""Patterns of repository names, as a person reads them.

team/app      that repository
team/*        every repository of the namespace team, however deep
team/app-*    team/app-1, team/app-web; not team/app-1/x: a star stands for no slash
*             every repository
"""

import re
from functools import lru_cache

from moorage.errors import PatternInvalid
from moorage.oci.names import NAME_MAX_LENGTH

# pattern   ::= "*" | component ("/" component)*
# component ::= 1*( alnum | "." | "_" | "-" | "*" ) ; a last component that is "*" alone: any depth
_PATTERN = re.compile(r"[a-z0-9*._-]+(?:/[a-z0-9*._-]+)*", re.ASCII)
_COMPILED = 4096


def check_pattern(text: str) -> str:
    """The pattern itself.

    Raises PatternInvalid (400).
    """
    if len(text) > NAME_MAX_LENGTH or _PATTERN.fullmatch(text) is None:
        raise PatternInvalid(
            pattern=text[:NAME_MAX_LENGTH], want="a repository, as team/app, or several, as team/*"
        )
    return text


def namespace_of(name: str) -> str:
    """The first part of a repository's name or pattern."""
    return name.partition("/")[0]


def is_match(pattern: str, repository: str) -> bool:
    """Whether a pattern names a repository."""
    return _compile(pattern).fullmatch(repository) is not None


def covers(pattern: str, other: str) -> bool:
    """Whether `pattern` names whatever `other` does, as far as that can be told from the texts."""
    if pattern in {other, "*"}:
        return True
    if "*" not in other:
        return is_match(pattern, other)
    return pattern.endswith("/*") and "*" not in pattern[:-1] and other.startswith(pattern[:-1])


@lru_cache(_COMPILED)
def _compile(pattern: str) -> re.Pattern[str]:
    body, last = (pattern[:-1], ".+") if pattern == "*" or pattern.endswith("/*") else (pattern, "")
    first, *rest = map(re.escape, body.split("*"))
    # A star stands for no slash, so what follows it may as well be where it first fits: each star but the
    # last is never tried again, or whoever may write a pattern could keep a worker busy for years.
    stars = [rf"(?>[^/]*?{text})" for text in rest[:-1]] + [f"[^/]*{text}" for text in rest[-1:]]
    return re.compile("".join([first, *stars, last]), re.ASCII)
