"""Who asks: Zipf's law, strangers, and the same users for the same seed."""

from collections import Counter
from random import Random

import numpy as np
import pytest

from tests.load.population import STRANGERS, Population

DRAWS = 40_000


def draws(population: Population, count: int = DRAWS) -> Counter[int]:
    random = Random(1)
    return Counter(population.draw(random) for _ in range(count))


@pytest.mark.parametrize("exponent", [0.5, 0.9, 1.3])
def test_the_user_of_rank_r_comes_in_proportion_to_r_to_the_minus_exponent(exponent: float) -> None:
    counts = draws(Population(1, 1000, exponent, unknown_share=0, seed=3))
    top = np.array([count for _, count in counts.most_common(20)])
    weights = np.arange(1, 1001) ** -exponent
    expected = DRAWS * weights[:20] / weights.sum()
    assert top.sum() == pytest.approx(expected.sum(), rel=0.05)
    assert top[0] == pytest.approx(expected[0], rel=0.2)
    assert min(counts) >= 1
    assert max(counts) <= 1000


def test_without_an_exponent_all_are_alike() -> None:
    counts = draws(Population(0, 9, 0.0, unknown_share=0, seed=0))
    assert sorted(counts) == list(range(10))
    assert min(counts.values()) > 0.9 * DRAWS / 10


def test_who_is_active_is_decided_by_the_seed() -> None:
    first = [draws(Population(1, 500, 1.0, 0, seed)).most_common(1)[0][0] for seed in (1, 1, 2)]
    assert first[0] == first[1] != first[2]


def test_strangers_are_new_and_as_many_as_asked_for() -> None:
    counts = draws(Population(1, 100, 0.9, unknown_share=0.2, seed=0))
    strangers = [user for user in counts if user >= STRANGERS]
    assert len(strangers) == pytest.approx(0.2 * DRAWS, rel=0.05)
    assert all(counts[user] == 1 for user in strangers)
    assert max(strangers) < 2**63


@pytest.mark.parametrize(
    ("arguments", "named"),
    [((5, 4, 1.0, 0.0), "5..4"), ((1, 9, -1.0, 0.0), "-1.0"), ((1, 9, 1.0, 1.5), "1.5")],
)
def test_what_cannot_be_is_refused_by_its_value(arguments: tuple[int, int, float, float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Population(*arguments, seed=0)
