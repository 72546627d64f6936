"""Which entrants of a protocol the plots show, and their figures averaged over seeds."""

from collections.abc import Callable, Sequence

from services.trainer.evaluation.bench import Bench
from services.trainer.evaluation.details import Details, Series
from services.trainer.evaluation.entrant import Kind
from services.trainer.evaluation.outcome import Outcome
from services.trainer.evaluation.summary import Row, Summary

MOST_OURS, MOST_BASELINES = 4, 2
"""Entrants in a plot, the best of each kind: more lines tell less."""


class Shown:
    """The entrants of a protocol that plots show, ours first, best first, with the outcomes of all their seeds."""

    def __init__(self, summary: Summary, bench: Bench) -> None:
        self.protocol = summary.protocol
        self.rows = _best(summary, Kind.OURS, MOST_OURS) + _best(summary, Kind.BASELINE, MOST_BASELINES)
        self.outcomes: dict[str, list[Outcome]] = {
            row.name: [outcome for outcome in summary.outcomes if outcome.entrant == row.name] for row in self.rows
        }
        details = self.protocol.details
        self._details: dict[str, list[Details]] = {
            name: [details(bench, outcome) for outcome in outcomes] if details else []
            for name, outcomes in self.outcomes.items()
        }

    def series(self, pick: Callable[[Details], Series | None]) -> dict[str, Series]:
        """By entrant, what `pick` takes from the details; entrants of which it takes nothing are left out."""
        picked = {}
        for name, details in self._details.items():
            found = [series for series in map(pick, details) if series is not None]
            if found:
                picked[name] = _mean(found)
        return picked

    def is_ours(self, name: str) -> bool:
        """Whether an entrant is a model of ours."""
        return next(row.kind for row in self.rows if row.name == name) == Kind.OURS

    @property
    def slice_metric(self) -> str:
        """What slices show."""
        return next((details[0].slice_metric for details in self._details.values() if details), "")

    @property
    def slice_names(self) -> tuple[str, ...]:
        """What slices cut by."""
        return next((tuple(details[0].slices) for details in self._details.values() if details), ())


def _best(summary: Summary, kind: Kind, most: int) -> list[Row]:
    primary = summary.protocol.metrics[0]
    sign = -1 if primary.higher_is_better else 1
    rows = [row for row in summary.rows if row.kind == kind and primary.name in row.cells]
    return sorted(rows, key=lambda row: sign * row.cells[primary.name].mean)[:most]


def _mean(series: Sequence[Series]) -> Series:
    """The mean over seeds, whose bins are the same because the test rows are."""
    numeric = all(isinstance(x, float) for x in series[0].x)
    x = tuple(sum(xs) / len(xs) for xs in zip(*(each.x for each in series), strict=True)) if numeric else series[0].x
    return Series(x, tuple(sum(ys) / len(ys) for ys in zip(*(each.y for each in series), strict=True)))
