"""Every refusal has a code that clients know and the status that goes with it."""

import inspect
import re

import pytest

from moorage import errors
from moorage.api.v2.errors import render
from moorage.errors import RegistryError

STATUSES = {
    # distribution-spec main (967efdc), "Error Codes"
    "BLOB_UNKNOWN": {404},
    # 416 out of order; 409 another writer; 408 too slow
    "BLOB_UPLOAD_INVALID": {400, 408, 409, 416},
    "BLOB_UPLOAD_UNKNOWN": {404},
    "DIGEST_INVALID": {400},
    "MANIFEST_BLOB_UNKNOWN": {400},
    # 413 too large; 412 a condition that does not hold
    "MANIFEST_INVALID": {400, 412, 413},
    "MANIFEST_UNKNOWN": {404},
    # 414 longer than any name
    "NAME_INVALID": {400, 414},
    "NAME_UNKNOWN": {404},
    "SIZE_INVALID": {400, 413},
    "UNAUTHORIZED": {401},
    # 409 what is protected, by a rule or by what needs it: of the codes that docker knows it prints this best
    "DENIED": {403, 409},
    # 400 no HTTP; 404 no endpoint; 415 an encoded body; 431 too many headers
    "UNSUPPORTED": {400, 404, 405, 415, 431},
    "TOOMANYREQUESTS": {429},
    # not the specification's, but what other registries send and clients print
    "RANGE_INVALID": {416},
    "PAGINATION_NUMBER_INVALID": {400},
    # 414 more of them than one request may carry
    "TAG_INVALID": {400, 414},
    # accounts and what they may do: the API's own
    "FIELD_INVALID": {400},
    "NAME_TAKEN": {409},
    "PASSWORD_INVALID": {400},
    "PATTERN_INVALID": {400},
    "ACTIONS_INVALID": {400},
    "ACCOUNT_UNKNOWN": {404},
    "GROUP_UNKNOWN": {404},
    "NAMESPACE_UNKNOWN": {404},
    "GRANT_UNKNOWN": {404},
    "UPSTREAM_UNKNOWN": {404},
    "UPSTREAM_STATE_INVALID": {409},
    "DELETION_UNKNOWN": {404},
    "CONTENT_GONE": {409},
    "TOKEN_UNKNOWN": {404},
    "JOB_UNKNOWN": {404},
    "JOB_STATE_INVALID": {409},
    "TAG_UNKNOWN": {404},
    "TAG_NOT_RESTORED": {409},
    "RULE_UNKNOWN": {404},
    "CLAIM_INVALID": {403},
    "LAST_ADMIN": {409},
    "CHECK_FIRST": {409},
    # 502, 504 another registry was asked in vain; 507 no room
    "UNAVAILABLE": {502, 503, 504, 507},
    "UNKNOWN": {500},
}


def subclasses(of: type[RegistryError]) -> list[type[RegistryError]]:
    return [each for direct in of.__subclasses__() for each in (direct, *subclasses(direct))]


REFUSALS: list[type[RegistryError]] = [RegistryError, *subclasses(RegistryError)]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_refusal_has_a_known_code_and_its_status(refusal: type[RegistryError]) -> None:
    assert refusal.status in STATUSES.get(refusal.code, set())


@pytest.mark.parametrize("refusal", REFUSALS)
def test_refusal_says_something_of_its_own(refusal: type[RegistryError]) -> None:
    assert refusal.__doc__ != inspect.getdoc(refusal.__mro__[1])
    assert refusal.message.strip() == refusal.message != ""


@pytest.mark.parametrize("refusal", REFUSALS)
def test_refusal_stands_in_the_list_of_them_all(refusal: type[RegistryError]) -> None:
    assert refusal.__name__ in re.findall(r"\w+", errors.__doc__ or "")


@pytest.mark.parametrize("refusal", [each for each in REFUSALS if each.status in {429, 503, 507}])
def test_refusal_for_now_says_when_to_come_back(refusal: type[RegistryError]) -> None:
    assert any(name == b"retry-after" and int(value) > 0 for name, value in render(refusal()).headers)


def test_refusals_live_in_one_place() -> None:
    assert {refusal.__module__ for refusal in REFUSALS} == {"moorage.errors"}


def test_refusal_as_text_is_its_message_and_its_detail_in_words() -> None:
    """Commands on a data folder and the log of jobs show a refusal so."""
    assert str(errors.StorageFull(reserve_bytes=5)) == f"{errors.StorageFull.message} (reserve_bytes: 5)"
    missing = errors.ManifestBlobUnknown(["sha256:aa", "sha256:bb"])
    assert str(missing) == f"{missing.message} (digests: sha256:aa, sha256:bb)"
    assert str(errors.StorageReadOnly()) == errors.StorageReadOnly.message
