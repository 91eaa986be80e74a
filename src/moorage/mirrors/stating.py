"""What an administrator says of an upstream, and what must hold of it: the settings' rules. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import msgspec

from moorage.addresses import read_networks
from moorage.config_mirrors import (
    AlternativeSettings,
    Problem,
    UpstreamSettings,
    common_problems,
)
from moorage.errors import FieldInvalid
from moorage.mirrors.upstreams import Address, Upstream
from moorage.setting import Bytes

SECRET_MAX_LENGTH: Final = 8192
AUTHORITY_MAX_LENGTH: Final = 100_000
_USERNAME_MAX_LENGTH: Final = 255
_FIELDS: Final = {"freshness": "freshness_s", "budget": "budget_bytes"}
"""What the API calls what the settings call so."""


@dataclass(frozen=True, slots=True, repr=False)
class Given:
    """What was said of an address; None: nothing, so it stays as it is."""

    url: str | None = None
    username: str | None = None
    password: str | None = None
    authority: str | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be changed of an upstream. `fields` are its own; `alternatives` None: they stay."""

    fields: Mapping[str, Any]
    address: Given
    alternatives: Sequence[Given] | None = None

    @property
    def words(self) -> str:
        """For the audit: what was said, but for secrets."""
        said = [f"{name}={_shown(value)}" for name, value in self.fields.items()]
        if self.address.url is not None:
            said.append(f"url={self.address.url}")
        if self.alternatives is not None:
            said.append(f"alternatives={_shown([each.url for each in self.alternatives])}")
        said += [
            name for name in ("username", "password", "authority") if getattr(self.address, name) is not None
        ]
        return " ".join(said)[:500]


def _shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def change_upstream(old: Upstream, changes: Changes) -> Upstream:
    """The upstream as it is then. A stored secret stays with the address that it was given for.

    Raises FieldInvalid (400) where it would have to go to another.
    """
    alternatives = old.alternatives
    if changes.alternatives is not None:
        known = {each.url: each for each in old.alternatives}
        alternatives = tuple(
            change_address(known.get(plain_url(given.url or ""), Address("")), given, "alternatives")
            for given in changes.alternatives
        )
    address = change_address(old.address, changes.address, "")
    return msgspec.structs.replace(old, address=address, alternatives=alternatives, **changes.fields)


def change_address(old: Address, given: Given, of: str) -> Address:
    """An address as it is then. `of`: the field that it stands in; empty: it is the upstream's own.

    Raises FieldInvalid (400) where a stored secret would go to another address, or to whom another
    authority vouches for.
    """
    url = old.url if given.url is None else plain_url(given.url)
    username = old.username if given.username is None else given.username
    authority = old.authority if given.authority is None else given.authority.strip()
    password = given.password
    if password is None:
        password = old.password if username else ""
        is_other = (url, username, authority) != (old.url, old.username, old.authority)
        if password and is_other:
            raise FieldInvalid(
                field=f"{of}.password" if of else "password",
                reason="give it again: what is stored goes only where, and as whom, it was given for",
            )
    return Address(url, username, password, authority)


def plain_url(url: str) -> str:
    """A URL as it is compared and kept."""
    return url.rstrip("/")


def check_upstream(upstream: Upstream, others: Iterable[Upstream], private_addresses: Sequence[str]) -> None:
    """See that an upstream may be asked, and stands beside these others.

    Raises FieldInvalid (400), with the first thing to mend.
    """
    stated = _stated(upstream)
    found = stated.problems()
    found += [("alternatives", sentence) for each in stated.alternatives for _, sentence in each.problems()]
    for address in upstream.addresses:
        found += _secret_problems(address)
    if not found:
        found = stated.address_problems(read_networks(private_addresses))
    if not found:
        before = [_stated(each) for each in others]
        known = set(common_problems(before))
        # what was wrong already is not this one's fault
        found = [each for each in common_problems([*before, stated]) if each not in known]
    _raise_first(found)


def check_address(address: Address, private_addresses: Sequence[str]) -> None:
    """See that an address may be asked.

    Raises FieldInvalid (400).
    """
    alone = UpstreamSettings(name="x", url=address.url)
    found = alone.problems() + _secret_problems(address)
    _raise_first(found or alone.address_problems(read_networks(private_addresses)))


def _raise_first(found: Sequence[Problem]) -> None:
    for key, sentence in found:
        raise FieldInvalid(field=_FIELDS.get(key, key), reason=sentence)


def _stated(upstream: Upstream) -> UpstreamSettings:
    """The same as the settings say it, but for secrets."""
    return UpstreamSettings(
        name=upstream.name,
        url=upstream.address.url,
        hosts=upstream.hosts,
        alternatives=tuple(AlternativeSettings(each.url) for each in upstream.alternatives),
        alternatives_may=upstream.alternatives_may,
        root=upstream.is_root,
        include=upstream.include,
        exclude=upstream.exclude,
        platforms=upstream.platforms,
        pins=upstream.pins,
        freshness=timedelta(milliseconds=upstream.freshness_ms),
        budget=None if upstream.budget_bytes is None else Bytes(upstream.budget_bytes),
        bandwidth=upstream.bandwidth,
    )


def _secret_problems(address: Address) -> list[Problem]:
    found = []
    if bool(address.username) != bool(address.password):
        missing, there = ("password", "username") if address.username else ("username", "password")
        found.append((missing, f"is missing, as there is a {there}"))
    if len(address.username) > _USERNAME_MAX_LENGTH or not address.username.isprintable():
        found.append(("username", f"want at most {_USERNAME_MAX_LENGTH} characters that can be printed"))
    if ":" in address.username:
        found.append(("username", "has no colon in it"))
    if len(address.password) > SECRET_MAX_LENGTH or not address.password.isprintable():
        found.append(("password", f"want at most {SECRET_MAX_LENGTH} characters that can be printed"))
    if address.authority and not (
        len(address.authority) <= AUTHORITY_MAX_LENGTH
        and address.authority.startswith("-----BEGIN CERTIFICATE-----")
        and address.authority.endswith("-----END CERTIFICATE-----")
    ):
        found.append(("authority", "want certificates as PEM, and nothing else"))
    return found
