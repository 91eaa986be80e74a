"""A setting that says nothing, or that nothing reads, is a promise the registry does not keep."""

import ast
import inspect
import textwrap
from dataclasses import fields

import pytest

from moorage.config import Described, Settings, describe
from tests.architecture.source import read_modules

SETTINGS = describe()


def readers(each: Described) -> set[str]:
    """The names by which a setting is read: its own, and those of its section's properties over it."""
    section = type(getattr(Settings(), each.section))
    found = {each.key}
    for name, value in vars(section).items():
        if isinstance(value, property) and value.fget is not None:
            tree = ast.parse(textwrap.dedent(inspect.getsource(value.fget)))
            if any(isinstance(node, ast.Attribute) and node.attr == each.key for node in ast.walk(tree)):
                found.add(name)
    return found


ATTRIBUTES = {
    node.attr
    for module in read_modules()
    if module.name not in {"config", "config_file", "config_mirrors"}
    for node in ast.walk(module.tree)
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
}


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda each: each.variable)
def test_setting_says_what_it_means(setting: Described) -> None:
    assert setting.meaning[0].isupper() or setting.section == "log"
    assert setting.meaning.endswith(".")


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda each: each.variable)
def test_setting_is_read(setting: Described) -> None:
    assert readers(setting) & ATTRIBUTES


def test_each_setting_has_a_variable_of_its_own() -> None:
    assert len({setting.variable for setting in SETTINGS}) == len(SETTINGS)


def test_every_section_has_its_settings_described() -> None:
    assert {setting.section for setting in SETTINGS} == {field.name for field in fields(Settings)}
