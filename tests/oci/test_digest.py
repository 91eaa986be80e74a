import hashlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import DigestInvalid
from moorage.oci.digest import SHA256, SHA512, algorithm_of, digest_of, encoded_of, is_digest, parse_digest

HEX = "0123456789abcdef"
GOOD = [f"sha256:{HEX * 4}", f"sha512:{HEX * 8}", "sha256:" + "0" * 64]
BAD = [
    "",
    ":",
    "sha256",
    "sha256:",
    HEX * 4,
    f"sha256:{HEX * 4}0",
    f"sha256:{HEX * 4}"[:-1],
    f"sha256:{HEX * 8}",
    f"sha512:{HEX * 4}",
    f"sha256:{HEX.upper() * 4}",
    f"SHA256:{HEX * 4}",
    f" sha256:{HEX * 4}",
    f"sha256:{HEX * 4} ",
    f"sha256:{HEX * 4}\n",
    f"sha256:{HEX * 4}\0",
    f"sha256 :{HEX * 4}",
    f"sha256:{'g' * 64}",
    f"md5:{HEX * 2}",
    f"sha1:{HEX * 2}01234567",
    f"sha384:{HEX * 6}",
    f"blake3:{HEX * 4}",
    f"sha256+b64:{HEX * 4}",
    f"sha256:{HEX * 3}../../etc/passwd",
    f"sha256:sha256:{HEX * 4}",
    "sha256:" + "\N{ARABIC-INDIC DIGIT ONE}" * 64,
    "sha256:" + "\N{FULLWIDTH DIGIT ONE}" * 64,
    "sha256:" + "\N{MATHEMATICAL BOLD SMALL A}" * 64,
]


@pytest.mark.parametrize("text", GOOD)
def test_digest_of_a_known_algorithm_is_accepted(text: str) -> None:
    assert is_digest(text)
    assert parse_digest(text) == text


@pytest.mark.parametrize("text", BAD)
def test_anything_else_is_refused(text: str) -> None:
    assert not is_digest(text)
    with pytest.raises(DigestInvalid):
        parse_digest(text)


def test_refusal_shows_the_beginning_of_what_was_sent() -> None:
    with pytest.raises(DigestInvalid) as refusal:
        parse_digest("x" * 10_000)

    assert refusal.value.detail["digest"] == "x" * 200


def test_empty_content_has_the_digest_everybody_knows() -> None:
    assert digest_of(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@given(st.binary(max_size=100), st.sampled_from([SHA256, SHA512]))
def test_digest_of_content_is_that_of_the_standard_library(content: bytes, algorithm: str) -> None:
    digest = digest_of(content, SHA512 if algorithm == SHA512 else SHA256)

    assert digest == f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"
    assert (algorithm_of(digest), encoded_of(digest)) == tuple(digest.split(":"))


@given(st.text(st.sampled_from(string.hexdigits + ":sha256\n "), max_size=140))
def test_what_is_accepted_is_one_ascii_line_of_lower_case(text: str) -> None:
    if is_digest(text):
        assert text.isascii()
        assert text == text.lower().strip()
        assert len(text) in {71, 135}
