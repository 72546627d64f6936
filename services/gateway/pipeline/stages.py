"""The contracts between the executor and its components, and the failure policy that stands next to each of them.

A component is one class in one file; its name in timings, degradations and drop reasons is the class name in snake
case. `enable` says whether a component has anything to do for a query. Hydrators and scorers return one value per row,
in order, and never drop; only filters drop, by returning what they keep. No component changes the columns it is given.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from services.gateway.pipeline.candidates import Candidates, ItemColumns, Scores
from services.gateway.pipeline.merge import ChannelList
from services.gateway.pipeline.query import Query
from services.gateway.pipeline.trace import Trace


class Component(Protocol):
    """What every component has."""

    def enable(self, query: Query) -> bool:
        """Whether the component has work to do for this query."""
        ...


class QueryHydrator(Component, Protocol):
    """Adds to the query what is known of the user."""

    async def run(self, query: Query, trace: Trace) -> Query:
        """The query with more fields filled in."""
        ...


class Source(Component, Protocol):
    """Recalls candidates through one or more channels."""

    async def run(self, query: Query, trace: Trace) -> Sequence[ChannelList]:
        """One list per channel that answered."""
        ...


class CandidateHydrator(Component, Protocol):
    """Reads features of items."""

    async def run(self, query: Query, item_ids: NDArray[np.int64], trace: Trace) -> ItemColumns:
        """Features of each of `item_ids`, in order."""
        ...


class Filter(Component, Protocol):
    """Decides which candidates stay. Local and pure, so it has no failure policy."""

    def run(self, query: Query, candidates: Candidates) -> NDArray[np.bool_]:
        """[N] True for candidates to keep."""
        ...


class Scorer(Component, Protocol):
    """Scores candidates, higher is better."""

    async def run(self, query: Query, candidates: Candidates, rows: NDArray[np.intp], trace: Trace) -> Scores:
        """One finite score for each of `rows`, in order."""
        ...


class Selector(Component, Protocol):
    """Chooses the answer out of the best-scored candidates. Local and pure."""

    def pool_size(self, query: Query) -> int:
        """How many of the best candidates it wants to choose from, >= k; only these get display features."""
        ...

    def run(self, query: Query, candidates: Candidates, pool: NDArray[np.intp]) -> NDArray[np.intp]:
        """At most k distinct rows out of `pool` (best score first), in order of presentation."""
        ...


ComponentT = TypeVar("ComponentT", bound=Component)


@dataclass(frozen=True, slots=True)
class Required:
    """Without this component there is no answer: its error becomes the request's."""


@dataclass(frozen=True, slots=True)
class Optional:
    """Without this component the answer is poorer; `consequence` tells people how."""

    consequence: str


@dataclass(frozen=True, slots=True)
class Fallback(Generic[ComponentT]):
    """Another component does the work. It must be local: it runs without a time limit, after the time is spent."""

    component: ComponentT
    consequence: str


@dataclass(frozen=True, slots=True)
class Step(Generic[ComponentT]):
    """A component, what to do when it fails, and the largest share (0..1] of the remaining time that it may use."""

    component: ComponentT
    failure: Required | Optional | Fallback[ComponentT]
    share: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share of {component_name(self.component)} is {self.share}; it must be in (0, 1]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """The components of a recommendation in the order in which they run."""

    query_hydrators: tuple[Step[QueryHydrator], ...]
    sources: tuple[Step[Source], ...]
    constraint_hydrator: Step[CandidateHydrator]
    filters: tuple[Filter, ...]
    scorer: Step[Scorer]
    display_hydrator: Step[CandidateHydrator]
    selector: Selector

    def drop_reason(self, reason: int) -> str:
        """Name of the filter behind a value of `Candidates.drop_reason`; empty for a kept candidate."""
        return component_name(self.filters[reason - 1]) if reason else ""


def component_name(component: Component) -> str:
    """Snake case of the class name, which is also its file name: AlreadyWatched -> "already_watched"."""
    return _snake_case(type(component).__name__)


@cache
def _snake_case(class_name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", class_name).lower()
