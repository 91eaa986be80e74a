"""Rounds, their medians and ratios, and the same as JSON."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from bench.measures import Measure
from bench.stand import Figures, Row


@dataclass(frozen=True, slots=True)
class Spread:
    """A median and how far the rounds lay around it."""

    middle: float
    least: float
    most: float


@dataclass(slots=True)
class Result:
    """What one row gave: for each round, the figures of each server by its name."""

    row: Row
    rounds: list[dict[str, Figures]] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    """What went wrong, by server; its figures are not to be trusted and are left out."""
    load_before: float = 0.0
    seconds: float = 0.0

    def spread(self, measure: Measure, server: str) -> Spread | None:
        """Give the figures of one server; None when there are none."""
        if server in self.failures:
            return None
        return _spread(
            [figures[server][measure.key] for figures in self.rounds if _has(figures, server, measure)]
        )

    def ratio(self, measure: Measure, subject: str, reference: str) -> Spread | None:
        """Give the ratios of the rounds; None when one of the two has no figures."""
        if {subject, reference} & set(self.failures):
            return None
        return _spread(
            [
                figures[subject][measure.key] / figures[reference][measure.key]
                for figures in self.rounds
                if _has(figures, subject, measure)
                and _has(figures, reference, measure)
                and figures[reference][measure.key]
            ]
        )

    def is_met(self, measure: Measure, subject: str, reference: str) -> bool | None:
        """Say whether the bar is met; None when there is no bar or nothing to hold to it."""
        if measure.bar is None:
            return None
        held = (
            self.ratio(measure, subject, reference) if measure.bar.is_ratio else self.spread(measure, subject)
        )
        return None if held is None else measure.bar.is_met(held.middle)


def as_json(
    results: Sequence[Result],
    names: Sequence[str],
    machine: dict[str, str | int],
    settings: dict[str, object],
) -> dict[str, object]:
    """Give all that was measured; the first of `names` is the subject, the second the reference."""
    subject, reference = names[0], names[1]
    return {
        "machine": machine,
        "settings": settings,
        "servers": list(names),
        "rows": [
            {
                "name": result.row.name,
                "title": result.row.title,
                "seconds": round(result.seconds, 1),
                "load_before": result.load_before,
                "failures": result.failures,
                "rounds": result.rounds,
                "measures": [
                    {
                        "key": measure.key,
                        "title": measure.title,
                        "unit": measure.unit,
                        "bar": _bar(measure),
                        "met": result.is_met(measure, subject, reference),
                        "ratio": _as_dict(result.ratio(measure, subject, reference)),
                        "servers": {name: _as_dict(result.spread(measure, name)) for name in names},
                    }
                    for measure in result.row.measures
                ],
            }
            for result in results
        ],
    }


def _has(figures: dict[str, Figures], server: str, measure: Measure) -> bool:
    return measure.key in figures.get(server, {})


def _spread(values: list[float]) -> Spread | None:
    return Spread(median(values), min(values), max(values)) if values else None


def _as_dict(spread: Spread | None) -> dict[str, float] | None:
    if spread is None:
        return None
    return {"median": spread.middle, "least": spread.least, "most": spread.most}


def _bar(measure: Measure) -> dict[str, object] | None:
    bar = measure.bar
    if bar is None:
        return None
    return {"sense": bar.sense.value, "limit": bar.limit, "is_ratio": bar.is_ratio}
