"""What a protocol is: its metrics, the figures others published under it, its targets, and who takes part."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from services.trainer.evaluation.bench import Bench
from services.trainer.evaluation.details import Details
from services.trainer.evaluation.entrant import Entrant
from services.trainer.evaluation.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Metric:
    """A column: its key in `Measurement.metrics`, its heading, and which way is better."""

    name: str
    label: str
    higher_is_better: bool = True

    def better(self, value: float, than: float) -> bool:
        """Whether `value` is at least as good."""
        return value >= than if self.higher_is_better else value <= than


@dataclass(frozen=True, slots=True)
class Anchor:
    """A figure that others reached, and who says so. Not computed here."""

    name: str
    source: str
    metrics: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What a model of ours is to reach.

    entrants: names that count, of which the best mean decides. metric: a metric of the protocol, or
    "samples_per_second". bound: the value to reach. times_baseline: where given, the bound is this multiple of the
    best baseline's mean (of `baselines` if named) when that is more demanding.
    """

    entrants: tuple[str, ...]
    metric: str
    bound: float = 0.0
    times_baseline: float | None = None
    baselines: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """A way of judging. `metrics[0]` is the primary one; `entrants` are made when asked for, as that loads the models.

    note: split, label, and what is read. anchors and targets hold for the dataset named in `published_on` only.
    details: (bench, outcome) -> what the plots show of an outcome.
    """

    id: str
    title: str
    note: str
    metrics: tuple[Metric, ...]
    entrants: Callable[[], tuple[Entrant, ...]]
    anchors: tuple[Anchor, ...] = ()
    targets: tuple[Target, ...] = ()
    details: Callable[[Bench, Outcome], Details] | None = None
    published_on: str = "ml-1m"
