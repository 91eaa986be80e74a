"""What rules mean for the tags of one repository. Pure: values in, a decision for each tag out."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from moorage.lifecycle.retention.rows import RetentionRule
from moorage.lifecycle.retention.saying import show_age, show_at
from moorage.registry.tags.patterns import compile_tag_pattern

Belonging = Literal["itself", "served", "trashed", "gone"]
"""Whether a tag stands for something of its own, or for what belongs to a subject, and how that is."""


@dataclass(frozen=True, slots=True)
class TagState:
    """A tag as a decision sees it. Times are in milliseconds since 1970-01-01 UTC.

    `pulled_at`: when it was last pulled by its name or its digest, None where that is not known;
    `fixed`: what else keeps it, in words; `subject`: the row of the manifest that it belongs to.
    """

    name: str
    manifest: int
    moved_at: int
    pulled_at: int | None = None
    version_key: str = ""
    fixed: str | None = None
    belongs: Belonging = "itself"
    subject: int | None = None

    def pulled(self, at: int) -> "TagState":
        """The same, pulled then too."""
        return replace(self, pulled_at=max(at, self.pulled_at or 0))


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a tag stays, why in words, and the rule that decided; None where no rule did."""

    tag: TagState
    is_kept: bool
    why: str
    rule: int | None = None


_FOLLOWS: Final = "what it belongs to stays"
_ORPHAN_KEPT_MS: Final = 86_400_000


class Judge:
    """The rules of a repository over its tags, at one moment.

    `pulls_since`: from when on pulls are known of; what was pushed before is taken to have been pulled then.
    """

    def __init__(
        self, tags: Sequence[TagState], rules: Sequence[RetentionRule], now_ms: int, pulls_since: int
    ) -> None:
        self._now = now_ms
        self._pulls_since = pulls_since
        self._rules = [_Named(rule, tags, now_ms) for rule in rules]
        self.newest = sorted({name for rule in self._rules for name in rule.newest})
        """The tags that are kept for being the newest; while they are there, no other becomes one."""

    @property
    def asks_for_pulls(self) -> bool:
        """Whether a later pull might keep a tag."""
        return any(each.rule.keep_pulled_ms is not None for each in self._rules)

    def decide(self, tag: TagState) -> Decision:
        """What comes of a tag."""
        if tag.fixed is not None:
            return Decision(tag, is_kept=True, why=tag.fixed)
        if tag.moved_at > self._now:
            return Decision(tag, is_kept=True, why="pushed in the future: a clock was wrong")
        match tag.belongs:
            case "served":
                return Decision(tag, is_kept=True, why=_FOLLOWS)
            case "trashed":
                return Decision(tag, is_kept=True, why="what it belongs to is in the trash")
        return self._by_rules(tag)

    def _by_rules(self, tag: TagState) -> Decision:
        named = [each for each in self._rules if each.names(tag)]
        for each in named:
            why = each.find_reason(tag, self._now, self._pulls_since)
            if why is not None:
                return Decision(tag, is_kept=True, why=why, rule=each.rule.id)
        for each in named:
            if each.rule.in_effect_from <= self._now:
                return Decision(tag, is_kept=False, why=each.refusal, rule=each.rule.id)
        if not named:
            return Decision(tag, is_kept=True, why="no rule names it")
        first = named[0].rule
        why = f"the rule takes nothing before {show_at(first.in_effect_from)}"
        return Decision(tag, is_kept=True, why=why, rule=first.id)


class _Named:
    """A rule over the tags that it names."""

    def __init__(self, rule: RetentionRule, tags: Iterable[TagState], now_ms: int) -> None:
        self.rule = rule
        self._fits = compile_tag_pattern(rule.pattern)
        # what was pushed in the future, and what belongs to something else, takes no one's place
        counted = [
            tag for tag in tags if tag.belongs == "itself" and tag.moved_at <= now_ms and self.names(tag)
        ]
        self.newest = self._find_newest(counted)

    def names(self, tag: TagState) -> bool:
        """Whether the rule speaks of this tag. One that counts versions speaks of nothing else."""
        if self.rule.keep_newest is not None and self.rule.newest_by == "version" and not tag.version_key:
            return False
        return self._fits(tag.name)

    def _find_newest(self, counted: Sequence[TagState]) -> Collection[str]:
        """The newest so many; all that are as new as the last of them."""
        count = self.rule.keep_newest
        if count is None:
            return ()
        order: Mapping[str, tuple[int | str, ...]] = {tag.name: self._order(tag) for tag in counted}
        ordered = sorted(order.values(), reverse=True)
        least = ordered[min(count, len(ordered)) - 1] if ordered else ()
        return {name for name, place in order.items() if place >= least}

    def _order(self, tag: TagState) -> tuple[int | str, ...]:
        return (tag.version_key,) if self.rule.newest_by == "version" else (tag.moved_at,)

    def find_reason(self, tag: TagState, now_ms: int, pulls_since: int) -> str | None:
        """Why the rule keeps a tag that it names, if it does."""
        rule = self.rule
        if tag.name in self.newest:
            return f"one of the newest {rule.keep_newest} by {rule.newest_by}"
        if tag.belongs == "gone" and now_ms - tag.moved_at < _ORPHAN_KEPT_MS:
            return "what it belongs to may be on its way"
        if rule.keep_pushed_ms is not None and now_ms - tag.moved_at < rule.keep_pushed_ms:
            return f"pushed {show_at(tag.moved_at)}"
        if rule.keep_pulled_ms is None:
            return None
        # what was pushed and not pulled yet has not been of use yet
        used_at = max(tag.moved_at, tag.pulled_at or 0)
        if now_ms - used_at < rule.keep_pulled_ms:
            return f"pulled {show_at(used_at)}" if used_at == tag.pulled_at else f"pushed {show_at(used_at)}"
        if tag.moved_at < pulls_since and now_ms - pulls_since < rule.keep_pulled_ms:
            return f"pulls are known since {show_at(pulls_since)} only"
        return None

    @property
    def refusal(self) -> str:
        """Why the rule takes a tag that it does not keep."""
        rule, missed = self.rule, []
        if rule.keep_newest is not None:
            missed.append(f"not one of the newest {rule.keep_newest} by {rule.newest_by}")
        if rule.keep_pushed_ms is not None:
            missed.append(f"not pushed within {show_age(rule.keep_pushed_ms)}")
        if rule.keep_pulled_ms is not None:
            missed.append(f"not pulled within {show_age(rule.keep_pulled_ms)}")
        return ", ".join(missed)
