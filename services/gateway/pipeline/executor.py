"""Executes a pipeline: hydrate -> sources -> merge -> constraints -> filters -> score -> display -> select.

Knows stages, deadlines and columns; knows nothing of gRPC, of protobuf messages or of what a component does.
"""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from services.gateway.pipeline.candidates import Candidates, ItemColumns, Scores
from services.gateway.pipeline.merge import ChannelList, merge
from services.gateway.pipeline.query import Query
from services.gateway.pipeline.runner import run_step
from services.gateway.pipeline.stages import (
    CandidateHydrator,
    Pipeline,
    QueryHydrator,
    Scorer,
    Source,
    Step,
    component_name,
)
from services.gateway.pipeline.trace import Trace

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Everything about one answered query; `selected` [<= k] are rows of `candidates`, in order of presentation."""

    query: Query
    candidates: Candidates
    selected: NDArray[np.intp]
    trace: Trace


class Executor:
    """Runs one pipeline for many queries at a time. `reserve_ms` of every deadline is kept to build the answer."""

    def __init__(self, pipeline: Pipeline, reserve_ms: float) -> None:
        self.pipeline = pipeline
        self._reserve = reserve_ms / 1000

    async def run(self, query: Query) -> Outcome:
        """Answer `query`. Raises RecStackError when a required component, or a component and its fallback, failed."""
        trace = Trace()
        started = time.perf_counter()
        with trace.timed("hydrate"):
            query = await self._hydrate(query, trace)
        with trace.timed("sources"):
            lists = await self._recall(query, trace)
        with trace.traced("merge"):
            candidates = merge(lists, query.explained_item_ids)
        with trace.timed("constraints"):
            candidates = await self._hydrate_constraints(query, candidates, trace)
        with trace.traced("filters"):
            candidates = self._filter(query, candidates, trace)
        with trace.timed("score"):
            candidates = await self._score(query, candidates, trace)
        pool = candidates.best_first()[: self.pipeline.selector.pool_size(query)]
        with trace.timed("display"):
            rows = self._with_explained(query, candidates, pool)
            candidates = await self._read(self.pipeline.display_hydrator, "display", query, candidates, rows, trace)
        with trace.traced("select"):
            selected = self._select(query, candidates, pool, trace)
        trace.add_timing("total", (time.perf_counter() - started) * 1000)
        return Outcome(query, candidates, selected, trace)

    async def _hydrate(self, query: Query, trace: Trace) -> Query:
        async def call(component: QueryHydrator, own: Query) -> Query:
            return await component.run(own, trace)

        deadline = query.deadline
        for step in self.pipeline.query_hydrators:
            hydrated = await run_step("hydrate", step, call, query, trace, self._reserve)
            if hydrated is not None:
                query = hydrated.due(deadline)
        return query

    async def _recall(self, query: Query, trace: Trace) -> list[ChannelList]:
        """Lists of all sources that answered by the cut-off; the others are cancelled by their deadline."""

        async def call(component: Source, own: Query) -> Sequence[ChannelList]:
            return await component.run(own, trace)

        answers = await _side_by_side(
            [run_step("sources", step, call, query, trace, self._reserve) for step in self.pipeline.sources]
        )
        return [one for answer in answers for one in answer or ()]

    async def _hydrate_constraints(self, query: Query, candidates: Candidates, trace: Trace) -> Candidates:
        """Features of the candidates whose source could not apply the caller's genre and year limits."""
        rows = np.flatnonzero(~candidates.constrained)
        return await self._read(self.pipeline.constraint_hydrator, "constraints", query, candidates, rows, trace)

    def _filter(self, query: Query, candidates: Candidates, trace: Trace) -> Candidates:
        for reason, component in enumerate(self.pipeline.filters, start=1):
            if not component.enable(query):
                continue
            with trace.timed(f"filters/{component_name(component)}"):
                keep = component.run(query, candidates)
            if keep.shape != (len(candidates),) or keep.dtype != np.bool_:
                raise ValueError(f"{component_name(component)} kept {keep.dtype}{keep.shape}; one bool per candidate")
            candidates = candidates.dropped_by(reason, keep)
        return candidates

    async def _score(self, query: Query, candidates: Candidates, trace: Trace) -> Candidates:
        rows = self._with_explained(query, candidates, np.flatnonzero(candidates.kept))
        if not len(rows):
            return candidates

        async def call(component: Scorer, own: Query) -> Scores:
            scores = await component.run(own, candidates, rows, trace)
            if scores.values.shape != rows.shape or not np.isfinite(scores.values).all():
                raise ValueError(f"got scores of shape {scores.values.shape}; expected {rows.shape}, all finite")
            return scores

        scores = await run_step("score", self.pipeline.scorer, call, query, trace, self._reserve)
        return candidates if scores is None else candidates.scored(rows, scores)

    async def _read(
        self,
        step: Step[CandidateHydrator],
        stage: str,
        query: Query,
        candidates: Candidates,
        rows: NDArray[np.intp],
        trace: Trace,
    ) -> Candidates:
        if not len(rows):
            return candidates

        async def call(component: CandidateHydrator, own: Query) -> Candidates:
            read: ItemColumns = await component.run(own, candidates.item_id[rows], trace)
            return candidates.with_items(rows, read)

        hydrated = await run_step(stage, step, call, query, trace, self._reserve)
        return candidates if hydrated is None else hydrated

    def _select(self, query: Query, candidates: Candidates, pool: NDArray[np.intp], trace: Trace) -> NDArray[np.intp]:
        selector = self.pipeline.selector
        if not selector.enable(query):
            return pool[: query.k]
        with trace.timed(f"select/{component_name(selector)}"):
            selected = selector.run(query, candidates, pool)
        distinct = set(selected.tolist())
        if len(selected) > query.k or len(distinct) < len(selected) or not distinct.issubset(pool.tolist()):
            raise ValueError(f"{component_name(selector)} selected {len(selected)} rows; at most {query.k} of its pool")
        return selected

    @staticmethod
    def _with_explained(query: Query, candidates: Candidates, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """`rows` and the rows of explained items, which are followed to the end whatever becomes of them."""
        if not len(query.explained_item_ids):
            return rows
        return np.union1d(rows, candidates.rows_of(query.explained_item_ids))


async def _side_by_side(calls: Sequence[Coroutine[Any, Any, ResultT]]) -> list[ResultT]:
    """Results in order; when one call raises, the others are cancelled. A lone call needs no task of its own."""
    if len(calls) == 1:
        return [await calls[0]]
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
