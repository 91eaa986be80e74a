import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.oci.names import is_component, is_repository_name, is_tag

NAMES = [
    "a",
    "0",
    "ui",
    "gallery/ui",
    "a/b/c/d",
    "foo.bar",
    "foo_bar",
    "foo__bar",
    "foo-bar",
    "foo--bar",
    "foo---bar",
    "a.b_c__d-e",
    "xn--n3h.com/foo",
    "a/blobs/b/manifests/x",
    "a/tags/list",
    "library/" + "0123456789abcdef" * 4,
]
NO_NAMES = [
    "",
    "/",
    "/foo",
    "foo/",
    "foo//bar",
    ".",
    "..",
    "../foo",
    "foo/../bar",
    "foo/./bar",
    "-foo",
    "foo-",
    ".foo",
    "foo.",
    "_foo",
    "foo_",
    "_uploads",
    "a/_uploads",
    "foo..bar",
    "foo___bar",
    "foo._bar",
    "foo.-bar",
    "foo_-bar",
    "Foo",
    "foo/Bar",
    "foo:v1",
    "foo@sha256",
    "registry.local:5000/foo",
    "foo bar",
    "foo\n",
    "\nfoo",
    "foo\0",
    "foo\\bar",
    "foo%2fbar",
    "f\N{LATIN SMALL LETTER O WITH DIAERESIS}o",
    "f\N{CYRILLIC SMALL LETTER O}o",
    "\N{FULLWIDTH LATIN SMALL LETTER F}oo",
    "foo\N{ARABIC-INDIC DIGIT ONE}",
    "\udcff",
]
TAGS = [
    "latest",
    "v1",
    "1.2.3",
    "_x",
    "A",
    "a",
    "0",
    "__",
    "a..b",
    "a-",
    "a.",
    "v1_meta",
    "sha256-" + "a" * 64,
]
NO_TAGS = [
    "",
    ".",
    "..",
    ".x",
    "-x",
    "v1+meta",
    "a:b",
    "a/b",
    "a@b",
    "a b",
    "a\n",
    "a\0",
    "\N{LATIN SMALL LETTER E WITH ACUTE}",
    "a\N{ARABIC-INDIC DIGIT ONE}",
    "sha256:" + "a" * 64,
]


@pytest.mark.parametrize("text", NAMES)
def test_repository_name_is_recognised(text: str) -> None:
    assert is_repository_name(text)


@pytest.mark.parametrize("text", NO_NAMES)
def test_what_is_no_repository_name_is_refused(text: str) -> None:
    assert not is_repository_name(text)


@pytest.mark.parametrize("text", TAGS)
def test_tag_is_recognised(text: str) -> None:
    assert is_tag(text)


@pytest.mark.parametrize("text", NO_TAGS)
def test_what_is_no_tag_is_refused(text: str) -> None:
    assert not is_tag(text)


def test_repository_name_has_at_most_255_characters() -> None:
    assert is_repository_name("a" * 255)
    assert not is_repository_name("a" * 256)
    assert is_repository_name("a/" * 5 + "b" * 245)
    assert not is_repository_name("a/" * 5 + "b" * 246)


def test_repository_name_has_at_most_32_components() -> None:
    assert is_repository_name("/".join(["a"] * 32))
    assert not is_repository_name("/".join(["a"] * 33))


def test_tag_has_at_most_128_characters() -> None:
    assert is_tag("a" * 128)
    assert not is_tag("a" * 129)


def test_component_has_no_slash() -> None:
    assert is_component("foo--bar")
    assert not is_component("foo/bar")
    assert not is_component("")


@pytest.mark.parametrize("text", ["a" * 10**7, "a-" * 10**6, "a" + "-" * 10**6, "a/" * 10**6, "a_" * 120])
def test_hostile_length_costs_nothing(text: str) -> None:
    assert not is_repository_name(text)
    assert not is_component(text)
    assert not is_tag(text) or len(text) <= 128


# The expressions as the specification prints them.
SPECIFIED_NAME = re.compile(
    r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*",
)
SPECIFIED_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")


@given(st.text("ab0A._-/:\n", max_size=12))
def test_short_names_are_those_of_the_specification(text: str) -> None:
    assert is_repository_name(text) == (SPECIFIED_NAME.fullmatch(text) is not None)
    assert is_component(text) == ("/" not in text and is_repository_name(text))


@given(st.text("ab0A._-/:\n", max_size=12))
def test_tags_are_those_of_the_specification(text: str) -> None:
    assert is_tag(text) == (SPECIFIED_TAG.fullmatch(text) is not None)
