"""`moorage delete`, `trash`, `gc`: what goes, what it frees, and how it comes back."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commands import moorage
from tests.cli.test_tags import Pusher
from tests.servers import ServerProcess


@pytest.fixture(scope="module")
def pusher(server: ServerProcess) -> Iterator[Pusher]:
    pusher = Pusher(server)
    yield pusher
    pusher.close()


def test_deletion_says_what_it_frees_and_how_it_is_undone(folder: Path, pusher: Pusher) -> None:
    digest = pusher.push("team/undone", "1.0", "latest")

    said = moorage("delete", f"team/undone@{digest}", "--data", folder).check().out.splitlines()

    assert said[0] == f"team/undone@{digest} is in the trash, with its tags 1.0, latest."
    assert said[1].startswith("Frees 0 B now, 1.9 MiB after 20")
    undo = said[1].partition("Until then: moorage ")[2].split()
    assert pusher.send("GET", "team/undone/manifests/1.0") == 404
    restored = moorage(*undo, "--data", folder).check().out
    assert restored == f"team/undone@{digest} is back as team/undone:1.0, team/undone:latest.\n"
    assert pusher.send("GET", "team/undone/manifests/1.0") == 200


def test_deleted_tag_says_how_it_comes_back(folder: Path, pusher: Pusher) -> None:
    digest = pusher.push("team/tag", "1.0")

    said = moorage("delete", "team/tag:1.0", "--data", folder).check().out.splitlines()

    assert said[0] == f"team/tag:1.0 is deleted; its image is {digest}."
    undo = said[1].partition("To bring it back: moorage ")[2].split()
    moorage(*undo, "--data", folder).check()
    assert pusher.send("GET", "team/tag/manifests/1.0") == 200


def test_trash_lists_what_can_come_back(folder: Path, pusher: Pusher) -> None:
    digest = pusher.push("team/listed", "1.0")
    deleted = moorage("delete", f"team/listed@{digest}", "--json", "--data", folder).json()[0]

    (found,) = moorage("trash", "list", "team/listed", "--json", "--data", folder).json()["deletions"]

    assert found["deletion"] == deleted["deletion"]
    assert (found["tags"], found["reason"], found["deleted_by"]) == (["1.0"], "asked", "operator")
    assert str(deleted["deletion"]) in moorage("trash", "list", "--data", folder).check().out


def test_trash_of_a_repository_that_never_was_is_refused(folder: Path, pusher: Pusher) -> None:
    pusher.push("team/known", "1.0")
    pusher.push("team/gone", "1.0")
    moorage("repository", "remove", "team/gone", "--data", folder).check()

    refusal = moorage("trash", "list", "team/konwn", "--data", folder).refusal

    assert "there is no repository team/konwn; did you mean team/known?" in refusal
    for there in ("team/known", "team/gone"):
        assert "The trash is empty." in moorage("trash", "list", there, "--data", folder).check().out


def test_old_name_of_a_repository_leads_to_its_new_one(folder: Path, pusher: Pusher) -> None:
    pusher.push("team/before", "1.0")
    moorage("repository", "rename", "team/before", "team/after", "--data", folder).check()

    for command in (("tags", "list"), ("repository", "show"), ("trash", "list")):
        refusal = moorage(*command, "team/before", "--data", folder).refusal
        assert "it is called team/after now" in refusal


def test_audit_names_some_of_many_tags(folder: Path, pusher: Pusher) -> None:
    digest = pusher.push("team/many", *(f"t{number:02}" for number in range(25)))

    deleted = moorage("delete", f"team/many@{digest}", "--json", "--data", folder).json()[0]
    found = moorage("audit", "--json", "--data", folder).json()

    assert len(deleted["tags"]) == 25
    (line,) = [each for each in found if each["action"] == "delete" and each["target"] == "team/many"]
    assert "t19 and 5 more, 25 in all" in line["detail"]
    assert "t20" not in line["detail"]


def test_repository_comes_back_under_another_name(folder: Path, pusher: Pusher) -> None:
    pusher.push("team/whole", "1.0")
    removed = moorage("repository", "remove", "team/whole", "--data", folder).check().out
    assert "moorage trash restore-repository" in removed
    # its layer, its config, and after when they go
    assert re.search(r"Frees 0 B now, 1\.9 MiB after \d{4}-", removed)
    assert re.search(r"team/whole +1\.9 MiB", moorage("trash", "list", "--data", folder).check().out)
    number = removed.split("restore-repository ")[1].split()[0]
    pusher.push("team/whole", "2.0")

    refused = moorage("trash", "restore-repository", number, "--data", folder)
    assert "made since" in refused.refusal
    moorage("trash", "restore-repository", number, "--as", "team/old", "--data", folder).check()

    assert pusher.send("GET", "team/old/manifests/1.0") == 200
    assert pusher.send("GET", "team/whole/manifests/1.0") == 404


def test_purged_image_leaves_the_disk_with_the_next_runs(folder: Path, pusher: Pusher) -> None:
    digest = pusher.push("team/purged", "1.0")
    before = moorage("gc", "status", "--json", "--data", folder).json()
    deleted = moorage("delete", f"team/purged@{digest}", "--json", "--data", folder).json()[0]
    held = moorage("gc", "status", "--json", "--data", folder).json()
    assert held["trash_bytes"] - before["trash_bytes"] == deleted["frees"]["later_bytes"] > 2_000_000
    purged = moorage("trash", "purge", deleted["deletion"], "--data", folder).check().out
    listed = moorage("trash", "list", "--data", folder).check().out
    soonest = moorage("gc", "plan", "--json", "--data", folder).json()["items"]

    assert re.search(r"Frees 1\.9 MiB after 2\d{3}-.* \(delete\.delay\)", purged)
    # as from now, not as from the time 0 that stands for it
    assert "1970" not in listed
    assert all(each["at"].startswith("2") for each in soonest)
    ran = moorage("gc", "run", "--json", "--data", folder).json()
    plan = moorage("gc", "plan", "--json", "--data", folder).json()["items"]

    assert ran["purged_manifests"] >= 1
    assert {each["kind"] for each in plan if each["repository"] == "team/purged"} == {"lease"}
    assert sum(each["frees_bytes"] for each in plan if each["repository"] == "team/purged") > 2_000_000


def test_largest_repositories_are_listed_first(folder: Path, pusher: Pusher) -> None:
    pusher.push("team/whale", "1.0")
    moorage("repository", "add", "team/a-shell", "--data", folder).check()

    by_size = moorage("repository", "list", "--by", "size", "--json", "--data", folder).json()
    by_name = moorage("repository", "list", "--json", "--data", folder).json()
    said = moorage("repository", "list", "--by", "size", "--data", folder).check().out

    sizes = [each["size_bytes"] for each in by_size]
    assert sizes == sorted(sizes, reverse=True)
    names = [each["name"] for each in by_size]
    assert names.index("team/whale") < names.index("team/a-shell")
    assert [each["name"] for each in by_name] == sorted(names)
    assert re.search(r"^NAME +SIZE +TAGS +LAST PUSH$", said, re.MULTILINE)
    assert re.search(r"^team/whale +1\.9 MiB +1 +2\d{3}-", said, re.MULTILINE)
    assert re.search(r"^team/a-shell +0 B +0 +-$", said, re.MULTILINE)


def test_parts_of_the_store_are_told_to_a_person(folder: Path, pusher: Pusher) -> None:
    pusher.push("team/told", "1.0")

    said = moorage("gc", "status", "--data", folder).check().out

    for part in ("needed by images", "in the trash", "goes with the next run", "on disk, in whole blocks"):
        assert part in said
    assert re.search(r"^free on this disk +[\d.]+ [KMGT]iB$", said, re.MULTILINE)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("team/none:1.0", "manifest unknown to registry"),
        ("team", "names neither a tag nor a digest"),
        ("team/app@sha256:zz", "digest invalid"),
    ],
)
def test_what_cannot_be_deleted_is_said(folder: Path, image: str, reason: str) -> None:
    assert reason in moorage("delete", image, "--data", folder).refusal


def test_name_that_cannot_be_is_said_with_what_one_looks_like(folder: Path) -> None:
    for arguments in (("show", "Team/App"), ("add", "team//app"), ("remove", "team/app_")):
        assert (
            "want lower-case letters and digits"
            in moorage("repository", *arguments, "--data", folder).refusal
        )
