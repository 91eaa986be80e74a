"""`moorage name IMAGE`: how docker reads an image name, part by part."""

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Final

import typer

from moorage.oci.references import (
    DOCKER_HUB,
    Default,
    ImageReference,
    InvalidImageReference,
    parse_image_reference,
)

if TYPE_CHECKING:  # rich costs more than the whole command when the output is JSON
    from rich.console import Console
    from rich.text import Text

_REMARKS: Final[dict[Default, str]] = {
    "registry": "filled in: no registry was named, so Docker Hub",
    "namespace": "filled in: Docker Hub's official images",
    "tag": "filled in: neither tag nor digest was given",
}
_COLOURS: Final = {
    "registry": "cyan",
    "namespace": "blue",
    "image": "bold green",
    "tag": "magenta",
    "digest": "magenta",
}
_LABEL_WIDTH = 12
_PROSE_MIN_WIDTH, _PROSE_MAX_WIDTH = 24, 88
_PORT_MAX = 65535
_DOCKER_HUB_HOSTS = {DOCKER_HUB, "index.docker.io", "registry-1.docker.io"}

# port ::= ":" [0-9]+ at the end of a domain; an IPv6 address without a port ends with "]"
_port = re.compile(r":([0-9]+)\Z", re.ASCII)
_digits = re.compile(r"[0-9]+", re.ASCII)
_image_id = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


def name(
    image: Annotated[
        str,
        typer.Argument(metavar="IMAGE", help="An image name, as one gives it to docker.", show_default=False),
    ],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """Show how docker reads an image name: registry, namespace, image, tag or digest.

    Says what docker fills in by itself, and where it reads something else than a person would. For a text
    that is no image name it says which part is wrong and why, and exits with 1. No registry is asked.
    """
    try:
        reference = parse_image_reference(image)
    except InvalidImageReference as wrong:
        if as_json:
            _print_json({"valid": False, "input": image, "part": wrong.part, "reason": wrong.reason})
        else:
            _print_fault(image, wrong)
        raise typer.Exit(1) from None
    if as_json:
        _print_json(_facts(image, reference))
    else:
        _print_parts(image, reference)


def _facts(typed: str, reference: ImageReference) -> dict[str, object]:
    return {
        "valid": True,
        "input": typed,
        "reference": str(reference),
        "registry": reference.domain or None,
        "repository": reference.path,
        "namespace": reference.namespace,
        "image": reference.image,
        "tag": reference.tag,
        "digest": reference.digest,
        "pulled_by": "tag" if reference.digest is None else "digest",
        "defaults": sorted(reference.defaults),
        "warnings": list(_surprises(typed, reference)),
    }


def _print_json(facts: dict[str, object]) -> None:
    typer.echo(json.dumps(facts))


def _surprises(typed: str, reference: ImageReference) -> Iterator[str]:
    """Say, a sentence or two each, where docker's reading is not what a person might expect."""
    yield from _surprises_in_registry(typed, reference)
    if reference.digest is not None and reference.tag is not None:
        yield (
            f"Docker goes by the digest and drops the tag {reference.tag}: "
            "nothing checks that the tag names that digest."
        )
    if _image_id.fullmatch(typed):
        yield (
            'As a name this is an image called "sha256" with the digits as its tag; a digest stands after a '
            "name: NAME@sha256:DIGITS. Commands that also take an image's ID, as docker run does, read an ID."
        )


def _surprises_in_registry(typed: str, reference: ImageReference) -> Iterator[str]:
    first, slash, _ = typed.partition("/")
    if not slash and reference.tag is not None and (reference.image == "localhost" or "." in reference.image):
        yield from _surprises_in_lone_host(reference)
    elif slash and "registry" in reference.defaults:
        yield (
            f'This is on Docker Hub. "{first}" is not read as a host, having neither a dot nor a port; '
            f"for a host of that name add its port: {first}:5000/..."
        )
    elif not reference.domain:
        yield (
            f'"{first}" is no host name because of its "_", so docker sees no registry here at all, '
            "and cannot pull or push. Give the host a name without."
        )
    elif first == "index.docker.io":
        yield "index.docker.io is Docker Hub's old name; docker reads it as docker.io."
    elif reference.domain != DOCKER_HUB and first.partition(":")[0] in _DOCKER_HUB_HOSTS:
        yield (
            f"Docker takes {reference.domain} for a registry other than docker.io: "
            'another login, and no "library" filled in. Write docker.io, or nothing.'
        )
    elif first == "localhost":
        yield "Without a port docker tries 443 and then 80; a registry on port 5000 is localhost:5000/..."
    elif not set(".:").intersection(first) and first != first.lower():
        yield (
            f'"{first}" is read as the host of a registry because of its upper-case letter; '
            "a namespace on Docker Hub is all lower case."
        )
    port = _port.search(reference.domain)
    if port and not 0 < int(port[1]) <= _PORT_MAX:
        yield f"Docker takes port {port[1]} as it is, but nothing can answer there: ports end at {_PORT_MAX}."


def _surprises_in_lone_host(reference: ImageReference) -> Iterator[str]:
    if _digits.fullmatch(reference.tag or ""):
        host = f"{reference.image}:{reference.tag}"
        yield (
            f'This is an image called "{reference.image}" with the tag {reference.tag}, on Docker Hub. '
            f'Docker sees a registry only before a "/": {host}/NAME.'
        )
    else:
        yield (
            f'This is an image called "{reference.image}", on Docker Hub. '
            f'Docker sees a registry only before a "/": {reference.image}/NAME.'
        )


def _print_parts(typed: str, reference: ImageReference) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    console.print()
    _print_line(console, _in_full(reference))
    console.print()
    for row in _rows(reference):
        _print_line(console, row)
    for surprise in _surprises(typed, reference):
        console.print()
        _print_prose(console, "note", "yellow", surprise)
    console.print()


def _print_fault(typed: str, wrong: InvalidImageReference) -> None:
    """Point at the wrong part, as a compiler does, and say why."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False)
    console.print()
    # One column for each character, whatever is in the text, so that the pointer stays under its part.
    shown = "".join(
        character if character.isascii() and character.isprintable() else "?" for character in typed
    )
    if shown and len(shown) <= console.width - 2:
        line = Text(shown)
        line.stylize("bold red", wrong.start, wrong.end)
        _print_line(console, line)
        pointer = "^" * max(1, wrong.end - wrong.start)
        _print_line(console, Text(f"{' ' * wrong.start}{pointer} {wrong.part}", "red"))
        console.print()
    _print_prose(console, "error", "bold red", f"not an image name: {wrong.reason}")
    console.print()


def _in_full(reference: ImageReference) -> "Text":
    """Return the whole name, coloured as the rows below it are."""
    from rich.text import Text

    pieces = (
        ("registry", reference.domain, "/" if reference.domain else ""),
        ("namespace", reference.namespace or "", "/" if reference.namespace else ""),
        ("image", reference.image, ""),
        ("", ":" if reference.tag else "", ""),
        ("tag", reference.tag or "", ""),
        ("", "@" if reference.digest else "", ""),
        ("digest", reference.digest or "", ""),
    )
    line = Text()
    for part, value, after in pieces:
        line.append(value, _COLOURS.get(part, "dim"))
        line.append(after, "dim")
    return line


def _rows(reference: ImageReference) -> Iterator["Text"]:
    from rich.text import Text

    remarks: dict[str, str] = {part: _REMARKS[part] for part in reference.defaults}
    if reference.digest is not None:
        remarks["tag"] = "dropped: the digest decides"
    values = {
        "registry": reference.domain,
        "namespace": reference.namespace,
        "image": reference.image,
        "tag": reference.tag,
        "digest": reference.digest,
    }
    remarked_width = max((len(values[part] or "") for part in remarks), default=0)
    for part, value in values.items():
        if value is None and part in {"tag", "digest"}:
            continue
        row = Text().append(part.ljust(_LABEL_WIDTH), "dim")
        row.append(value or "(none)", _COLOURS[part] if value else "dim")
        if value and part in remarks:
            row.append(" " * (remarked_width - len(value) + 3))
            row.append(remarks[part], "dim italic")
        yield row


def _print_line(console: "Console", line: "Text") -> None:
    """Print `line` indented and whole: a name that is copied or piped must not be broken."""
    from rich.text import Text

    console.print(Text("  ").append_text(line), soft_wrap=True)


def _print_prose(console: "Console", label: str, style: str, sentence: str) -> None:
    """Print `sentence` after `label`: folded for a person, on one line for a pipe."""
    import textwrap

    from rich.text import Text

    width = max(_PROSE_MIN_WIDTH, min(console.width, _PROSE_MAX_WIDTH) - len(label) - 4)
    folded = textwrap.wrap(sentence, width, break_long_words=False, break_on_hyphens=False)
    lines = folded if console.is_terminal else [sentence]
    for number, line in enumerate(lines):
        before = f"{label}: " if number == 0 else " " * (len(label) + 2)
        _print_line(console, Text().append(before, style).append(line))
