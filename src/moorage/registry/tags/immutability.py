"""Tags that stay where they are, once they are somewhere.

A rule names tags by a pattern, in the repositories of another. Such a tag can be made and pushed again with
the same content, but neither moved to other content nor deleted, by whatever way: its name, `?tag=`, the
digest it points to, going back in its history, retention. `tags.rows` asks here in the transaction of every
move and deletion; a tag that is new asks nothing.

Signatures, attestations and lists of referrers, whose tags are made of what they belong to, are never fixed:
`sha256-<hex>`, and the same with `.sig`, `.att` or `.sbom`.
"""

import re
from collections.abc import Iterable
from typing import Final, Literal

from moorage.database import Database, Transaction
from moorage.errors import TagImmutable
from moorage.identity.access.patterns import is_match, namespace_of
from moorage.registry.tags import immutability_rows
from moorage.registry.tags.immutability_rows import ImmutabilityRule
from moorage.registry.tags.patterns import compile_tag_pattern

PRESETS: Final = {"versions": r"re:[vV]?[0-9]+(\.[0-9]+){2,}([^0-9].*)?"}
"""Patterns by name. `versions`: three numbers or more, as 1.2.3, v1.2.3-rc.1, 2024.1.31 and 1.2.3-alpine.
By custom `1` and `1.2` move along with the newest of theirs, as `latest` and branches do."""

_OF_ANOTHER: Final = re.compile(r"sha(?:256-[0-9a-f]{64}|512-[0-9a-f]{128})(?:\.(?:sig|att|sbom))?", re.ASCII)

Change = Literal["moved", "deleted"]


def find_fixing(rules: Iterable[ImmutabilityRule], repository: str, tag: str) -> ImmutabilityRule | None:
    """The first of the rules by which a tag stays where it is, if any."""
    if _OF_ANOTHER.fullmatch(tag) is not None:
        return None
    for rule in rules:
        if is_match(rule.scope, repository) and compile_tag_pattern(rule.pattern)(tag):
            return rule
    return None


async def read_rules_for(db: Database, repository: str) -> list[ImmutabilityRule]:
    """The rules that concern a repository, the oldest first."""
    rules = await immutability_rows.list_rules_near(db, namespace_of(repository))
    return [rule for rule in rules if is_match(rule.scope, repository)]


def check_may_change(tx: Transaction, repository: str, tag: str, change: Change) -> None:
    """Refuse to move a tag to other content, or to delete it, where a rule says that it stays.

    Raises TagImmutable (409), which names the rule.
    """
    check_may_all_change(tx, repository, (tag,), change)


def check_may_all_change(tx: Transaction, repository: str, tags: Iterable[str], change: Change) -> None:
    """The same for several tags, of which the first that stays is named."""
    rules = immutability_rows.read_rules_near(tx, namespace_of(repository))
    for tag in tags if rules else ():
        rule = find_fixing(rules, repository, tag)
        if rule is not None:
            raise refusal(repository, tag, rule, change)


def said(pattern: str) -> str:
    """A pattern as a person knows it: a preset by its name."""
    return next((f"preset {name}" for name, preset in PRESETS.items() if pattern == preset), pattern)


def refusal(repository: str, tag: str, rule: ImmutabilityRule, change: Change) -> TagImmutable:
    """In words: docker prints nothing but these."""
    named = f"rule {rule.id} ({said(rule.pattern)} in {rule.scope})"
    return TagImmutable(
        reason=f"{repository}:{tag} cannot be {change}: {named}",
        tag=tag,
        rule=rule.id,
    )
