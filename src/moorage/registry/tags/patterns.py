r"""Patterns of tags, as a person writes them in a rule.

v1.*          every tag that begins so: a star stands for anything, also for nothing
build-???     a question mark stands for one character
*             every tag
re:v\d+        after `re:` an expression, which has to fit the whole tag

Expressions are RE2's: whatever one is made of, it looks at each character of a tag once. Whoever may write
a rule cannot keep a worker busy with it.
Source: RE2, doc/syntax.txt.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import re2  # type: ignore[import-untyped]

from moorage.errors import FieldInvalid

PATTERN_MAX_LENGTH: Final = 255
"""Characters in a pattern."""

EXPRESSION: Final = "re:"
_MEMORY_MAX_BYTES: Final = 1 << 20
_REMEMBERED: Final = 4096

# glob ::= 1*( word | "." | "-" | "*" | "?" ) ; what a tag is made of, and what stands for it
_GLOB = re.compile(r"[a-zA-Z0-9_.*?-]+", re.ASCII)
_STANDS_FOR: Final = {"*": ".*", "?": "."}


def compile_tag_pattern(text: str) -> Callable[[str], bool]:
    """What tells whether a tag is one of those that a pattern names.

    Raises FieldInvalid (400).
    """
    if not text or len(text) > PATTERN_MAX_LENGTH or not text.isprintable():
        raise _invalid(text, f"want 1 to {PATTERN_MAX_LENGTH} characters that can be printed")
    return _compile(text)


@lru_cache(_REMEMBERED)
def _compile(text: str) -> Callable[[str], bool]:
    if text.startswith(EXPRESSION):
        body = text.removeprefix(EXPRESSION)
    elif _GLOB.fullmatch(text):
        body = "".join(_STANDS_FOR.get(each) or re2.escape(each) for each in text)
    else:
        raise _invalid(text, f"want a glob, as v1.*, or an expression after {EXPRESSION!r}")
    options: Any = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY_MAX_BYTES
    try:
        fits = re2.compile(body, options).fullmatch
    except re2.error as error:
        reason = error.args[0]
        sentence = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise _invalid(text, f"no expression that RE2 takes: {sentence}") from error
    return lambda tag: fits(tag) is not None


def _invalid(text: str, reason: str) -> FieldInvalid:
    return FieldInvalid(field="pattern", pattern=text[:PATTERN_MAX_LENGTH], reason=reason)
