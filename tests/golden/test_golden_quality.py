"""Every model still learns what it learnt when golden.json was written: a silent drop in quality fails the build.

A jump fails too: it is a leak until somebody has understood it. See regenerate.py for meant changes.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from recstack.data.dataset import Dataset
from services.trainer.trainers import TRAINERS
from tests.golden.regenerate import GOLDEN
from tests.golden.runs import SMALL, golden_run, golden_world, with_shuffled_ratings

Golden = dict[str, dict[str, dict[str, float]]]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As when golden.json was written; the order of sums depends on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def world() -> Dataset:
    return golden_world()


@pytest.fixture(scope="module")
def golden() -> Golden:
    values: Golden = json.loads(GOLDEN.read_text())
    return values


def departures(figures: dict[str, float], golden: dict[str, dict[str, float]]) -> list[str]:
    """The figures that are further from their golden value than the tolerance allows."""
    return [
        f"{name} is {figures[name]:.4f}, golden {expected['value']:.4f} ± {expected['tolerance']}"
        for name, expected in golden.items()
        if not abs(figures[name] - expected["value"]) <= expected["tolerance"]
    ]


def test_every_model_has_golden_figures(golden: Golden) -> None:
    assert set(golden) == set(SMALL) == set(TRAINERS)
    assert all(golden.values())


@pytest.mark.parametrize("model", sorted(SMALL))
def test_quality_is_what_it_was(model: str, golden: Golden, world: Dataset, tmp_path: Path) -> None:
    assert departures(golden_run(model, world, tmp_path), golden[model]) == []


@pytest.mark.parametrize("model", sorted(SMALL))
def test_a_model_that_learns_nothing_would_be_found(model: str, golden: Golden, world: Dataset, tmp_path: Path) -> None:
    figures = golden_run(model, with_shuffled_ratings(world), tmp_path, judged_on=world)
    assert departures(figures, golden[model]) != []
