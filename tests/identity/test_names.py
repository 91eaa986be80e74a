"""B91: what may be a name, and which two names the eye takes for one."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.databases.sqlite import SqliteDatabase
from moorage.errors import AccountNameInvalid, NameTaken
from moorage.identity.accounts.names import NAME_MAX_LENGTH, check_name, skeleton_of
from moorage.identity.accounts.rows import insert_account, insert_group
from moorage.oci.names import is_component


@pytest.mark.parametrize("name", ["alice", "bot.ci", "a", "0", "build-bot", "a__b", "x" * NAME_MAX_LENGTH])
def test_plain_names_are_taken(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Alice",
        "alice ",
        " alice",
        "alice\n",
        "alice\0",
        "admin\u200b",
        "\uff41dmin",
        "\u0430dmin",
        "robot$ci",
        "a/b",
        "..",
        ".a",
        "a-",
        "a:b",
        "x" * (NAME_MAX_LENGTH + 1),
        "anonymous",
        "everyone",
        "operator",
    ],
    ids=ascii,
)
def test_b91_names_that_are_not_plain_or_have_a_meaning_are_refused(name: str) -> None:
    with pytest.raises(AccountNameInvalid):
        check_name(name)


LOOK_ALIKES = [
    ("scanner-x", "scanner.x"),
    ("scanner-x", "scanner_x"),
    ("scanner-x", "scanner__x"),
    ("scanner-x", "scanner---x"),
    ("admin", "adrnin"),
    ("bob", "b0b"),
    ("lisa", "1isa"),
    ("willow", "vvillow"),
    ("modern", "rnodem"),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("first", "second"), LOOK_ALIKES)
async def test_b91_a_name_that_looks_like_one_that_is_taken_is_refused(
    db: SqliteDatabase, first: str, second: str
) -> None:
    await db.write(lambda tx: insert_account(tx, first, "test"))

    with pytest.raises(NameTaken):
        await db.write(lambda tx: insert_account(tx, second, "test", kind="robot"))
    with pytest.raises(NameTaken):
        await db.write(lambda tx: insert_group(tx, second, "", "test"))


@pytest.mark.anyio
async def test_b91_an_account_may_not_be_named_like_a_group(db: SqliteDatabase) -> None:
    await db.write(lambda tx: insert_group(tx, "ops-team", "", "test"))

    with pytest.raises(NameTaken):
        await db.write(lambda tx: insert_account(tx, "ops.team", "test"))


@pytest.mark.anyio
async def test_names_that_do_not_look_alike_live_together(db: SqliteDatabase) -> None:
    for name in ("scanner", "scanner-x", "scannerx", "ab", "axb", "a-b"):
        made = await db.write(partial(insert_account, name=name, created_by="test"))
        assert made.name == name


@given(st.from_regex(r"[a-z0-9._-]{1,20}", fullmatch=True).filter(is_component))
def test_a_skeleton_has_no_skeleton_but_itself_in_separators_and_letters(name: str) -> None:
    skeleton = skeleton_of(name)

    assert skeleton == skeleton_of(name.replace(".", "-").replace("_", "-"))
    assert not set(skeleton) & set("01._")
