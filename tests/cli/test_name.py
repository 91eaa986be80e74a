import json
import re
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from moorage.cli.name import name

HEX = "0123456789abcdef" * 4
UPPER_CASE = 'the repository "team/App" has an upper-case letter; docker requires lower case: team/app'

app = typer.Typer()
app.command()(name)


def run(*arguments: str) -> tuple[int, str, str]:
    """Run the command piped: exit code, standard output, standard error."""
    result = CliRunner().invoke(app, ["--", *arguments] if arguments[0] != "--json" else list(arguments))
    return result.exit_code, result.stdout, result.stderr


def words(image: str) -> dict[str, str]:
    """Run the command and return its rows: part -> what stands beside it, blanks folded."""
    code, out, err = run(image)
    assert (code, err) == (0, "")
    rows = (line.split(maxsplit=1) for line in out.splitlines() if line.strip())
    return {row[0]: " ".join(row[1].split()) for row in rows if len(row) == 2}


def notes(image: str) -> list[str]:
    code, out, _ = run("--json", "--", image)
    assert code == 0
    warnings = json.loads(out)["warnings"]
    assert isinstance(warnings, list)
    return warnings


def test_name_shows_its_four_parts() -> None:
    code, out, err = run("registry.local:5000/gallery/ui:v1")

    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "",
        "  registry.local:5000/gallery/ui:v1",
        "",
        "  registry    registry.local:5000",
        "  namespace   gallery",
        "  image       ui",
        "  tag         v1",
        "",
    ]


def test_parts_that_were_filled_in_say_so() -> None:
    rows = words("ubuntu")

    assert rows["registry"].startswith("docker.io filled in")
    assert rows["namespace"].startswith("library filled in")
    assert rows["image"] == "ubuntu"
    assert rows["tag"].startswith("latest filled in")


def test_missing_namespace_is_shown_as_none() -> None:
    assert words("registry.local:5000/ui:v1")["namespace"] == "(none)"


def test_deep_path_is_namespace_and_image() -> None:
    rows = words("registry.local:5000/a/b/ui:v1")

    assert (rows["namespace"], rows["image"]) == ("a/b", "ui")


def test_dropped_tag_is_marked_beside_its_digest() -> None:
    rows = words(f"localhost:5000/ui:v1@sha256:{HEX}")

    assert rows["tag"] == "v1 dropped: the digest decides"
    assert rows["digest"] == f"sha256:{HEX}"


def test_digest_alone_has_no_row_for_a_tag() -> None:
    assert "tag" not in words(f"localhost:5000/ui@sha256:{HEX}")


def test_brackets_of_an_ipv6_address_are_no_markup() -> None:
    assert words("[::1]:5000/ui:v1")["registry"] == "[::1]:5000"


@pytest.mark.parametrize(
    ("image", "warning"),
    [
        ("localhost:5000", 'called "localhost" with the tag 5000'),
        ("example.com:5000", "example.com:5000/NAME"),
        ("localhost", 'called "localhost"'),
        ("foo.bar", "foo.bar/NAME"),
        ("registry/foo", '"registry" is not read as a host'),
        ("Foo/bar", "upper-case letter"),
        ("LOCALHOST/foo", "upper-case letter"),
        ("ex_ample.com/foo", "no registry here at all"),
        ("index.docker.io/ubuntu", "reads it as docker.io"),
        ("registry-1.docker.io/ubuntu", "other than docker.io"),
        ("docker.io:443/ubuntu", "other than docker.io"),
        ("localhost/foo", "localhost:5000/..."),
        ("example.com:99999/foo", "port 99999"),
        ("example.com:0/foo", "port 0"),
        ("[::1]:99999/foo", "port 99999"),
        (f"localhost:5000/foo:v1@sha256:{HEX}", "drops the tag v1"),
        (f"sha256:{HEX}", 'called "sha256"'),
    ],
)
def test_reading_that_surprises_is_explained(image: str, warning: str) -> None:
    assert [note for note in notes(image) if warning in note] == notes(image)
    assert len(notes(image)) == 1
    assert warning in " ".join(run(image)[1].split())


@pytest.mark.parametrize(
    "image",
    [
        "ubuntu",
        "ubuntu:22.04",
        "docker.io/library/ubuntu:22.04",
        "docker.io/team/app",
        "ghcr.io/team/app:1",
        "localhost:5000/foo",
        "registry.local:5000/gallery/ui:v1",
        "[::1]/foo",
        "UPPER.io/foo",
        f"ubuntu@sha256:{HEX}",
    ],
)
def test_reading_that_surprises_nobody_is_left_alone(image: str) -> None:
    assert notes(image) == []


def test_wrong_part_is_pointed_at_and_explained_on_standard_error() -> None:
    code, out, err = run("registry.local:5000/team/App:v1")

    assert (code, out) == (1, "")
    assert err.splitlines() == [
        "",
        "  registry.local:5000/team/App:v1",
        "                      ^^^^^^^^ repository",
        "",
        f"  error: not an image name: {UPPER_CASE}",
        "",
    ]


def test_missing_tag_is_pointed_at_where_it_should_be() -> None:
    assert "  foo:\n      ^ tag\n" in run("foo:")[2]


def test_empty_name_is_explained() -> None:
    code, _, err = run("")

    assert code == 1
    assert "there is no image name" in err


def test_name_too_long_to_show_is_explained_in_one_line() -> None:
    code, _, err = run("a" * 5000)

    assert code == 1
    assert (
        err == "\n  error: not an image name: it is 5000 characters long; at most 1024 can name an image\n\n"
    )


@pytest.mark.parametrize("image", ["foo\x1b[31m", "foo\n\rbar", "foo\N{RIGHT-TO-LEFT OVERRIDE}", "foo\udcff"])
def test_what_a_terminal_would_obey_is_shown_escaped(image: str) -> None:
    code, _, err = run(image)

    assert code == 1
    assert all(line.isascii() and line.isprintable() for line in err.splitlines())
    assert len(err.splitlines()) == 6


def test_json_has_every_fact() -> None:
    code, out, err = run("--json", "ubuntu")

    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "valid": True,
        "input": "ubuntu",
        "reference": "docker.io/library/ubuntu:latest",
        "registry": "docker.io",
        "repository": "library/ubuntu",
        "namespace": "library",
        "image": "ubuntu",
        "tag": "latest",
        "digest": None,
        "pulled_by": "tag",
        "defaults": ["namespace", "registry", "tag"],
        "warnings": [],
    }


def test_json_says_what_a_pull_goes_by() -> None:
    facts = json.loads(run("--json", f"localhost:5000/ui:v1@sha256:{HEX}")[1])

    assert facts["pulled_by"] == "digest"
    assert (facts["tag"], facts["digest"]) == ("v1", f"sha256:{HEX}")


def test_json_of_a_wrong_name_has_part_and_reason() -> None:
    code, out, err = run("--json", "localhost:5000/team/App")

    assert (code, err) == (1, "")
    assert json.loads(out) == {
        "valid": False,
        "input": "localhost:5000/team/App",
        "part": "repository",
        "reason": UPPER_CASE,
    }


def on_a_terminal(image: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": str(columns)}
    return CliRunner().invoke(app, [image], env=terminal).output


@pytest.mark.parametrize("image", ["localhost:5000", "Foo"])
def test_terminal_gets_colour_and_a_pipe_does_not(image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[" in on_a_terminal(image, 80, monkeypatch)
    assert "\x1b[" not in CliRunner().invoke(app, [image], env={"FORCE_COLOR": None}).output


@pytest.mark.parametrize("image", ["localhost:5000", "registry.local:5000/Foo"])
def test_prose_is_folded_to_the_terminal(image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = re.sub(r"\x1b\[[0-9;]*m", "", on_a_terminal(image, 80, monkeypatch))

    assert max(len(line) for line in plain.splitlines()) <= 80
    assert " ".join(plain.split()) == " ".join(CliRunner().invoke(app, [image]).output.split())


def test_narrowest_terminal_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "localhost" in on_a_terminal("localhost:5000", 1, monkeypatch)
    assert "Foo" in on_a_terminal("Foo", 1, monkeypatch)


def test_rich_is_not_loaded_before_there_is_something_to_print() -> None:
    script = "import sys, moorage.cli.name; print([name for name in sys.modules if name.startswith('rich')])"

    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert loaded.stdout == "[]\n"
