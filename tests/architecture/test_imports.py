"""Imports run one way, and what is below the faces and edges knows of no server, driver or socket."""

import ast

import pytest

from tests.architecture.source import Module, read_modules

MODULES = read_modules()
GROUND = (
    "errors",
    "config",
    "config_mirrors",
    "setting",
    "addresses",
    "schedule",
    "clock",
    "health",
    "database",
    "threads",
)
"""What stands on nothing else of ours."""

BENEATH = ("identity", "records", "oci", *GROUND)
"""What lies under the registry."""

BELOW = ("oci", "records", "identity", "registry", "lifecycle", "mirrors", "transfer", *GROUND)
OUTSIDE = (
    "granian",
    "apsw",
    "socket",
    "http",
    "sqlite3",
    "starlette",
    "aiohttp",
    "ssl",
    "uvloop",
    "httptools",
)

MAY_IMPORT = {
    **dict.fromkeys(GROUND, ()),
    "config": ("config_mirrors", "setting", "addresses", "schedule"),
    "config_mirrors": ("setting", "addresses"),
    "server": (),
    "certificates": GROUND,
    "oci": ("oci", "errors"),
    "records": GROUND,
    "identity.accounts": ("records", "oci", *GROUND),
    "identity.access": ("identity.accounts", "records", "oci", *GROUND),
    "identity.tokens": ("identity.access", "identity.accounts", "records", "oci", *GROUND),
    "identity.callers": (
        "identity.tokens",
        "identity.access",
        "identity.accounts",
        "records",
        "oci",
        *GROUND,
    ),
    "identity.federation": (
        "identity.tokens",
        "identity.access",
        "identity.accounts",
        "records",
        "oci",
        *GROUND,
    ),
    "identity.managing": (
        "identity.callers",
        "identity.tokens",
        "identity.access",
        "identity.accounts",
        "records",
        "oci",
        *GROUND,
    ),
    "registry.repositories": BENEATH,
    "registry.blobs": ("registry.repositories", *BENEATH),
    "registry.pulls": ("registry.repositories", *BENEATH),
    "registry.uploads": ("registry.blobs", "registry.repositories", *BENEATH),
    "registry.tags": ("registry.blobs", "registry.pulls", "registry.repositories", *BENEATH),
    "registry.manifests": (
        "registry.tags",
        "registry.blobs",
        "registry.pulls",
        "registry.repositories",
        *BENEATH,
    ),
    "registry.images": (
        "registry.manifests",
        "registry.tags",
        "registry.blobs",
        "registry.repositories",
        *BENEATH,
    ),
    "registry.history": ("registry", *BENEATH),
    "registry.trash": ("registry", *BENEATH),
    "lifecycle": ("registry", *BENEATH),
    "mirrors": ("registry", *BENEATH),
    "transfer": ("lifecycle", "registry", *BENEATH),
    "storage": ("transfer", "lifecycle", "registry", "oci", *GROUND),
    "databases": ("transfer", "oci", *GROUND),
    "connecting": ("addresses",),
    "issuers": ("identity.federation", "connecting", *GROUND),
    "upstream": ("transfer", "mirrors", "connecting", "oci", *GROUND),
}
"""Beside what lies in the same package. Faces and wiring may import all that is here."""


@pytest.mark.parametrize(
    "module", [each for each in MODULES if each.is_in(*BELOW)], ids=lambda each: each.name
)
def test_module_below_the_faces_and_edges_knows_nothing_outside(module: Module) -> None:
    assert [name for name in module.imports if name.partition(".")[0] in OUTSIDE] == []


@pytest.mark.parametrize(
    "module", [each for each in MODULES if each.is_in(*MAY_IMPORT)], ids=lambda each: each.name
)
def test_module_imports_only_what_is_below_it(module: Module) -> None:
    package = next(each for each in MAY_IMPORT if module.is_in(each))
    allowed = tuple(f"moorage.{each}." for each in (*MAY_IMPORT[package], package))

    ours = [f"{name}." for name in module.imports if name.startswith("moorage")]
    assert [name for name in ours if not name.startswith(allowed)] == []


WIRED = {
    "cli.serve",
    "cli.backup",
    "cli.transfer.local",
    "cli.worker",
    "cli.manage.local",
    "serving",
    "working",
}


@pytest.mark.parametrize(
    "module",
    [each for each in MODULES if each.name not in WIRED],
    ids=lambda each: each.name,
)
def test_no_one_but_the_command_line_knows_the_wiring(module: Module) -> None:
    wiring = ("moorage.app", "moorage.serving", "moorage.working")
    assert [name for name in module.imports if name.startswith(wiring)] == []


@pytest.mark.parametrize(
    "module", [each for each in MODULES if each.is_in("api", "web")], ids=lambda each: each.name
)
def test_faces_know_no_edge(module: Module) -> None:
    edges = (
        "moorage.storage",
        "moorage.databases",
        "moorage.issuers",
        "moorage.upstream",
        "moorage.cli",
        "apsw",
    )

    assert [name for name in module.imports if name.startswith(edges)] == []


METHODS_MAX = 8


def ports() -> list[tuple[str, ast.ClassDef]]:
    return [
        (f"{module.name}.{node.name}", node)
        for module in MODULES
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
        and any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases)
    ]


@pytest.mark.parametrize("port", ports(), ids=lambda port: port[0])
def test_port_is_small(port: tuple[str, ast.ClassDef]) -> None:
    methods = [node for node in port[1].body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]

    assert 1 <= len(methods) <= METHODS_MAX


def test_sql_stands_only_beside_its_noun() -> None:
    """In `rows.py`, in the databases, and in two questions of the operators' endpoints."""
    words = ("SELECT ", "INSERT INTO ", "UPDATE ", "DELETE FROM ")
    found = {
        module.name
        for module in MODULES
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if node.value.lstrip().startswith(words)
    }

    assert {name for name in found if not name.endswith("rows") and not name.startswith("databases")} <= {
        "api.operations"
    }
