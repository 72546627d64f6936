"""Protocol F1: recall's order has lift 1, a perfect one reaches the ceiling, spreading genres spreads them."""

import numpy as np
import pytest
from numpy.typing import NDArray

from recstack.data import Dataset, UserSequences, synthetic_world, temporal_split
from recstack.evaluation.retrieval_cases import RetrievalCases
from recstack.evaluation.retrieval_metrics import rank_unseen
from services.trainer.evaluation import funnel
from services.trainer.evaluation.funnel import TOP, Pool, funnel_metrics


@pytest.fixture(scope="module")
def world() -> Dataset:
    return synthetic_world(seed=9, users=300, items=200, events=12_000)


@pytest.fixture(scope="module")
def pool(world: Dataset) -> Pool:
    split = temporal_split(world)
    cases = RetrievalCases.build(world, UserSequences.build(world.events, len(world.users.ids)), split.test)
    scores_QI = np.random.default_rng(0).random((len(cases), len(world.items.ids)), np.float32)
    return Pool(cases, rank_unseen(scores_QI, cases.seen, 100), split.test.start)


def metrics(scores_QC: NDArray[np.floating], pool: Pool, world: Dataset) -> dict[str, float]:
    return funnel_metrics(funnel._ordered(scores_QC, pool), pool, world.items.genres)


def test_recalls_own_order_has_no_lift(world: Dataset, pool: Pool) -> None:
    found = funnel_metrics(pool.items_QC, pool, world.items.genres)
    assert found["lift"] == pytest.approx(1.0)
    assert found["recall@20"] < found["ceiling"] < 1


def test_a_perfect_order_finds_what_20_places_can_hold(world: Dataset, pool: Pool) -> None:
    liked_QC = pool.cases.liked_of(pool.items_QC)
    found = metrics(liked_QC.astype(float), pool, world)
    places = np.minimum(liked_QC.sum(axis=1), TOP) / np.diff(pool.cases.truth.indptr)
    assert found["recall@20"] == pytest.approx(places.mean())
    assert found["lift"] > 1
    assert metrics(-liked_QC.astype(float), pool, world)["lift"] < 1


def test_spreading_genres_makes_the_first_20_less_alike_and_loses_no_item(world: Dataset, pool: Pool) -> None:
    scores_QC = np.random.default_rng(1).random(pool.items_QC.shape)
    ranked_QC = funnel._ordered(scores_QC, pool)
    spread_QC = funnel._spread(ranked_QC, scores_QC, world.items.genres, 0.5)
    np.testing.assert_array_equal(np.sort(spread_QC), np.sort(ranked_QC))
    before, after = (funnel_metrics(items_QC, pool, world.items.genres) for items_QC in (ranked_QC, spread_QC))
    assert after["sameness"] < before["sameness"]
    np.testing.assert_array_equal(funnel._spread(ranked_QC, scores_QC, world.items.genres, 1e-12), ranked_QC)
