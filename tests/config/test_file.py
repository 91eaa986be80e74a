"""Settings from a file, the environment and the command line; and what an operator is told of them."""

import json
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from moorage.cli.main import app
from moorage.config import Described, Settings, describe
from moorage.config_file import SettingsRefused, default_path, load
from moorage.setting import GIB, KIB, MIB, Bytes

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "moorage.toml"


def problems(path: Path, text: str, environment: dict[str, str] | None = None) -> list[str]:
    """What is wrong with a file and an environment, the file's folder left out."""
    path.write_text(text)
    with pytest.raises(SettingsRefused) as refusal:
        load(path, environment or {})
    return [problem.replace(f"{path.parent}/", "") for problem in refusal.value.problems]


def test_without_file_and_environment_all_is_default() -> None:
    assert load(None, {}) == Settings()


def test_empty_file_is_default(path: Path) -> None:
    path.write_text("")

    assert load(path, {}) == Settings()


def test_file_beats_the_default(path: Path) -> None:
    path.write_text('[uploads]\nexpiry = "1h"\n')

    assert load(path, {}).uploads.expiry == timedelta(hours=1)


def test_environment_beats_the_file(path: Path) -> None:
    path.write_text('[uploads]\nexpiry = "1h"\nmax_open = 5\n')

    uploads = load(path, {"MOORAGE_UPLOADS_EXPIRY": "2h"}).uploads

    assert (uploads.expiry, uploads.max_open) == (timedelta(hours=2), 5)


def test_command_line_beats_the_environment() -> None:
    environment = {"MOORAGE_SERVER_LISTEN": "127.0.0.1:1"}

    settings = load(None, environment, {("server", "listen"): "127.0.0.1:2"})

    assert settings.server.listen == "127.0.0.1:2"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"1500ms"', timedelta(milliseconds=1500)),
        ('"90s"', timedelta(seconds=90)),
        ('"1.5h"', timedelta(minutes=90)),
        ('"7d"', timedelta(days=7)),
    ],
)
def test_duration_is_read_with_its_unit(path: Path, text: str, value: timedelta) -> None:
    path.write_text(f"[limits]\nbody_idle = {text}\n")

    assert load(path, {}).limits.body_idle == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("1024", KIB), ('"1024"', KIB), ('"2KiB"', 2 * KIB), ('"3MiB"', 3 * MIB), ('"1GiB"', GIB), ('"7B"', 7)],
)
def test_size_is_read_with_its_unit(path: Path, text: str, value: int) -> None:
    path.write_text(f"[storage]\nreserve = {text}\n")

    assert load(path, {}).storage.reserve == value


@pytest.mark.parametrize("word", ["true", "True", "1", "yes"])
def test_switch_is_turned_on_by_the_environment(word: str) -> None:
    assert load(None, {"MOORAGE_LOG_REQUESTS": word}).log.requests


@pytest.mark.parametrize("word", ["false", "0", "no", "NO"])
def test_switch_is_turned_off_by_the_environment(word: str) -> None:
    assert not load(None, {"MOORAGE_DELETE_ENABLED": word}).delete.enabled


def test_unknown_key_is_named_with_file_line_and_nearest(path: Path) -> None:
    """F50."""
    found = problems(path, '# limits\n\n[uploads]\nmax_open = 5\nexpirey = "1h"\n')

    assert found == ["moorage.toml:5: no setting uploads.expirey; did you mean expiry?"]


def test_unknown_section_is_named_with_file_line_and_nearest(path: Path) -> None:
    found = problems(path, '[log]\nlevel = "info"\n\n[upload]\nexpiry = "1h"\n')

    assert found == ["moorage.toml:4: no section [upload]; did you mean uploads?"]


def test_key_with_no_near_one_is_named_with_all_there_are(path: Path) -> None:
    (found,) = problems(path, "[delete]\nqqqq = 1\n")

    assert found == "moorage.toml:2: no setting delete.qqqq; there are enabled, needed, grace, delay"


def test_unknown_variable_is_named_with_the_nearest() -> None:
    with pytest.raises(SettingsRefused) as refusal:
        load(None, {"MOORAGE_UPLOAD_EXPIRY": "1h"})

    assert refusal.value.problems == [
        "MOORAGE_UPLOAD_EXPIRY: no such setting; did you mean MOORAGE_UPLOADS_EXPIRY?"
    ]


def test_variable_of_others_is_no_setting() -> None:
    environment = {"PATH": "/bin", "MOORAGE_CONFIG": "x", "MOORAGE": "y", "moorage_uploads_expiry": "z"}

    assert load(None, environment) == Settings()


def test_key_of_the_same_name_in_another_section_is_not_taken_for_it(path: Path) -> None:
    found = problems(path, '[manifests]\nmax_bytes = "1MiB"\n[uploads]\nmax_bytes = "no"\n')

    assert found[0].startswith("moorage.toml:4: uploads.max_bytes: ")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('log.level = "info"\n\nuploads.expirey = "1h"\n', id="dotted"),
        pytest.param('\n\nuploads = { expirey = "1h" }\n', id="inline"),
        pytest.param('[log]\n[ "uploads" ]\n"expirey" = "1h"\n', id="quoted"),
    ],
)
def test_unknown_key_is_found_however_it_is_written(path: Path, text: str) -> None:
    assert problems(path, text)[0].startswith("moorage.toml:3: no setting uploads.expirey")


def test_all_problems_are_told_at_once(path: Path) -> None:
    text = '[uploads]\nmax_open = 0\nexpiry = "soon"\n[server]\nlisten = "nowhere"\n[nonsense]\nx = 1\n'

    found = problems(path, text, {"MOORAGE_LOG_LEVEL": "loud", "MOORAGE_NONSENSE": "1"})

    places = sorted(problem.partition(": ")[0] for problem in found)
    assert places == [
        "MOORAGE_LOG_LEVEL",
        "MOORAGE_NONSENSE",
        "moorage.toml:2",
        "moorage.toml:3",
        "moorage.toml:5",
        "moorage.toml:6",
    ]


BAD = [
    ("server", "workers", "true"),
    ("server", "workers", "1.0"),
    ("server", "workers", "-1"),
    ("server", "workers", "257"),
    ("server", "workers", '"1_0"'),
    ("server", "workers", '"\u0661"'),
    ("server", "workers", '" 1"'),
    ("server", "workers", '"1\\n"'),
    ("server", "listen", "5000"),
    ("server", "listen", '"5000"'),
    ("server", "listen", '":5000"'),
    ("server", "listen", '"127.0.0.1:"'),
    ("server", "listen", '"127.0.0.1:65536"'),
    ("server", "listen", '"127.0.0.1:-1"'),
    ("server", "listen", '"127.0.0.1:\u0665\u0660\u0660\u0660"'),
    ("server", "drain", '"0s"'),
    ("server", "drain", "30"),
    ("server", "drain", '"30"'),
    ("server", "drain", '"30 s"'),
    ("server", "drain", '"-30s"'),
    ("server", "drain", '"1e3s"'),
    ("server", "drain", '"\u0663s"'),
    ("server", "drain", '"99999999999999d"'),
    ("storage", "reserve", '"1GB"'),
    ("storage", "reserve", '"1 GiB"'),
    ("storage", "reserve", '"-1"'),
    ("storage", "reserve", "-1"),
    ("storage", "reserve", "true"),
    ("storage", "reserve", "1.5"),
    ("storage", "reserve", '"1_000"'),
    ("storage", "reserve", '"\u0661MiB"'),
    ("storage", "reserve", f'"{"9" * 5000}"'),
    ("storage", "data", "1"),
    ("storage", "data", "[]"),
    ("uploads", "expiry", '"0s"'),
    ("uploads", "max_open", "0"),
    ("uploads", "max_bytes", "0"),
    ("manifests", "max_bytes", '"100MiB"'),
    ("manifests", "max_bytes", "1"),
    ("delete", "enabled", '"maybe"'),
    ("delete", "enabled", "2"),
    ("limits", "header_timeout", '"61s"'),
    ("limits", "body_idle", '"1ms"'),
    ("limits", "reader_idle", "{}"),
    ("limits", "connections", "0"),
    ("log", "level", '"loud"'),
    ("log", "format", '"xml"'),
    ("log", "requests", '"2"'),
]


@pytest.mark.parametrize(("section", "key", "value"), BAD)
def test_value_that_cannot_be_used_is_named_with_file_line_and_key(
    path: Path, section: str, key: str, value: str
) -> None:
    (found,) = problems(path, f"[{section}]\n{key} = {value}\n")

    assert found.startswith(f"moorage.toml:2: {section}.{key}: ")


@pytest.mark.parametrize("text", ["[uploads", "uploads = = 1", "[uploads]\n[uploads]\n", "x = 1979-13-01"])
def test_file_that_is_no_toml_is_refused_with_its_name(path: Path, text: str) -> None:
    assert problems(path, text)[0].startswith("moorage.toml: not TOML: ")


def test_file_that_is_no_text_is_refused_with_its_name(path: Path) -> None:
    path.write_bytes(b"\xff\xfe")

    with pytest.raises(SettingsRefused, match="not TOML"):
        load(path, {})


def test_file_that_is_not_there_is_refused_with_its_name(path: Path) -> None:
    with pytest.raises(SettingsRefused) as refusal:
        load(path, {})

    assert refusal.value.problems == [f"{path}: No such file or directory"]


def test_section_that_is_no_table_is_refused(path: Path) -> None:
    assert problems(path, "uploads = 5\n")[0].startswith("moorage.toml:1: ")


def test_file_is_found_by_its_variable(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setenv("MOORAGE_CONFIG", str(path))

    assert default_path() == path


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for each in describe():
        monkeypatch.delenv(each.variable, raising=False)
    monkeypatch.delenv("MOORAGE_CONFIG", raising=False)


def test_command_that_checks_settings_says_all_that_is_wrong(path: Path) -> None:
    path.write_text('[uploads]\nexpirey = "1h"\n[log]\nlevel = "loud"\n')

    result = CliRunner().invoke(app, ["config", "check", "--config", str(path)])

    assert result.exit_code == 1
    assert re.findall(r":(\d): ", result.stderr) == ["2", "4"]


def test_command_that_checks_good_settings_ends_well(path: Path) -> None:
    path.write_text("")

    assert CliRunner().invoke(app, ["config", "check", "--config", str(path)]).exit_code == 0


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        replace(Settings(), uploads=replace(Settings().uploads, max_bytes=Bytes(5 * GIB))),
        replace(Settings(), server=replace(Settings().server, drain=timedelta(milliseconds=1500))),
        replace(Settings(), storage=replace(Settings().storage, data=Path('/srv/a "b" \\c'))),
    ],
    ids=["default", "a limit", "a part of a second", "an odd path"],
)
def test_settings_that_are_shown_can_be_read_again(path: Path, settings: Settings) -> None:
    given = path.with_name("given.toml")
    given.write_text(
        f"[uploads]\nmax_bytes = {settings.uploads.max_bytes}\n" if settings.uploads.max_bytes else ""
    )
    environment = {
        "MOORAGE_SERVER_DRAIN": f"{int(settings.server.drain.total_seconds() * 1000)}ms",
        "MOORAGE_STORAGE_DATA": str(settings.storage.data),
    }

    shown = CliRunner().invoke(app, ["config", "show", "--config", str(given)], env=environment)
    path.write_text(shown.stdout)

    assert load(path, {}) == settings


@pytest.mark.skipif(not DOCUMENT.exists(), reason="docs/configuration.md is not written yet")
@pytest.mark.parametrize("setting", describe(), ids=lambda each: each.variable)
def test_document_explains_every_setting(setting: Described) -> None:
    text = DOCUMENT.read_text("utf-8")

    assert (setting.key in text, setting.variable in text) == (True, True)


def test_command_that_explains_settings_explains_each() -> None:
    shown = CliRunner().invoke(app, ["config", "schema"]).stdout

    assert [each.variable for each in describe() if each.variable not in shown] == []


TRUST = """
[[oidc.trusts]]
name = "ci"
issuer = "https://issuer.example"
audience = "https://registry.example"
claims = { ref = "refs/heads/main" }
grants = ["push team/*", "pull library/*"]
"""


def test_tables_become_values(path: Path) -> None:
    path.write_text(TRUST + TRUST.replace('"ci"', '"cd"') + 'life = "5m"\n')

    first, second = load(path, {}).oidc.trusts

    assert (first.name, second.name) == ("ci", "cd")
    assert (first.life, second.life) == (timedelta(hours=1), timedelta(minutes=5))
    assert first.claims == {"ref": "refs/heads/main"}
    assert first.grants == ("push team/*", "pull library/*")


def test_tables_in_the_environment_are_json() -> None:
    trust = {
        "name": "ci",
        "issuer": "https://issuer.example",
        "audience": "a",
        "claims": {"ref": "x"},
        "grants": ["pull *"],
    }

    assert load(None, {"MOORAGE_OIDC_TRUSTS": json.dumps([trust])}).oidc.trusts[0].claims == {"ref": "x"}
    with pytest.raises(SettingsRefused, match=r"MOORAGE_OIDC_TRUSTS: oidc.trusts: want a list of tables"):
        load(None, {"MOORAGE_OIDC_TRUSTS": "ci"})


@pytest.mark.parametrize(
    ("key", "changed", "problem"),
    [
        ("audience", 'audiense = "a"', "no setting oidc.trusts.audiense; did you mean audience?"),
        ("audience", "audience = 1", "oidc.trusts.audience: want a text in quotes; this is 1"),
        ("audience", 'audience = ""', "oidc.trusts.audience: cannot be empty"),
        ("issuer", 'issuer = "issuer.example"', "oidc.trusts.issuer: want a URL"),
        ("issuer", 'issuer = "http://issuer.example"', "oidc.trusts.issuer: want https"),
        ("issuer", 'issuer = "https://issuer.example?x"', "oidc.trusts.issuer: want a URL"),
        ("name", 'name = "CI"', "oidc.trusts.name: want the name of an account"),
        ("name", 'name = "operator"', "oidc.trusts.name: operator has a meaning of its own"),
        ("claims", "claims = {}", "oidc.trusts.claims: want at least one"),
        ("claims", 'claims = { sub = "*" }', "oidc.trusts.claims: want at least one"),
        ("claims", "claims = { sub = 1 }", "oidc.trusts.claims: want texts by name"),
        ("grants", 'grants = ["push"]', "oidc.trusts.grants: want an action and a pattern"),
        ("grants", 'grants = ["admin *"]', "oidc.trusts.grants: want an action and a pattern"),
        ("grants", "grants = []", "oidc.trusts.grants: want at least one"),
        ("life", 'life = "2d"', "oidc.trusts.life: want 1m to 1d"),
    ],
)
def test_problem_in_a_table_is_told_with_its_line(path: Path, key: str, changed: str, problem: str) -> None:
    second = TRUST.replace('"ci"', '"cd"') + 'life = "1h"\n'
    text = TRUST + re.sub(rf"^{key} = .*", changed, second, flags=re.MULTILINE)
    line = text.splitlines().index(changed) + 1

    assert problems(path, text)[0].startswith(f"moorage.toml:{line}: {problem}")


def test_key_that_a_table_must_have_is_asked_for(path: Path) -> None:
    assert problems(path, '[[oidc.trusts]]\nname = "ci"\n')[:2] == [
        "moorage.toml:1: oidc.trusts.issuer: is missing",
        "moorage.toml:1: oidc.trusts.audience: is missing",
    ]


def test_two_tables_of_one_name_are_told(path: Path) -> None:
    assert problems(path, TRUST + TRUST) == [
        "moorage.toml:2: oidc.trusts: ci is there twice; each trust is a robot of its own"
    ]


def test_what_is_shown_of_tables_can_be_read_again(path: Path) -> None:
    path.write_text(TRUST)
    shown = CliRunner().invoke(app, ["config", "show", "--config", str(path)]).stdout

    again = path.with_name("again.toml")
    again.write_text(shown)

    assert load(again, {}) == load(path, {})


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('issuer = "http://issuer.example"', "oidc.issuer: want https"),
        ('client_id = ""', "oidc.client_id: cannot be empty"),
        ('private_addresses = ["home"]', "oidc.private_addresses: want a network"),
    ],
)
def test_problem_of_signing_in_is_told(path: Path, line: str, problem: str) -> None:
    assert problems(path, f"[oidc]\n{line}\n")[0].startswith(f"moorage.toml:2: {problem}")
