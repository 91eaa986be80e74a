"""Tags as versions: how they sort.

A tag counts as a version when it begins with numbers, perhaps after a `v`; what follows them is read as, in
this order, a pre-release, a revision, and a variant:

    1.0-rc.2-14-gabc1234        1.0 | rc 2 | 14 | gabc1234
    3.13.0b1-slim-bookworm      3.13.0 | b1 | - | slim-bookworm
    1.27.4-r2, 1.27.4-2         1.27.4 | - | 2 | -

- Numbers count as numbers, however long: 1.9 < 1.10, and 2024.01 is 2024.1. Zeros at the end say nothing:
  1, 1.0 and 1.0.0 are one version.
- A pre-release is before its version, and only a known word makes one (`_WORDS`): `3.11-slim` is a variant
  of 3.11 and not before it, which is what images mean and semver does not. After the word semver's rule
  holds: alpha < alpha.1 < alpha.beta < beta < beta.2 < beta.11 < rc.1; and rc1, rc.1 and rc-1 are one. As in
  Python `dev` is before alpha, and 1.0rc1.dev2 before 1.0rc1.
- A revision is after its version: 1.0 < 1.0-1 < 1.0-2, 1.0-r2, 1.0.post2, and git's 1.0-14-gabc1234.
- A variant stands beside its version: 3.11 < 3.11-alpine3.9 < 3.11-alpine3.10 < 3.11-slim < 3.11-1 < 3.11.1.

No version: `latest`, branches, and what may be a git commit, also one of digits only: 7 to 40 of them, but
for a day (20240131) or a moment (202401312359, 20240131235959). A number without a dot is one of at most six
digits if nothing follows it, and of at most three, or a year, before `-alpine`: `1234-mend-login` is a
branch.

Source: semver 2.0.0, "Precedence"; PEP 440; the tags of Docker's official images.
"""

import re
from typing import Final

# key    ::= number+ ( "!" word item* )? "+" number* "," text*     ; release, pre-release, revision, variant
# word   ::= one letter, in the order of `_WORDS`
# item   ::= number | "a" text* "!" | "!" number?                  ; of a pre-release; the last is "dev"
# text   ::= number | character
# number ::= its length in two digits, then itself                 ; 99 and three digits if it is longer
# In ASCII "!" < "+" < "," < digits < letters: what ends early comes first, but for a pre-release.

_START = re.compile(r"(?P<v>v|release\.(?=20[0-9]{2}-))?(?P<release>[0-9]+(?:\.[0-9]+)*)", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{7,40}|[0-9a-f]{64}", re.ASCII)
_DAY = r"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
_MOMENT = re.compile(rf"{_DAY}(?:(?:[01][0-9]|2[0-3])[0-5][0-9](?:[0-5][0-9])?)?", re.ASCII)
_YEAR = re.compile(r"(?:19|20)[0-9]{2}", re.ASCII)
_BUILD_MAX_DIGITS = 6
_MAJOR_MAX_DIGITS = 3

_DEV = "dev"
_WORDS: Final = {
    _DEV: "a",
    "snapshot": "a",
    "nightly": "a",
    "canary": "a",
    "alpha": "b",
    "a": "b",
    "beta": "c",
    "b": "c",
    "milestone": "d",
    "m": "d",
    "ea": "e",
    "preview": "f",
    "pre": "f",
    "rc": "g",
    "cr": "g",
    "c": "g",
}
_END = r"(?![a-z0-9])"
_COUNT = rf"(?:[.-]?(?P<count>[0-9]+){_END})?"
# one letter is a word only with its number, and but for Maven's M1 only right after the version's
_PRE = re.compile(
    rf"(?:[._-]?(?P<word>dev|snapshot|nightly|canary|alpha|beta|milestone|ea|preview|pre|rc|cr)(?![a-z])"
    rf"|(?P<letter>[abc]|[.-]?m)(?=[0-9]+{_END})){_COUNT}",
    re.ASCII,
)
_DEV_ITEM = re.compile(rf"[._-](?:dev|snapshot){_COUNT}{_END}", re.ASCII)
_ITEM = re.compile(r"\.(?P<item>[a-z0-9]+)", re.ASCII)
_REVISION = re.compile(
    rf"(?:[._-](?:post|patch|rev|r|p)[.-]?|(?:p|u)|-)(?P<numbers>[0-9]+(?:\.[0-9]+)*){_END}", re.ASCII
)
_RUN = re.compile(r"[0-9]+|[^0-9]+", re.ASCII)


def version_key(tag: str) -> str:
    """A text that sorts bytewise as the versions do that tags name; "" for a tag that names none."""
    text = tag.lower()
    start = _START.match(text)
    if start is None:
        return ""
    release = start["release"]
    rest = text[start.end() :]
    if not start["v"] and "." not in release and not _is_lone_version(text, release, rest):
        return ""
    moment = _MOMENT.fullmatch(release)
    parts = [release[:8], release[8:].ljust(6, "0")] if moment is not None else release.split(".")
    numbers = [number.lstrip("0") for number in parts]
    while len(numbers) > 1 and not numbers[-1]:
        numbers.pop()
    pre, rest = _read_pre(rest)
    revision, rest = _read_revision(rest)
    return "".join([*map(_number, numbers), pre, "+", revision, ",", _text(rest.lstrip("._-"))])


def _is_lone_version(text: str, number: str, rest: str) -> bool:
    """Whether a tag that begins with one number is a version, and no commit, branch or word."""
    if _MOMENT.fullmatch(number):
        return not rest or rest[0] in "._-"
    if _COMMIT.fullmatch(text):
        return False
    if not rest:
        return len(number) <= _BUILD_MAX_DIGITS
    if rest[0] not in "._-" and _PRE.match(rest) is None and _REVISION.match(rest) is None:
        return False
    return len(number) <= _MAJOR_MAX_DIGITS or _YEAR.fullmatch(number) is not None


def _read_pre(rest: str) -> tuple[str, str]:
    """The pre-release at the beginning, as it stands in the key; and what follows it."""
    match = _PRE.match(rest)
    if match is None:
        return "", rest
    word = match["word"] or match["letter"].lstrip(".-")
    items = ["!", _WORDS[word], _count(match)]
    rest = rest[match.end() :]
    while match := _DEV_ITEM.match(rest) or _ITEM.match(rest):
        item = match.groupdict().get("item")
        if item is None:
            items.append("!" + _count(match))
        else:
            items.append(_number(item) if item.isdecimal() else f"a{_text(item)}!")
        rest = rest[match.end() :]
    return "".join(items), rest


def _read_revision(rest: str) -> tuple[str, str]:
    match = _REVISION.match(rest)
    if match is None:
        return "", rest
    return "".join(map(_number, match["numbers"].split("."))), rest[match.end() :]


def _count(match: re.Match[str]) -> str:
    return "" if match["count"] is None else _number(match["count"])


def _text(text: str) -> str:
    return "".join(_number(run) if run.isdecimal() else run for run in _RUN.findall(text))


def _number(digits: str) -> str:
    plain = digits.lstrip("0") or "0"
    length = len(plain)
    return f"{length:02d}{plain}" if length < 99 else f"99{length:03d}{plain}"  # noqa: PLR2004
