"""The GPU benchmark: its sides agree on a CPU, where graphs are stood in for, and without a GPU it says so."""

import numpy as np
import pytest
import torch
from rich.console import Console

from services.ranking.gpu import GraphedBlend
from services.ranking.gpu_buckets import Buckets
from tests.bench.gpu_scoring import Shape, compare, comparisons, eager, random_blend, random_requests, run
from tests.bench.harness import Sample
from tests.helpers.recorders import EveryCall


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so() -> None:
    with pytest.raises(SystemExit, match="no CUDA device"):
        run(Console(quiet=True), short=True)


@pytest.mark.parametrize("users", [1, 3])
def test_all_sides_score_the_same_requests(users: int) -> None:
    shape = Shape(users=users, candidates=6, steps=8, rounds=2)
    blend, requests = random_blend(items=50, steps=8, device="cpu"), random_requests(shape, items=50)
    recorder = EveryCall()
    graphed = GraphedBlend(blend, Buckets(users=(users,), candidates=(6,), history=(8,)), recorder)
    expected = eager(blend, requests)
    np.testing.assert_allclose(graphed.predict(requests.users, requests.candidates), expected, atol=1e-6)
    assert np.ptp(expected) > 1e-3
    samples, difference = compare(blend, graphed, requests, shape, compile_too=False)
    assert set(samples) == {"eager", "served"}
    assert len(samples["served"].seconds) == shape.rounds
    assert recorder.replayed > shape.rounds
    assert 0 <= difference < 1e-5


def test_goals_are_candidates_per_second_and_milliseconds() -> None:
    batch = Shape(users=32, candidates=2000, steps=100, rounds=1)
    alone = Shape(users=1, candidates=2000, steps=100, rounds=1)
    fast = {"served": Sample((0.001,)), "eager": Sample((0.01,)), "compiled": Sample((0.004,))}
    slow = {"served": Sample((0.004,)), "eager": Sample((0.01,))}
    assert [line.ratio for line in comparisons(batch, fast)] == pytest.approx([10, 4, 64e6 / 30e6])
    assert [line.reached for line in comparisons(batch, fast)] == [None, None, True]
    assert [line.reached for line in comparisons(batch, slow)] == [None, False]
    assert [line.reached for line in comparisons(alone, fast)] == [None, None, True]
    assert [line.reached for line in comparisons(alone, slow)] == [None, False]
