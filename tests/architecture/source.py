"""The source as the tests of its shape read it."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import moorage

ROOT = Path(moorage.__file__).parent


@dataclass(frozen=True, slots=True)
class Module:
    """A source file: its dotted name below `moorage`, and its tree."""

    name: str
    tree: ast.Module

    @property
    def imports(self) -> Iterator[str]:
        """The full names of what it imports, wherever in the file."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.name} imports relatively"
                assert node.module is not None
                yield from (f"{node.module}.{alias.name}" for alias in node.names)

    def is_in(self, *packages: str) -> bool:
        """Whether it is one of these modules or packages, or lies in one."""
        return any(self.name == package or self.name.startswith(f"{package}.") for package in packages)


@cache
def read_modules() -> tuple[Module, ...]:
    """All modules of the program; to parse them takes seconds, so they are read once."""
    modules = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        modules.append(Module(name, ast.parse(path.read_text("utf-8"), str(path))))
    return tuple(modules)
