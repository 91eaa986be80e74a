"""Image references, read exactly as docker reads them: `[registry/]path[:tag][@digest]`.

What a person types is shorthand, and docker fills it in before it asks anybody:

    ubuntu                               docker.io / library/ubuntu : latest
    registry.local:5000/gallery/ui:v1    registry.local:5000 / gallery/ui : v1

The rules that surprise people, all of them docker's:

- What stands before the first "/" is a registry only if it is `localhost` or has a ".", a ":" or an
  upper-case letter. So `registry/foo` is on Docker Hub, and `Foo/bar` is `bar` on a host called Foo.
- Without a "/" there is no registry. So `localhost:5000` is the image `localhost` with the *tag* 5000, on
  Docker Hub.
- Only `docker.io` gets `library/`; `registry-1.docker.io/ubuntu` and `docker.io:443/ubuntu` do not.
- With a tag *and* a digest, docker goes by the digest and drops the tag unread:
  `ImageReference.tag_or_digest`.

Source: distribution/reference v0.6.0, `ParseNormalizedNamed` then `TagNameOnly`; go-digest v1.0.0.
The answers are theirs, but for one thing: they set no limit on a registry's length, and here the whole text
has one, REFERENCE_MAX_LENGTH.
"""

import re
from dataclasses import dataclass, field
from typing import Final, Literal

from moorage.oci.names import NAME_MAX_LENGTH, TAG_MAX_LENGTH, is_component, is_tag

REFERENCE_MAX_LENGTH: Final = 1024
"""Characters in a reference. The longest of all parts, a host name's 253 included, come to fewer than 800."""

DOCKER_HUB: Final = "docker.io"
"""The registry docker takes when none is named. Its API answers at registry-1.docker.io."""

OFFICIAL_NAMESPACE: Final = "library"
"""Docker Hub's namespace for official images."""

DEFAULT_TAG: Final = "latest"
"""The tag docker takes when neither tag nor digest is given."""

_LEGACY_DOCKER_HUB = "index.docker.io"

Part = Literal["registry", "repository", "tag", "digest", "reference"]
"""The part of a reference that is wrong; `reference` when no single part is."""

Default = Literal["registry", "namespace", "tag"]
"""A part that docker fills in."""

# domain ::= host (":" [0-9]+)?
# host   ::= label ("." label)* | "[" [a-fA-F0-9:]+ "]"
# label  ::= alnum ((alnum | "-")* alnum)?
# alnum  ::= [a-zA-Z0-9]
# No "_" in a host, though DNS may have it. A port is not checked further, nor is an IPv6 address, which
# stands in brackets and has no zone ("%eth0").
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_domain = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?", re.ASCII)

# digest ::= "sha256:" hex{64} | "sha384:" hex{96} | "sha512:" hex{128}
# hex    ::= [0-9a-f]
# Docker's grammar of a reference takes more, and go-digest then refuses it. A registry need not have sha384.
_digest = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}", re.ASCII)
_HEX_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}

# identifier ::= hex{64}
# The ID of an image on this machine. Docker never reads it as a name.
_identifier = re.compile(r"[0-9a-f]{64}", re.ASCII)

# For messages only.
_not_in_path = re.compile(r"[^a-z0-9._/-]", re.ASCII)
_not_in_tag = re.compile(r"[^a-zA-Z0-9_.-]", re.ASCII)
_not_in_host = re.compile(r"[^a-zA-Z0-9.-]", re.ASCII)
_not_hex = re.compile(r"[^0-9a-f]", re.ASCII)
_upper_case = re.compile(r"[A-Z]", re.ASCII)
_separators = re.compile(r"[._-]+", re.ASCII)
_ipv6_like = re.compile(r"[0-9a-fA-F]*:[0-9a-fA-F]*:[0-9a-fA-F:.]*", re.ASCII)
_EXCERPT_MAX_LENGTH = 80
_WORDS = {" ": "a space", "\t": "a tab", "\n": "a line break", "\r": "a line break"}


class InvalidImageReference(ValueError):
    """A text that docker does not take for an image's name.

    `part` is the part that is wrong, `reason` says why and what to do, in one line that is safe to print.
    `start` and `end` are where that part stands in the text, as in `text[start:end]`; it may be empty.
    """

    def __init__(self, part: Part, reason: str, start: int, end: int) -> None:
        super().__init__(part, reason, start, end)
        self.part: Part = part
        self.reason = reason
        self.start = start
        self.end = end

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True, slots=True)
class ImageReference:
    """An image's name with everything filled in. Equal if they name the same, however each was typed."""

    domain: str
    """The registry, `host[:port]`, case kept; `docker.io` for Docker Hub.

    Empty for one oddity: a first part such as `ex_ample.com` calls for a registry but is no host name. Docker
    then reads it as the start of the path, and has nobody to ask.
    """

    path: str
    """The repository in that registry, at most 255 characters, `library/` included."""

    tag: str | None
    """The tag, as typed or filled in. None only if there is a digest."""

    digest: str | None
    """`algorithm:hex`, or None."""

    defaults: frozenset[Default] = field(default=frozenset(), compare=False)
    """What docker filled in: the text did not say it."""

    def __str__(self) -> str:
        """Write it in full, so that it is read back as it stands."""
        tag = f":{self.tag}" if self.tag is not None else ""
        digest = f"@{self.digest}" if self.digest is not None else ""
        domain = f"{self.domain}/" if self.domain else ""
        return f"{domain}{self.path}{tag}{digest}"

    @property
    def namespace(self) -> str | None:
        """All of the path but its last component, or None."""
        return self.path.rpartition("/")[0] or None

    @property
    def image(self) -> str:
        """The last component of the path."""
        return self.path.rpartition("/")[2]

    @property
    def tag_or_digest(self) -> str:
        """What docker asks the registry for: the digest if there is one, else the tag.

        With both, the tag is dropped and nobody checks that it names that digest.
        Source: distribution/reference v0.6.0, `ParseDockerRef`.
        """
        return self.digest or self.tag or DEFAULT_TAG


def parse_image_reference(text: str) -> ImageReference:
    """Read `text` as docker does, defaults filled in.

    Raises InvalidImageReference, and nothing else, whatever the text.
    Source: distribution/reference v0.6.0, `ParseNormalizedNamed` and `TagNameOnly`.
    """
    _refuse("reference", _fault_in_whole(text), 0, text)

    registry, rest = _split_registry(text)
    name, at, digest = rest.partition("@")
    path, colon, tag = name.partition(":")

    if registry is not None:
        _refuse("registry", _fault_in_registry(registry), 0, registry)
    path_start = len(text) - len(rest)
    _refuse("repository", _fault_in_path(path), path_start, path)
    if colon:
        _refuse("tag", _fault_in_tag(tag), path_start + len(path) + 1, tag)
    if at:
        _refuse("digest", _fault_in_digest(digest), path_start + len(name) + 1, digest)

    domain, full_path, defaults = _fill_in(registry, path)
    _refuse("repository", _fault_in_length(full_path), path_start, path)
    if not colon and not at:
        return ImageReference(domain, full_path, DEFAULT_TAG, None, defaults | {"tag"})
    return ImageReference(domain, full_path, tag if colon else None, digest if at else None, defaults)


def _split_registry(text: str) -> tuple[str | None, str]:
    """Divide `text` at the first "/" if what stands before it calls for a registry."""
    first, slash, rest = text.partition("/")
    if slash and (first == "localhost" or "." in first or ":" in first or first != first.lower()):
        return first, rest
    return None, text


def _fill_in(registry: str | None, path: str) -> tuple[str, str, frozenset[Default]]:
    """Return the domain and path docker uses, and what it added. Both arguments are well-formed."""
    if registry is not None and not _domain.fullmatch(registry):
        return "", f"{registry}/{path}", frozenset()
    defaults: frozenset[Default] = frozenset()
    if registry is None:
        registry, defaults = DOCKER_HUB, frozenset({"registry"})
    elif registry == _LEGACY_DOCKER_HUB:
        registry = DOCKER_HUB
    if registry == DOCKER_HUB and "/" not in path:
        return registry, f"{OFFICIAL_NAMESPACE}/{path}", defaults | {"namespace"}
    return registry, path, defaults


def _refuse(part: Part, fault: str | None, start: int, value: str) -> None:
    if fault is not None:
        raise InvalidImageReference(part, fault, start, start + len(value))


def _fault_in_whole(text: str) -> str | None:
    if not text:
        return "there is no image name; write NAME, NAME:TAG or REGISTRY/NAME:TAG"
    if len(text) > REFERENCE_MAX_LENGTH:
        return f"it is {len(text)} characters long; at most {REFERENCE_MAX_LENGTH} can name an image"
    if _identifier.fullmatch(text):
        return "64 hexadecimal digits are an image's ID, not its name; for a digest write NAME@sha256:DIGITS"
    return None


def _fault_in_registry(registry: str) -> str | None:
    # The second is the oddity told at `ImageReference.domain`.
    if _domain.fullmatch(registry) or is_component(registry):
        return None
    if registry in {"http:", "https:", "docker:"}:
        return f"an image name does not begin with {_quote(registry + '//')}; write it without"
    if "@" in registry:
        return 'it has an "@"; leave a user name out (docker login takes it), and put a digest last'
    said = f"the registry {_quote(registry)}"
    host, colon, port = registry.rpartition(":")
    if "%" in registry:
        return f"{said} has an IPv6 zone, which docker does not take; give the host a name and use that"
    if _ipv6_like.fullmatch(registry):
        return f"{said} looks like an IPv6 address; write it in brackets: [{_excerpt(registry)}]"
    if registry.startswith("["):
        return f"{said} is not an IPv6 address in brackets with perhaps a port, as in [::1]:5000"
    if colon and not port:
        return f'{said} ends with ":" but has no port; add the port or drop the ":"'
    if colon and not re.fullmatch(r"[0-9]+", port):
        return f"{said} has the port {_quote(port)}, which is not a number; a tag goes last, after the name"
    return f"{said} {_fault_in_host(host if colon else registry)}"


def _fault_in_host(host: str) -> str:
    """Finish the sentence for a host that is no host."""
    if not host:
        return "has a port but no host; write the host before it"
    if other := _not_in_host.search(host):
        return f'has {_name(other[0])}; a host has only letters, digits, "-" and "."'
    if "" in host.split("."):
        return 'begins or ends with "." or has two in a row; a host name has one "." between words'
    return 'has a word that begins or ends with "-"; a host name has "-" only inside a word'


def _fault_in_path(path: str) -> str | None:
    if all(is_component(component) for component in path.split("/")):
        return None
    if not path:
        return "the image name is missing; write it before the tag or digest, as in REGISTRY/NAME:TAG"
    said = f"the repository {_quote(path)}"
    if _upper_case.search(path):
        return f"{said} has an upper-case letter; docker requires lower case: {_excerpt(path.lower())}"
    if other := _not_in_path.search(path):
        return f'{said} has {_name(other[0])}; it has only a-z, 0-9, ".", "_", "-" and "/"'
    if path.startswith("/"):
        return f'{said} begins with "/"; drop it, or put the registry before it'
    if path.endswith("/"):
        return f'{said} ends with "/"; drop it, or add the image name'
    if "//" in path:
        return f'{said} has "//"; one "/" stands between two parts'
    wrong = next((component for component in path.split("/") if not is_component(component)), path)
    if len(wrong) > NAME_MAX_LENGTH:
        return _fault_in_length(path)
    return f"{said} {_fault_in_separators(wrong)}"


def _fault_in_separators(component: str) -> str:
    """Finish the sentence for a component of allowed characters that is no component."""
    for end, where in ((component[0], "begins"), (component[-1], "ends")):
        if end in "._-":
            part = _quote(component)
            return f"has the part {part}, which {where} with {_quote(end)}; use a letter or digit there"
    runs = (run[0] for run in _separators.finditer(component))
    wrong = next((run for run in runs if not is_component(f"a{run}a")), "")
    return (
        f'has {_quote(wrong)}; between letters or digits stands one ".", one or two "_", or any number of "-"'
    )


def _fault_in_length(path: str) -> str | None:
    if len(path) <= NAME_MAX_LENGTH:
        return None
    added = f' with "{OFFICIAL_NAMESPACE}/"' if path.startswith(f"{OFFICIAL_NAMESPACE}/") else ""
    return f"the repository is {len(path)} characters long{added}; at most {NAME_MAX_LENGTH} are allowed"


def _fault_in_tag(tag: str) -> str | None:
    if is_tag(tag):
        return None
    if not tag:
        return 'there is a ":" but no tag after it; add the tag or drop the ":"'
    said = f"the tag {_quote(tag)}"
    if ":" in tag:
        return f'{said} has a ":"; a registry with a port is HOST:PORT/NAME:TAG'
    if "/" in tag:
        return f'{said} has a "/"; the tag goes last, after the whole name'
    if other := _not_in_tag.search(tag):
        hint = f'; helm writes "_" for it: {_excerpt(tag.replace("+", "_"))}' if other[0] == "+" else ""
        return f'{said} has {_name(other[0])}; it has only letters, digits, "_", "." and "-"{hint}'
    if len(tag) > TAG_MAX_LENGTH:
        return f"the tag is {len(tag)} characters long; at most {TAG_MAX_LENGTH} are allowed"
    return f'{said} begins with {_quote(tag[0])}; begin it with a letter, a digit or "_"'


def _fault_in_digest(digest: str) -> str | None:
    if _digest.fullmatch(digest):
        return None
    if not digest:
        return 'there is an "@" but no digest after it; add sha256:DIGITS or drop the "@"'
    said = f"the digest {_quote(digest)}"
    algorithm, colon, encoded = digest.partition(":")
    if not colon:
        return f"{said} does not name its algorithm; write it as sha256:DIGITS"
    if ":" in encoded:
        return f"{said} is followed by another part; the digest goes last, a tag before it: NAME:TAG@DIGEST"
    expected = _HEX_LENGTHS.get(algorithm)
    if expected is None:
        known = ", ".join(_HEX_LENGTHS)
        return f"{said} has the algorithm {_quote(algorithm)}; docker knows {known}, in lower case"
    if _upper_case.search(encoded):
        return f"{said} has an upper-case letter; write its digits in lower case"
    if other := _not_hex.search(encoded):
        return f"{said} has {_name(other[0])}; it has only 0-9 and a-f"
    return f"{said} has {len(encoded)} digits; {algorithm} has {expected}"


def _name(character: str) -> str:
    return _WORDS.get(character, _quote(character))


def _quote(text: str) -> str:
    return f'"{_excerpt(text)}"'


def _excerpt(text: str) -> str:
    """Shorten `text` to one line that does nothing to a terminal."""
    shown = text if len(text) <= _EXCERPT_MAX_LENGTH else f"{text[:_EXCERPT_MAX_LENGTH]}..."
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown)
