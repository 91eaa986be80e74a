"""The table, for a terminal or as GitHub Markdown."""

from collections.abc import Sequence

from bench.measures import Bar, Measure
from bench.results import Result, Spread

_MET = {True: "yes", False: "NO", None: ""}


def render(results: Sequence[Result], names: Sequence[str], *, is_markdown: bool) -> str:
    """Write one line for each measure; the first of `names` is the subject, the second the reference."""
    head = ["what", *names, f"{names[0]} / {names[1]}", "least to most", "bar", "met"]
    lines = [_line(result, measure, names) for result in results for measure in result.row.measures]
    table = _render_markdown(head, lines) if is_markdown else _render_plain(head, lines)
    failures = [
        f"{result.row.title}: {server} failed: {reason}"
        for result in results
        for server, reason in result.failures.items()
    ]
    return "\n".join([table, *([""] if failures else []), *failures])


def _line(result: Result, measure: Measure, names: Sequence[str]) -> list[str]:
    subject, reference = names[0], names[1]
    ratio = result.ratio(measure, subject, reference)
    return [
        f"{result.row.title}: {measure.title}",
        *(_figure(result, measure, name) for name in names),
        "" if ratio is None else f"{_number(ratio.middle)} x",
        "" if ratio is None else f"{_number(ratio.least)} to {_number(ratio.most)}",
        _bar(measure),
        _MET[result.is_met(measure, subject, reference)],
    ]


def _figure(result: Result, measure: Measure, name: str) -> str:
    if name in result.failures:
        return "failed"
    spread: Spread | None = result.spread(measure, name)
    return "" if spread is None else f"{_number(spread.middle)} {measure.unit}".rstrip()


def _bar(measure: Measure) -> str:
    bar: Bar | None = measure.bar
    if bar is None:
        return ""
    return f"{bar.sense.value} {_number(bar.limit)}{' x' if bar.is_ratio else f' {measure.unit}'}".rstrip()


def _number(value: float) -> str:
    """Write three figures that count, and all of a whole number."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    digits = 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _render_markdown(head: list[str], lines: list[list[str]]) -> str:
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, rule, *lines])


def _render_plain(head: list[str], lines: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()
        for cells in [head, rule, *lines]
    )
