"""The executor with in-memory components: order, failure policies, deadlines, conservation."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recstack.errors import DeadlineError, OverloadedError, RecStackError, UnavailableError
from services.gateway.filters.already_watched import AlreadyWatched
from services.gateway.filters.candidate_limit import CandidateLimit
from services.gateway.filters.excluded_items import ExcludedItems
from services.gateway.filters.not_recalled import NotRecalled
from services.gateway.pipeline.candidates import ItemColumns, Scores
from services.gateway.pipeline.deadline import Deadline
from services.gateway.pipeline.executor import Executor, Outcome
from services.gateway.pipeline.merge import ChannelList
from services.gateway.pipeline.query import Constraints, Query, User
from services.gateway.pipeline.stages import Fallback, Optional, Pipeline, Required, Step, component_name
from services.gateway.scorers.recall_order import RecallOrder
from services.gateway.selectors.genre_diversity import GenreDiversity

NO_IDS = np.empty(0, np.int64)


@dataclass
class InMemory:
    """A component that may be switched off, fail, or stay silent until it is cancelled."""

    error: Exception | None = None
    silent: bool = False
    enabled: bool = True
    cancelled: bool = False
    time_given: float = 0.0
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    def enable(self, query: Query) -> bool:
        return self.enabled

    async def act(self, query: Query) -> None:
        self.time_given = query.deadline.remaining()
        self.reached.set()
        if self.error is not None:
            raise self.error
        if self.silent:
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled = True


@dataclass
class KnownUser(InMemory):
    seen: Sequence[int] = ()

    async def run(self, query, trace):
        await self.act(query)
        return replace(query, user=User(seen_item_ids=np.array(sorted(set(self.seen)), np.int64)))


@dataclass
class ListSource(InMemory):
    ids: Sequence[int] = (1, 2, 3)
    channel: int = 1

    async def run(self, query, trace):
        await self.act(query)
        ids = np.array(self.ids, np.int64)
        return [ChannelList(self.channel, 10, ids, np.ones(len(ids), np.float32), NO_IDS)]


@dataclass
class SpareSource(ListSource):
    pass


@dataclass
class Catalogue(InMemory):
    asked: list[int] = field(default_factory=list)

    async def run(self, query, item_ids, trace):
        await self.act(query)
        self.asked.append(len(item_ids))
        return ItemColumns.unknown(len(item_ids))


@dataclass
class ByItemId(InMemory):
    """Scores an item by its id; `extra` rows break the contract."""

    extra: int = 0

    async def run(self, query, candidates, rows, trace):
        await self.act(query)
        return Scores(np.append(candidates.item_id[rows], np.zeros(self.extra)).astype(np.float32))


def executor(*, reserve_ms: float = 0, **parts) -> Executor:
    pipeline = Pipeline(
        query_hydrators=parts.get("query_hydrators", (Step(KnownUser(), Required()),)),
        sources=parts.get("sources", (Step(ListSource(), Required()),)),
        constraint_hydrator=Step(Catalogue(enabled=False), Required()),
        filters=(AlreadyWatched(), ExcludedItems(), NotRecalled(), CandidateLimit(parts.get("max_candidates", 500))),
        scorer=parts.get("scorer", Step(ByItemId(), Required())),
        display_hydrator=parts.get("display", Step(Catalogue(), Optional("titles left out"))),
        selector=GenreDiversity(0.1),
    )
    return Executor(pipeline, reserve_ms)


def query(k: int = 2, seconds: float = 60, explained: Sequence[int] = (), **limits) -> Query:
    return Query(
        user_id=1,
        k=k,
        request_id="test",
        deadline=Deadline.after(seconds),
        constraints=Constraints(**limits),
        explained_item_ids=np.array(explained, np.int64),
    )


def selected_ids(outcome: Outcome) -> list[int]:
    return outcome.candidates.item_id[outcome.selected].tolist()


async def test_runs_all_stages_in_order_and_times_them() -> None:
    outcome = await executor().run(query())

    assert selected_ids(outcome) == [3, 2]
    stages = [name for name, _ in outcome.trace.timings if "/" not in name]
    assert stages == ["hydrate", "sources", "merge", "constraints", "filters", "score", "display", "select", "total"]
    components = {name for name, _ in outcome.trace.timings if "/" in name}
    assert {"hydrate/known_user", "sources/list_source", "score/by_item_id", "display/catalogue"} <= components
    assert all(duration >= 0 for _, duration in outcome.trace.timings)
    assert outcome.trace.degraded == []


async def test_a_failed_optional_component_is_told_and_does_no_harm() -> None:
    outcome = await executor(display=Step(Catalogue(RecStackError("disk on fire")), Optional("titles left out"))).run(
        query()
    )

    assert selected_ids(outcome) == [3, 2]
    assert outcome.trace.degraded == ["catalogue: disk on fire; titles left out"]


async def test_a_failed_required_component_fails_the_request_with_its_own_error() -> None:
    with pytest.raises(OverloadedError, match="queue is full"):
        await executor(scorer=Step(ByItemId(OverloadedError("queue is full")), Required())).run(query())


async def test_a_slow_required_component_is_a_deadline_error() -> None:
    slow = ByItemId(silent=True)

    with pytest.raises(DeadlineError, match=r"by_item_id: deadline exceeded after \d+ ms"):
        await executor(scorer=Step(slow, Required(), share=0.01)).run(query(seconds=2))

    assert slow.cancelled


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (ByItemId(UnavailableError("ranking is down")), "by_item_id: ranking is down; recall order used"),
        (ByItemId(extra=1), "by_item_id: internal error, see the gateway's log; recall order used"),
        (ByItemId(ZeroDivisionError("secret")), "by_item_id: internal error, see the gateway's log; recall order used"),
    ],
    ids=["typed error", "wrong shape", "bug"],
)
async def test_the_fallback_takes_over(broken: ByItemId, reason: str) -> None:
    outcome = await executor(scorer=Step(broken, Fallback(RecallOrder(), "recall order used"))).run(query())

    assert selected_ids(outcome) == [1, 2]
    assert outcome.trace.degraded == [reason]


async def test_a_slow_component_is_cut_off_and_leaves_time_for_the_rest() -> None:
    slow, display = ByItemId(silent=True), Catalogue()
    parts = {
        "scorer": Step(slow, Fallback(RecallOrder(), "recall order used"), share=0.5),
        "display": Step(display, Optional("titles left out")),
    }

    outcome = await executor(**parts, reserve_ms=100).run(query(seconds=0.5))

    assert slow.cancelled
    assert outcome.trace.degraded[0].startswith("by_item_id: deadline exceeded after ")
    assert slow.time_given <= 0.2, "half of what is left after the reserve"
    assert display.asked == [3]
    assert outcome.query.deadline.remaining() > 0


async def test_when_the_fallback_fails_too_everything_that_failed_is_named() -> None:
    sources = (
        Step(
            ListSource(UnavailableError("retrieval is down")),
            Fallback(SpareSource(UnavailableError("empty")), "spare list used"),
        ),
    )

    with pytest.raises(UnavailableError, match=r"list_source: retrieval is down \| spare_source: empty"):
        await executor(sources=sources).run(query())


async def test_the_sources_that_answered_are_taken_and_the_others_cancelled() -> None:
    slow = SpareSource(silent=True, channel=2)
    sources = (Step(ListSource(), Required()), Step(slow, Optional("left out"), share=0.02))

    outcome = await executor(sources=sources).run(query(seconds=2))

    assert slow.cancelled
    assert selected_ids(outcome) == [3, 2]
    assert outcome.trace.degraded[0].startswith("spare_source: deadline exceeded after ")


async def test_a_failed_required_source_cancels_the_others() -> None:
    slow = SpareSource(silent=True)
    sources = (Step(ListSource(OverloadedError("queue is full")), Required()), Step(slow, Required()))

    with pytest.raises(OverloadedError):
        await executor(sources=sources).run(query())
    await asyncio.sleep(0)  # the cancellation is delivered at the next turn of the loop

    assert slow.cancelled


async def test_cancelling_the_request_cancels_what_runs() -> None:
    slow = ListSource(silent=True)
    task = asyncio.create_task(executor(sources=(Step(slow, Required()),)).run(query()))
    await slow.reached.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert slow.cancelled


async def test_components_that_are_not_enabled_are_left_alone() -> None:
    off = ListSource(RecStackError("must not run"), enabled=False)

    outcome = await executor(sources=(Step(off, Required()), Step(SpareSource(ids=(8,)), Required()))).run(query())

    assert selected_ids(outcome) == [8]


async def test_display_features_are_read_for_the_pool_only() -> None:
    display = Catalogue()
    parts = {"sources": (Step(ListSource(ids=range(1, 501)), Required()),), "display": Step(display, Required())}

    await executor(**parts).run(query(k=20))

    assert display.asked == [60]


async def test_explaining_items_does_not_change_the_answer() -> None:
    parts = {
        "query_hydrators": (Step(KnownUser(seen=(2,)), Required()),),
        "sources": (Step(ListSource(ids=range(1, 11)), Required()),),
    }
    plain = await executor(**parts).run(query(k=3))
    explained = await executor(**parts).run(query(k=3, explained=(2, 99, 5)))

    assert selected_ids(explained) == selected_ids(plain)
    rows = explained.candidates.rows_of(np.array([2, 99, 5]))
    reasons = [executor().pipeline.drop_reason(int(r)) for r in explained.candidates.drop_reason[rows]]
    assert reasons == ["already_watched", "not_recalled", ""]
    assert explained.candidates.score[rows].tolist() == [2, 99, 5], "scored although dropped"


async def test_nothing_left_is_an_empty_answer() -> None:
    outcome = await executor(query_hydrators=(Step(KnownUser(seen=(1, 2, 3)), Required()),)).run(query())

    assert selected_ids(outcome) == []
    assert len(outcome.candidates) == 3, "dropped candidates stay visible"


ids = st.lists(st.integers(1, 50), unique=True, max_size=30)


@settings(deadline=None)
@given(
    lists=st.lists(ids, min_size=1, max_size=4), seen=ids, excluded=ids, k=st.integers(1, 20), limit=st.integers(1, 40)
)
def test_candidates_are_conserved_whatever_is_dropped(
    lists: list[list[int]], seen: list[int], excluded: list[int], k: int, limit: int
) -> None:
    parts = {
        "query_hydrators": (Step(KnownUser(seen=seen), Required()),),
        "sources": tuple(Step(ListSource(ids=one, channel=c + 1), Required()) for c, one in enumerate(lists)),
        "max_candidates": limit,
    }

    outcome = asyncio.run(executor(**parts).run(query(k=k, exclude_item_ids=np.array(excluded, np.int64))))

    candidates, answer = outcome.candidates, selected_ids(outcome)
    assert sorted(candidates.item_id.tolist()) == sorted(set().union(*lists))
    servable = set().union(*lists) - set(seen) - set(excluded)
    assert candidates.kept.sum() == min(limit, len(servable))
    assert len(set(answer)) == len(answer) == min(k, limit, len(servable))
    assert set(answer) <= servable
    assert (np.isnan(candidates.score) == ~candidates.kept).all(), "exactly the kept are scored"


def test_names_follow_the_class() -> None:
    assert component_name(AlreadyWatched()) == "already_watched"
    assert component_name(ByItemId()) == "by_item_id"


@pytest.mark.parametrize("share", [0, -0.1, 1.5])
def test_a_share_outside_its_range_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"share of by_item_id"):
        Step(ByItemId(), Required(), share=share)
