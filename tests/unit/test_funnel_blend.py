"""The blend that orders recall's candidates: it finds the voices that tell, and its probabilities can be believed."""

import numpy as np
import pytest
from numpy.typing import NDArray

from recstack.data import synthetic_world
from services.trainer.tasks.funnel_blend import FunnelBlend, demand_after, fit_funnel_blend

CASES, CANDIDATES, FEATURES = 300, 40, 8


def world(seed: int = 0) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32], NDArray[np.bool_]]:
    """Likes decided by two voices (log odds 1.5 a + 0.5 b - 3); a third is noise, a fourth speaks against them."""
    random = np.random.default_rng(seed)
    a, b, noise = (random.standard_normal((CASES, CANDIDATES)).astype(np.float32) for _ in range(3))
    demand = random.standard_normal((CASES, CANDIDATES, FEATURES)).astype(np.float32)
    chance = 1 / (1 + np.exp(3 - 1.5 * a - 0.5 * b - demand[..., 0]))
    liked = random.random((CASES, CANDIDATES)) < chance
    return {"a": a, "b": b, "noise": noise, "against": -a + noise}, demand, liked


def test_voices_get_the_weights_that_made_the_likes() -> None:
    raw, demand, liked = world()
    blend = fit_funnel_blend({name: raw[name] for name in ("a", "b")}, demand, liked)
    assert blend.weights["a"] == pytest.approx(1.5, rel=0.15)
    assert blend.weights["b"] == pytest.approx(0.5, rel=0.25)
    assert blend.demand_weights_F[0] == pytest.approx(1.0, rel=0.2)
    assert np.abs(blend.demand_weights_F[1:]).max() < 0.15


def test_a_voice_that_speaks_against_the_likes_is_left_out() -> None:
    raw, demand, liked = world()
    blend = fit_funnel_blend({name: raw[name] for name in ("b", "against")}, demand, liked)
    assert list(blend.weights) == ["b"]


def test_sigmoid_of_the_score_is_the_share_of_likes() -> None:
    raw, demand, liked = world()
    blend = fit_funnel_blend(raw, demand, liked)
    new_raw, new_demand, new_liked = world(seed=1)
    chance = 1 / (1 + np.exp(-blend.scores(new_raw, new_demand)))
    for low, high in ((0.0, 0.05), (0.05, 0.2), (0.2, 0.5), (0.5, 1.0)):
        band = (chance >= low) & (chance < high)
        assert new_liked[band].mean() == pytest.approx(chance[band].mean(), abs=0.04)


def test_cases_without_a_like_change_nothing_of_the_order() -> None:
    raw, demand, liked = world()
    liked[::3] = False
    taught = liked.any(axis=1)
    all_cases = fit_funnel_blend(raw, demand, liked)
    some = fit_funnel_blend({name: column[taught] for name, column in raw.items()}, demand[taught], liked[taught])
    assert all_cases.weights == pytest.approx(some.weights)


def test_the_trend_is_the_item_part_of_the_score() -> None:
    dataset = synthetic_world(seed=2, users=40, items=60, events=1_000)
    blend = FunnelBlend({}, np.arange(FEATURES, dtype=np.float32), -1.5)
    known = len(dataset.events) // 2
    items = np.arange(60)[None]
    scores = blend.scores({}, demand_after(dataset, known)[items])
    trend = blend.trend(dataset, known)
    np.testing.assert_allclose(trend.get_buffer("scores")[1:].numpy(), scores[0], rtol=1e-5)
    assert float(trend.get_buffer("scores")[0]) == -1.5
