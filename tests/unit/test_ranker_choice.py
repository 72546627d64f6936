"""Which ranker serves: rankers whose logits are known decide what must come out."""

from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from recstack.data import Dataset, RowSplit, synthetic_world, temporal_rows, temporal_split
from recstack.errors import InvalidRequestError
from recstack.models.ranker import Prediction, Ranker
from recstack.models.two_tower import TwoTower, TwoTowerConfig
from services.trainer.ranker_choice import Choice, choose_rankers


class Known(Ranker):
    """Knows a logit per item, whoever the user is."""

    def __init__(self, logits_I: np.ndarray, prediction: Prediction = Prediction.LIKE) -> None:
        super().__init__()
        self.prediction = prediction
        self.config = SimpleNamespace(num_items=len(logits_I), max_history=0)
        self.logits = torch.nn.Parameter(torch.from_numpy(np.concatenate([[0.0], logits_I])).float())

    def encode_items(self, table: object) -> Tensor:
        return self.logits.unsqueeze(1)

    def encode_users(self, batch: object, item_vectors_IE: Tensor) -> None:
        pass

    def score(self, state: None, candidates_BNE: Tensor, visible_BN: Tensor | None = None) -> Tensor:
        return candidates_BNE.squeeze(2)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return synthetic_world(seed=1, users=200, items=100, events=8_000)


@pytest.fixture(scope="module")
def split(dataset: Dataset) -> RowSplit:
    return temporal_rows(temporal_split(dataset))


@pytest.fixture(scope="module")
def truth(dataset: Dataset) -> np.ndarray:
    """The logit of each item's share of likes, over all events."""
    events = dataset.events
    likes = np.bincount(events.item, events.rating >= 4, len(dataset.items.ids)) + 1
    share = likes / (np.bincount(events.item, minlength=len(dataset.items.ids)) + 2)
    return np.log(share / (1 - share))


def choose(option: str, rankers: Mapping[str, Ranker], dataset: Dataset, split: RowSplit) -> Choice:
    return choose_rankers(
        option, TwoTower(TwoTowerConfig(num_items=100, width=16, vector_dim=16)).eval(), rankers, dataset, split
    )


def test_two_that_know_different_things_are_blended(dataset: Dataset, split: RowSplit, truth: np.ndarray) -> None:
    noise = np.random.default_rng(0).normal(0, 1, len(truth))
    rankers = {"dien": Known(truth + noise), "dcn": Known(truth - noise)}
    choice = choose("auto", rankers, dataset, split)
    assert set(choice.weights) == {"dien", "dcn"}
    assert choice.weights["dien"] == pytest.approx(0.5, abs=0.15)
    assert sum(choice.weights.values()) == pytest.approx(1)
    assert choice.metrics["choice/blend_logloss"] < choice.metrics["choice/dien_logloss"]
    assert f"dien {choice.weights['dien']:g} + dcn" in choice.reason


def test_one_that_only_adds_noise_is_left_out(dataset: Dataset, split: RowSplit, truth: np.ndarray) -> None:
    noise = np.random.default_rng(0).normal(0, 3, len(truth))
    rankers = {"dien": Known(noise), "dcn": Known(truth * 0.95)}
    assert choose("auto", rankers, dataset, split).weights == {"dcn": 1.0}
    assert set(choose("blend", rankers, dataset, split).weights) == {"dien", "dcn"}, "as asked, wise or not"


def test_probabilities_and_ratings_are_not_compared(dataset: Dataset, split: RowSplit, truth: np.ndarray) -> None:
    rankers = {"dien": Known(truth), "dcn": Known(truth + 3, Prediction.RATING)}
    assert choose("auto", rankers, dataset, split).weights == {"dien": 1.0}
    with pytest.raises(InvalidRequestError, match="a blend needs two rankers that predict probabilities"):
        choose("blend", rankers, dataset, split)


def test_a_funnel_weighs_every_voice_and_brings_those_it_needs(
    dataset: Dataset, split: RowSplit, truth: np.ndarray
) -> None:
    choice = choose("funnel", {"dien": Known(truth)}, dataset, split)
    assert "trend" in choice.weights
    assert set(choice.rankers) == set(choice.weights)
    assert choice.metrics["choice/funnel_ranked_ndcg@20"] > choice.metrics["choice/funnel_recall_ndcg@20"], (
        "it is untrained"
    )
    assert "trend 1" in choice.reason


def test_a_named_ranker_serves_alone(dataset: Dataset, split: RowSplit, truth: np.ndarray) -> None:
    rankers = {"dien": Known(truth), "simple_cf": Known(truth)}
    assert choose("simple_cf", rankers, dataset, split).weights == {"simple_cf": 1.0}
    with pytest.raises(InvalidRequestError, match="--ranker dcn needs dcn, there is dien and simple_cf"):
        choose("dcn", rankers, dataset, split)
