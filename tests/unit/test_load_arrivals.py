"""Poisson arrivals: their statistics, and that nothing is skipped by a loop that is late."""

import time

import numpy as np
import pytest

from tests.load.arrivals import pace, poisson


def test_gaps_are_exponential() -> None:
    moments = np.array(list(poisson(rate=100.0, seconds=500.0, seed=3)))
    gaps = np.diff(moments, prepend=0.0)
    assert (gaps > 0).all()
    assert moments[-1] < 500.0
    assert len(moments) == pytest.approx(50_000, abs=4 * np.sqrt(50_000))
    assert gaps.mean() == pytest.approx(0.01, rel=0.02)
    assert gaps.std() == pytest.approx(0.01, rel=0.03)  # an exponential's deviation equals its mean
    assert np.quantile(gaps, 0.5) == pytest.approx(0.01 * np.log(2), rel=0.03)
    assert np.corrcoef(gaps[:-1], gaps[1:])[0, 1] == pytest.approx(0.0, abs=0.02)


def test_counts_of_two_workers_together_are_poisson() -> None:
    moments = np.concatenate([list(poisson(20.0, 1000.0, seed=f"7/{worker}")) for worker in range(2)])
    counts = np.bincount(moments.astype(int), minlength=1000)
    assert counts.mean() == pytest.approx(40.0, rel=0.03)
    assert counts.var() / counts.mean() == pytest.approx(1.0, abs=0.15)


def test_a_schedule_is_the_seeds() -> None:
    assert list(poisson(50, 5, 1)) == list(poisson(50, 5, 1))
    assert list(poisson(50, 5, 1)) != list(poisson(50, 5, 2))


async def test_a_late_loop_skips_nothing_and_keeps_intended_times() -> None:
    start = time.monotonic() - 10.0  # ten seconds late
    moments = [0.0, 0.5, 0.75, 9.0]
    assert [intended async for intended in pace(moments, start)] == [start + moment for moment in moments]


async def test_nothing_is_sent_before_it_is_due() -> None:
    start = time.monotonic()
    async for intended in pace([0.01, 0.02, 0.05], start):
        assert time.monotonic() >= intended - 0.001
