"""Every row of docker's reference table, the limits, and what must hold for any text."""

import pickle
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.oci.names import is_tag
from moorage.oci.references import (
    REFERENCE_MAX_LENGTH,
    ImageReference,
    InvalidImageReference,
    parse_image_reference,
)

HEX = "0123456789abcdef" * 4
SHA256 = f"sha256:{HEX}"
SHA384 = f"sha384:{HEX}{HEX[:32]}"
SHA512 = f"sha512:{HEX}{HEX}"

READ = [
    # No registry, or Docker Hub by either of its names.
    ("ubuntu", "docker.io", "library/ubuntu", "latest", None),
    ("docker.io/ubuntu", "docker.io", "library/ubuntu", "latest", None),
    ("index.docker.io/ubuntu", "docker.io", "library/ubuntu", "latest", None),
    ("ubuntu:22.04", "docker.io", "library/ubuntu", "22.04", None),
    ("docker.io/library/ubuntu", "docker.io", "library/ubuntu", "latest", None),
    ("index.docker.io/team/app:1", "docker.io", "team/app", "1", None),
    ("a/b/c", "docker.io", "a/b/c", "latest", None),
    # Docker Hub's other addresses are registries of their own: no library.
    ("registry-1.docker.io/ubuntu", "registry-1.docker.io", "ubuntu", "latest", None),
    ("docker.io:443/ubuntu", "docker.io:443", "ubuntu", "latest", None),
    # Without a slash there is no host.
    ("localhost", "docker.io", "library/localhost", "latest", None),
    ("localhost:5000", "docker.io", "library/localhost", "5000", None),
    ("example.com:5000", "docker.io", "library/example.com", "5000", None),
    ("foo.bar", "docker.io", "library/foo.bar", "latest", None),
    # What stands before the first slash.
    ("localhost/foo", "localhost", "foo", "latest", None),
    ("localhost:5000/foo", "localhost:5000", "foo", "latest", None),
    ("LOCALHOST/foo", "LOCALHOST", "foo", "latest", None),
    ("registry/foo", "docker.io", "registry/foo", "latest", None),
    ("registry:5000/foo", "registry:5000", "foo", "latest", None),
    ("registry.local:5000/gallery/ui:v1", "registry.local:5000", "gallery/ui", "v1", None),
    ("foo.bar/baz", "foo.bar", "baz", "latest", None),
    ("foo/bar.baz", "docker.io", "foo/bar.baz", "latest", None),
    ("Foo/bar", "Foo", "bar", "latest", None),
    ("UPPER.io/foo", "UPPER.io", "foo", "latest", None),
    ("127.0.0.1:5000/foo", "127.0.0.1:5000", "foo", "latest", None),
    ("localhostx/foo", "docker.io", "localhostx/foo", "latest", None),
    # IPv6 keeps its brackets.
    ("[::1]/foo", "[::1]", "foo", "latest", None),
    ("[::1]:5000/foo/bar:tag", "[::1]:5000", "foo/bar", "tag", None),
    # Digests.
    (f"ubuntu:22.04@{SHA256}", "docker.io", "library/ubuntu", "22.04", SHA256),
    (f"ubuntu@{SHA256}", "docker.io", "library/ubuntu", None, SHA256),
    (f"foo@{SHA384}", "docker.io", "library/foo", None, SHA384),
    (f"foo@{SHA512}", "docker.io", "library/foo", None, SHA512),
    (f"localhost:5000/foo@{SHA256}", "localhost:5000", "foo", None, SHA256),
    # 64 hexadecimal digits are an ID only when nothing else is there.
    (f"{HEX}:tag", "docker.io", f"library/{HEX}", "tag", None),
    (f"docker.io/{HEX}", "docker.io", f"library/{HEX}", "latest", None),
    (SHA256, "docker.io", "library/sha256", HEX, None),
    (HEX[:-1], "docker.io", f"library/{HEX[:-1]}", "latest", None),
    # Separators.
    ("foo__bar", "docker.io", "library/foo__bar", "latest", None),
    ("foo--bar", "docker.io", "library/foo--bar", "latest", None),
    ("foo---bar", "docker.io", "library/foo---bar", "latest", None),
    ("foo:_x", "docker.io", "library/foo", "_x", None),
    # Hosts.
    ("xn--n3h.com/foo", "xn--n3h.com", "foo", "latest", None),
    ("example.com:99999/foo", "example.com:99999", "foo", "latest", None),
    ("ex_ample.com/foo", "", "ex_ample.com/foo", "latest", None),
]


@pytest.mark.parametrize(("text", "domain", "path", "tag", "digest"), READ, ids=[row[0][:40] for row in READ])
def test_reference_is_read_as_docker_reads_it(
    text: str, domain: str, path: str, tag: str | None, digest: str | None
) -> None:
    reference = parse_image_reference(text)

    assert (reference.domain, reference.path) == (domain, path)
    assert (reference.tag, reference.digest) == (tag, digest)


REFUSED = [
    ("Foo", "repository", "Foo", "lower case: foo"),
    ("foo/Bar", "repository", "foo/Bar", "lower case: foo/bar"),
    ("example.com/Foo", "repository", "Foo", "lower case: foo"),
    ("Foo:v1", "repository", "Foo", "lower case: foo"),
    ("a:b/c", "registry", "a:b", "not a number"),
    ("example.com:/foo", "registry", "example.com:", "no port"),
    (":5000/foo", "registry", ":5000", "no host"),
    ("http://foo/bar", "registry", "http:", 'does not begin with "http://"'),
    ("docker://foo/bar", "registry", "docker:", 'does not begin with "docker://"'),
    ("::1/foo", "registry", "::1", "in brackets: [::1]"),
    ("2001:db8::1/foo", "registry", "2001:db8::1", "in brackets: [2001:db8::1]"),
    ("[fe80::1%eth0]:5000/foo", "registry", "[fe80::1%eth0]:5000", "IPv6 zone"),
    ("[::1/foo", "registry", "[::1", "in brackets"),
    ("[]/foo", "repository", "[]/foo", '"["'),
    ("[::ffff:1.2.3.4]/foo", "registry", "[::ffff:1.2.3.4]", "in brackets"),
    (f"foo@{SHA256.upper()}", "digest", SHA256.upper(), "in lower case"),
    (f"foo@sha256:{HEX.upper()}", "digest", f"sha256:{HEX.upper()}", "upper-case"),
    ("foo@sha256:abcd", "digest", "sha256:abcd", "4 digits; sha256 has 64"),
    (f"foo@sha256:{HEX}0", "digest", f"sha256:{HEX}0", "65 digits; sha256 has 64"),
    (f"foo@sha512:{HEX}", "digest", f"sha512:{HEX}", "64 digits; sha512 has 128"),
    (f"foo@md5:{HEX[:32]}", "digest", f"md5:{HEX[:32]}", 'algorithm "md5"'),
    (f"foo@sha256+b64:{HEX}", "digest", f"sha256+b64:{HEX}", "algorithm"),
    (f"foo@sha256:{HEX[:-1]}g", "digest", f"sha256:{HEX[:-1]}g", '"g"'),
    (f"foo@sha256:{HEX}\n", "digest", f"sha256:{HEX}\n", "a line break"),
    ("foo@sha256:", "digest", "sha256:", "0 digits"),
    ("foo@", "digest", "", "no digest"),
    (f"foo@{SHA256}@{SHA256}", "digest", f"{SHA256}@{SHA256}", "goes last"),
    (f"foo@{SHA256}:tag", "digest", f"{SHA256}:tag", "goes last"),
    (f"foo:tag@{HEX}", "digest", HEX, "sha256:DIGITS"),
    (HEX, "reference", HEX, "an image's ID"),
    ("foo___bar", "repository", "foo___bar", '"___"'),
    ("foo._bar", "repository", "foo._bar", '"._"'),
    ("foo.-bar", "repository", "foo.-bar", '".-"'),
    ("foo_-bar", "repository", "foo_-bar", '"_-"'),
    ("foo..bar", "repository", "foo..bar", '".."'),
    ("-foo", "repository", "-foo", 'begins with "-"'),
    ("foo-", "repository", "foo-", 'ends with "-"'),
    ("team/_foo", "repository", "team/_foo", '"_foo", which begins with "_"'),
    ("foo//bar", "repository", "foo//bar", '"//"'),
    ("foo/", "repository", "foo/", 'ends with "/"'),
    ("/foo", "repository", "/foo", 'begins with "/"'),
    ("localhost:5000/", "repository", "", "missing"),
    (":v1", "repository", "", "missing"),
    (f"@{SHA256}", "repository", "", "missing"),
    ("foo:.x", "tag", ".x", 'begins with "."'),
    ("foo:-x", "tag", "-x", 'begins with "-"'),
    ("foo:", "tag", "", "no tag"),
    (f"foo:@{SHA256}", "tag", "", "no tag"),
    ("foo:v1+meta", "tag", "v1+meta", "v1_meta"),
    ("foo:a b", "tag", "a b", "a space"),
    ("foo:v1\n", "tag", "v1\n", "a line break"),
    ("localhost:5000:v1", "tag", "5000:v1", "HOST:PORT/NAME:TAG"),
    ("team/app:v1/x", "tag", "v1/x", "goes last"),
    ("foo\n", "repository", "foo\n", "a line break"),
    (" foo", "repository", " foo", "a space"),
    ("foo\0", "repository", "foo\0", '"\\x00"'),
    ("foo\\bar", "repository", "foo\\bar", "only a-z"),
    ("caf\N{LATIN SMALL LETTER E WITH ACUTE}", "repository", None, "\N{LATIN SMALL LETTER E WITH ACUTE}"),
    ("foo:\N{LATIN SMALL LETTER E WITH ACUTE}", "tag", None, "\N{LATIN SMALL LETTER E WITH ACUTE}"),
    ("foo\N{ARABIC-INDIC DIGIT ONE}", "repository", None, "\N{ARABIC-INDIC DIGIT ONE}"),
    ("m\N{LATIN SMALL LETTER U WITH DIAERESIS}.de/foo", "registry", None, "only letters"),
    ("foo\N{RIGHT-TO-LEFT OVERRIDE}", "repository", None, "\\u202e"),
    ("foo\x1b[2J", "repository", None, "\\x1b"),
    ("-example.com/foo", "registry", "-example.com", 'begins or ends with "-"'),
    ("example-.com/foo", "registry", "example-.com", 'begins or ends with "-"'),
    ("example.com./foo", "registry", "example.com.", 'begins or ends with "."'),
    ("example..com/foo", "registry", "example..com", "two in a row"),
    ("ex_ample.com:5000/foo", "registry", "ex_ample.com:5000", '"_"'),
    ("ex_ample.com/Foo", "repository", "Foo", "lower case: foo"),
    ("user:secret@example.com/foo", "registry", "user:secret@example.com", "docker login"),
    ("", "reference", "", "no image name"),
]


@pytest.mark.parametrize(
    ("text", "part", "wrong", "why"), REFUSED, ids=[ascii(row[0])[:40] for row in REFUSED]
)
def test_what_docker_refuses_is_refused_with_its_part_and_the_reason(
    text: str, part: str, wrong: str | None, why: str
) -> None:
    with pytest.raises(InvalidImageReference) as refusal:
        parse_image_reference(text)

    assert refusal.value.part == part
    assert why in refusal.value.reason
    if wrong is not None:
        assert text[refusal.value.start : refusal.value.end] == wrong


def test_credentials_typed_into_a_name_are_not_repeated() -> None:
    with pytest.raises(InvalidImageReference) as refusal:
        parse_image_reference("user:secret@example.com/foo")

    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("text", [":" * 1000 + "/a", "_" * 1024, "a:" + "+" * 1000, "a@" + "x" * 1000])
def test_reason_stays_short_however_long_the_part(text: str) -> None:
    with pytest.raises(InvalidImageReference) as refusal:
        parse_image_reference(text)

    assert len(refusal.value.reason) < 512


def test_refusal_reads_as_its_reason() -> None:
    with pytest.raises(ValueError, match='the repository "Foo" has an upper-case letter') as refusal:
        parse_image_reference("Foo")

    assert str(refusal.value) == (
        'the repository "Foo" has an upper-case letter; docker requires lower case: foo'
    )
    assert str(pickle.loads(pickle.dumps(refusal.value))) == str(refusal.value)


def test_tag_has_at_most_128_characters() -> None:
    assert parse_image_reference("foo:" + "a" * 128).tag == "a" * 128
    with pytest.raises(InvalidImageReference, match="129 characters long; at most 128") as refusal:
        parse_image_reference("foo:" + "a" * 129)
    assert refusal.value.part == "tag"


def test_path_has_at_most_255_characters_whatever_the_registry() -> None:
    domain = ".".join(["a" * 60] * 4)

    assert parse_image_reference(f"{domain}/{'a' * 255}").path == "a" * 255
    with pytest.raises(InvalidImageReference, match="256 characters long; at most 255") as refusal:
        parse_image_reference(f"{domain}/{'a' * 256}")
    assert refusal.value.part == "repository"
    with pytest.raises(InvalidImageReference, match="257 characters long"):
        parse_image_reference(f"{domain}/{'a' * 128}/{'a' * 128}")


def test_library_counts_towards_the_length_of_a_path() -> None:
    assert parse_image_reference("a" * 247).path == "library/" + "a" * 247
    with pytest.raises(InvalidImageReference, match='256 characters long with "library/"') as refusal:
        parse_image_reference("a" * 248)
    assert refusal.value.part == "repository"


def test_host_that_is_none_counts_towards_the_length_of_a_path() -> None:
    assert parse_image_reference("a_b.c/" + "a" * 249).domain == ""
    with pytest.raises(InvalidImageReference, match="256 characters long"):
        parse_image_reference("a_b.c/" + "a" * 250)


def test_path_may_have_more_components_than_this_registry_takes() -> None:
    assert parse_image_reference("/".join(["a"] * 100)).path.count("/") == 99


@pytest.mark.parametrize("text", ["a" * 10**7, "a-" * 10**6, "/" * 10**6, ":" * 10**6, "A." * 10**6 + "/a"])
def test_hostile_length_is_refused_before_it_is_read(text: str) -> None:
    with pytest.raises(InvalidImageReference, match=f"at most {REFERENCE_MAX_LENGTH}") as refusal:
        parse_image_reference(text)

    assert refusal.value.part == "reference"


def test_everything_at_its_longest_fits() -> None:
    domain = ".".join(["a" * 63] * 3 + ["b" * 61])
    text = f"{domain}:65535/{'a' * 255}:{'a' * 128}@{SHA512}"

    assert str(parse_image_reference(text)) == text


def test_digest_decides_when_there_is_a_tag_too() -> None:
    assert parse_image_reference(f"ubuntu:22.04@{SHA256}").tag_or_digest == SHA256
    assert parse_image_reference(f"ubuntu@{SHA256}").tag_or_digest == SHA256
    assert parse_image_reference("ubuntu:22.04").tag_or_digest == "22.04"
    assert parse_image_reference("ubuntu").tag_or_digest == "latest"


@pytest.mark.parametrize(
    ("text", "defaults"),
    [
        ("ubuntu", {"registry", "namespace", "tag"}),
        ("docker.io/ubuntu", {"namespace", "tag"}),
        ("index.docker.io/ubuntu:1", {"namespace"}),
        ("team/app", {"registry", "tag"}),
        ("team/app:1", {"registry"}),
        ("docker.io/library/ubuntu:latest", set()),
        (f"docker.io/team/app@{SHA256}", set()),
        ("registry.local:5000/ui", {"tag"}),
        ("ex_ample.com/foo:1", set()),
    ],
)
def test_reference_knows_what_was_filled_in(text: str, defaults: set[str]) -> None:
    assert parse_image_reference(text).defaults == defaults


def test_two_ways_to_write_a_reference_are_equal() -> None:
    assert parse_image_reference("ubuntu") == parse_image_reference("docker.io/library/ubuntu:latest")
    assert parse_image_reference("ubuntu") != parse_image_reference("ubuntu:22.04")


@pytest.mark.parametrize(
    ("text", "namespace", "image"),
    [
        ("registry.local:5000/gallery/ui:v1", "gallery", "ui"),
        ("registry.local:5000/ui", None, "ui"),
        ("a/b/c", "a/b", "c"),
        ("ubuntu", "library", "ubuntu"),
    ],
)
def test_path_divides_into_namespace_and_image(text: str, namespace: str | None, image: str) -> None:
    reference = parse_image_reference(text)

    assert (reference.namespace, reference.image) == (namespace, image)


# Docker's own expressions: one for the whole, where the module first divides and then matches.
TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|[-]+)[a-z0-9]+)*"
REMOTE = rf"{COMPONENT}(?:/{COMPONENT})*"
DOMAIN_COMPONENT = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
HOST = rf"(?:{DOMAIN_COMPONENT}(?:\.{DOMAIN_COMPONENT})*|\[[a-fA-F0-9:]+\])"
DOMAIN = rf"{HOST}(?::[0-9]+)?"
REFERENCE = re.compile(rf"((?:{DOMAIN}/)?{REMOTE})(?::({TAG}))?(?:@({DIGEST}))?")
NAME = re.compile(rf"(?:({DOMAIN})/)?({REMOTE})")
SUPPORTED_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")


def as_docker_does(text: str) -> tuple[str, str, str | None, str | None] | None:
    """Follow docker's library line by line; None where it refuses."""
    if re.fullmatch(r"[a-f0-9]{64}", text):
        return None
    first, slash, rest = text.partition("/")
    if not slash:
        domain, remainder = "docker.io", f"library/{text}"
    else:
        is_domain = first == "localhost" or set(".:") & set(first) or first.lower() != first
        domain, remainder = (first, rest) if is_domain else ("docker.io", text)
        domain = "docker.io" if domain == "index.docker.io" else domain
        if domain == "docker.io" and "/" not in remainder:
            remainder = f"library/{remainder}"
    remote = remainder.partition(":")[0]
    if remote.lower() != remote:
        return None
    whole = REFERENCE.fullmatch(f"{domain}/{remainder}")
    if whole is None:
        return None
    name, tag, digest = whole.groups()
    parts = NAME.fullmatch(name)
    assert parts is not None
    if len(parts[2]) > 255 or (digest is not None and not SUPPORTED_DIGEST.fullmatch(digest)):
        return None
    return parts[1] or "", parts[2], tag or (None if digest else "latest"), digest


PIECES = st.sampled_from([
    "localhost", "docker.io", "index.docker.io", "library", "example.com", "ex_ample.com", "registry", "Foo",
    "foo", "5000", "[::1]", "[", "]", "/", "/", "/", ":", ":", "@", "@", ".", "-", "_", "__", "+", "%", " ",
    "\n", "0", SHA256, SHA512, "sha256:", HEX, "a" * 128, "a" * 247, "latest",
    "\N{LATIN SMALL LETTER E WITH ACUTE}", "\N{KELVIN SIGN}", "\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}",
])  # fmt: skip
NEAR_REFERENCES = st.lists(PIECES, max_size=7).map("".join).filter(lambda text: len(text) <= 1024)


@given(NEAR_REFERENCES | st.text("aA0.-_:/@[]\n", max_size=12))
def test_any_text_near_a_reference_is_read_as_docker_reads_it(text: str) -> None:
    expected = as_docker_does(text)

    try:
        reference = parse_image_reference(text)
    except InvalidImageReference:
        assert expected is None
    else:
        assert (reference.domain, reference.path, reference.tag, reference.digest) == expected


def refusal_of(text: str) -> InvalidImageReference | None:
    try:
        parse_image_reference(text)
    except InvalidImageReference as refusal:
        return refusal
    return None


@given(st.text() | NEAR_REFERENCES | st.text(string.printable))
def test_any_text_is_read_or_refused_with_a_reason_that_is_safe_to_print(text: str) -> None:
    refusal = refusal_of(text)

    if refusal is not None:
        assert refusal.reason
        assert refusal.reason.isprintable()
        assert len(refusal.reason) < 512
        assert 0 <= refusal.start <= refusal.end <= len(text)


COMPONENTS = st.from_regex(COMPONENT, fullmatch=True).filter(lambda text: len(text) <= 30)
PATHS = st.lists(COMPONENTS, min_size=1, max_size=4).map("/".join)
TAGS = st.from_regex(TAG, fullmatch=True)
DIGESTS = st.sampled_from([SHA256, SHA384, SHA512])
DOMAINS = st.sampled_from(
    ["docker.io", "localhost", "localhost:5000", "registry.local:5000", "Host", "[::1]:5000"]
)


@given(DOMAINS, PATHS, TAGS | st.none(), DIGESTS | st.none())
def test_parts_that_are_put_together_are_found_again(
    domain: str, path: str, tag: str | None, digest: str | None
) -> None:
    text = f"{domain}/{path}" + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
    expected_path = f"library/{path}" if domain == "docker.io" and "/" not in path else path
    expected_tag = tag or (None if digest else "latest")

    assert parse_image_reference(text) == ImageReference(domain, expected_path, expected_tag, digest)


@given(NEAR_REFERENCES | PATHS)
def test_what_was_read_is_read_again_from_its_full_form(text: str) -> None:
    try:
        reference = parse_image_reference(text)
    except InvalidImageReference:
        return

    again = parse_image_reference(str(reference))

    assert again == reference
    assert str(again) == str(reference)
    assert again.defaults == frozenset()
    assert reference.tag is None or is_tag(reference.tag)
