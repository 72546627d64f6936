"""From outcomes to a protocol's table: mean and spread over seeds, and which targets are reached."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from services.trainer.evaluation.bench import Bench
from services.trainer.evaluation.entrant import Kind
from services.trainer.evaluation.outcome import Outcome
from services.trainer.evaluation.protocol import Metric, Protocol, Target

PUBLISHED = "published"
SPEED = Metric("samples_per_second", "samples/s")


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure over seeds. spread: the sample's standard deviation; None for a single one."""

    mean: float
    spread: float | None = None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Cell":
        """Mean and spread of at least one value."""
        return cls(fmean(values), stdev(values) if len(values) > 1 else None)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table. kind: "ours", "baseline" or "published". note: source, or a choice made on validation.

    cells: by metric name; "seconds" and "samples_per_second" are of the training.
    """

    name: str
    kind: str
    cells: dict[str, Cell]
    seeds: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a target is reached. best: name of the entrant that decides; None where none was measured yet."""

    target: Target
    metric: Metric
    bound: float
    best: str | None = None
    value: float | None = None

    @property
    def reached(self) -> bool:
        """Whether the best entrant's mean is at least as good as the bound."""
        return self.value is not None and self.metric.better(self.value, self.bound)


@dataclass(frozen=True, slots=True)
class Summary:
    """A protocol's table: ours, then baselines, then what others published."""

    protocol: Protocol
    rows: tuple[Row, ...]
    verdicts: tuple[Verdict, ...]
    outcomes: tuple[Outcome, ...]


def summarize(protocol: Protocol, outcomes: Sequence[Outcome], bench: Bench) -> Summary:
    """The table of what was measured. Published figures and targets are there where the data is theirs."""
    rows, with_published = [], False
    for entrant in protocol.entrants():
        own = [outcome for outcome in outcomes if outcome.entrant == entrant.name]
        with_published |= bench.data(entrant.split).name == protocol.published_on
        if own:
            rows.append(Row(entrant.name, entrant.kind, _cells(own), len(own), own[0].measured.note))
    rows.sort(key=lambda row: row.kind != Kind.OURS)
    verdicts = tuple(_verdict(target, protocol, rows) for target in protocol.targets) if with_published else ()
    if with_published:
        rows += [
            Row(anchor.name, PUBLISHED, {name: Cell(value) for name, value in anchor.metrics.items()}, 0, anchor.source)
            for anchor in protocol.anchors
        ]
    return Summary(protocol, tuple(rows), verdicts, tuple(outcomes))


def _cells(outcomes: Sequence[Outcome]) -> dict[str, Cell]:
    columns: dict[str, list[float]] = {}
    for outcome in outcomes:
        measured = outcome.measured
        training = {"seconds": measured.seconds, "samples_per_second": measured.samples_per_second}
        for name, value in {**measured.metrics, **training}.items():
            if value is not None:
                columns.setdefault(name, []).append(value)
    return {name: Cell.of(values) for name, values in columns.items()}


def _verdict(target: Target, protocol: Protocol, rows: Sequence[Row]) -> Verdict:
    metric = next(metric for metric in (*protocol.metrics, SPEED) if metric.name == target.metric)

    def best(candidates: list[Row]) -> Row | None:
        measured = [row for row in candidates if metric.name in row.cells]
        sign = 1 if metric.higher_is_better else -1
        return max(measured, key=lambda row: sign * row.cells[metric.name].mean, default=None)

    bound = target.bound
    rival = best([row for row in rows if row.kind == Kind.BASELINE and row.name in (target.baselines or (row.name,))])
    if target.times_baseline is not None and rival is not None:
        multiple = target.times_baseline * rival.cells[metric.name].mean
        bound = multiple if metric.better(multiple, bound) else bound
    ours = best([row for row in rows if row.name in target.entrants])
    if ours is None:
        return Verdict(target, metric, bound)
    return Verdict(target, metric, bound, ours.name, ours.cells[metric.name].mean)
