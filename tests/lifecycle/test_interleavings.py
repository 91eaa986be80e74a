"""Whatever overtakes what, between any two steps: nothing that was promised is lost, nothing half is served.

Each actor runs once for each of its points, and the other runs whole there; that is every order of two.
Afterwards I1 to I6 hold, also when all leases and the trash's time are over, and all that is garbage is gone.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
import structlog

from moorage import errors
from moorage.databases import sqlite
from moorage.lifecycle.garbage import collecting
from tests.lifecycle import mutants
from tests.lifecycle.interleaving import (
    Act,
    Seen,
    collect,
    collect_and_push,
    fill,
    judge,
    look,
    mount,
    play,
    push,
    rerepository,
    restore,
    retag,
    unblob,
    unmanifest,
    unrepository,
)
from tests.memory import make_folder
from tests.registry.pushing import OTHER

pytestmark = pytest.mark.anyio

ACTS = (collect, push, mount, look, unmanifest, unblob, retag, restore, unrepository, rerepository)
MORE = (collect_and_push,)
COLLECTING = frozenset({collect, collect_and_push})
POINTS_MAX = 200

MAY_BE_REFUSED: dict[tuple[str, type[errors.RegistryError]], frozenset[Act]] = {
    ("push", errors.ManifestBlobUnknown): frozenset({unblob}),
    ("collect_and_push", errors.ManifestBlobUnknown): frozenset({unblob}),
    ("look", errors.ManifestBlobUnknown): frozenset({unblob}),
    ("mount", errors.ManifestBlobUnknown): frozenset({unrepository}),
    ("unmanifest", errors.ManifestUnknown): frozenset({unmanifest}),
    ("unblob", errors.BlobUnknown): COLLECTING | {unblob},
    ("unblob", errors.ContentNeeded): frozenset({push, look, collect_and_push}),
    ("restore", errors.DeletionUnknown): COLLECTING | {restore},
    ("rerepository", errors.DeletionUnknown): COLLECTING | {rerepository},
    ("unrepository", errors.NameUnknown): frozenset({unrepository}),
}
"""What else than success an actor may be told, and beside whom."""


@pytest.fixture(autouse=True, scope="module")
def careless() -> Iterator[None]:
    """Nothing is made durable here, nor is it the point."""

    def connect(path: Path, *, can_write: bool) -> apsw.Connection:
        connection = connect_safely(path, can_write=can_write)
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    connect_safely = sqlite._connect
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite, "_connect", connect)
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows at a time, so that there are points in the midst of everything; and no log of it all."""
    monkeypatch.setattr(collecting, "BATCH", 2)
    monkeypatch.setattr(collecting, "_PURGE_BATCH", 1)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    """Where all folders are."""
    folder = make_folder("moorage-interleaved-")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def folder(memory: Path) -> Path:
    """Where a test has its runs, one after the other."""
    return Path(tempfile.mkdtemp(dir=memory))


@pytest.fixture(scope="module")
async def filled(memory: Path, careless: None) -> Path:
    """The folder that each run starts from."""
    data = memory / "filled"
    data.mkdir()
    await fill(data)
    return data


def check_refusals(seen: Seen, first: Act, second: Act) -> list[str]:
    """Who was refused what no one else's deed explains."""
    others = {first.__name__: second, second.__name__: first}
    return [
        f"{name} got {refusal!r}"
        for name, refusal in seen.refusals
        if others[name] not in MAY_BE_REFUSED.get((name, type(refusal)), ())
    ]


async def run_all(
    filled: Path, folder: Path, first: Act, second: Act, *, is_once_enough: bool = False
) -> tuple[int, list[str]]:
    """Every point of the first, or those up to a fault: how many there were, and what was found wrong."""
    found: list[str] = []
    for at in range(1, POINTS_MAX):
        data = folder / "data"
        shutil.copytree(filled, data)
        points, seen = await play(data, first, second, at)
        if len(points) >= at:
            if unrepository in {first, second}:
                seen.tags.pop((OTHER, "mounted"), None)
            faults = [*check_refusals(seen, first, second), *await judge(data, seen)]
            found += [
                f"{second.__name__} {points[at - 1]} {at} of {first.__name__}: {each}" for each in faults
            ]
        shutil.rmtree(data)
        if len(points) < at or (found and is_once_enough):
            return at - 1, found
    raise AssertionError(f"{first.__name__} comes to no end")


@pytest.mark.parametrize("second", [*ACTS, *MORE], ids=lambda act: act.__name__)
@pytest.mark.parametrize("first", ACTS, ids=lambda act: act.__name__)
async def test_one_overtaken_by_another(filled: Path, folder: Path, first: Act, second: Act) -> None:
    """F34, F35, F36, F37, F41."""
    points, found = await run_all(filled, folder, first, second)

    assert points > 0
    assert found == []


FAULTS = [
    pytest.param(mutants.look_without_lease, look, collect, id="HEAD without a lease"),
    pytest.param(mutants.ignore_children, restore, collect, id="collector that ignores an index's children"),
    pytest.param(mutants.reuse_generations, collect, collect_and_push, id="generation made anew"),
    pytest.param(mutants.forget_before_unlink, collect, push, id="row removed before unlink"),
    pytest.param(mutants.unlink_any_generation, collect, push, id="wrong generation unlinked"),
    pytest.param(mutants.ignore_the_new, look, collect, id="D13"),
    pytest.param(mutants.purge_while_restorable, collect, rerepository, id="half a repository restored"),
    pytest.param(mutants.purge_while_restorable, collect, restore, id="half a deletion restored"),
    pytest.param(mutants.forget_trash, unmanifest, collect, id="what is in the trash is garbage"),
    pytest.param(mutants.leave_replaced_files, collect, push, id="replaced file that stays"),
]


@pytest.mark.parametrize(("plant", "first", "second"), FAULTS)
async def test_collector_with_a_fault_is_caught(
    filled: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    plant: mutants.Plant,
    first: Act,
    second: Act,
) -> None:
    """A test that cannot fail would say nothing."""
    plant(monkeypatch.setattr)

    _, found = await run_all(filled, folder, first, second, is_once_enough=True)

    assert found != []
