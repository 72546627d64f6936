"""SimpleCF: its score by hand, its tables and where they come from, and what unknown users get."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recstack.errors import InvalidRequestError
from recstack.features.batch import user_batch
from recstack.features.catalogue import ItemTable
from recstack.models.ranker import Prediction
from recstack.models.simple_cf import SimpleCF, SimpleCFConfig
from recstack.models.storage import load_model, save_model

PLAIN = SimpleCFConfig(num_users=4, num_items=6, factors=3)
BIASED = dataclasses.replace(PLAIN, biases=True)
TABLE = ItemTable(torch.zeros(7, dtype=torch.int64), torch.zeros(7, 6, dtype=torch.int64))


def biased_model() -> SimpleCF:
    model = SimpleCF(BIASED)
    with torch.no_grad():
        model.mean.fill_(3.5)
        model.user_biases.weight.normal_()
        model.item_biases.weight.normal_()
    return model


def served_scores(model: SimpleCF, users: list[int], items: list[int]) -> Tensor:
    """[B, N] scores as the ranking service computes them."""
    empty = [np.empty(0, np.int64)] * len(users)
    ratings = [np.empty(0, np.float32)] * len(users)
    batch = user_batch(np.zeros((len(users), 4), np.int64), empty, ratings, model.config.max_history, np.array(users))
    vectors_IE = model.encode_items(TABLE)
    candidates_BNE = vectors_IE[torch.tensor(items)].expand(len(users), -1, -1)
    return model.score(model.encode_users(batch, vectors_IE), candidates_BNE)


def test_the_plain_score_is_the_dot_product() -> None:
    model = SimpleCF(PLAIN)
    users, items = model.user_embeddings.weight, model.item_embeddings.weight
    torch.testing.assert_close(served_scores(model, [1, 4], [2, 6]), users[[1, 4]] @ items[[2, 6]].T)


def test_the_biased_score_adds_mean_and_biases() -> None:
    model = biased_model()
    expected = (
        3.5
        + model.user_biases.weight[2, 0]
        + model.item_biases.weight[5, 0]
        + model.user_embeddings.weight[2] @ model.item_embeddings.weight[5]
    )
    torch.testing.assert_close(served_scores(model, [2], [5]), expected.reshape(1, 1))


@pytest.mark.parametrize("make", [lambda: SimpleCF(PLAIN), biased_model])
def test_pairs_are_scored_as_candidates_are(make: type[SimpleCF]) -> None:
    model = make()
    torch.testing.assert_close(
        model(torch.tensor([1, 3]), torch.tensor([2, 2])), served_scores(model, [1, 3], [2]).squeeze(1)
    )


def test_predictions_are_ratings_or_probabilities() -> None:
    raw = torch.tensor([[-3.0, 3.0, 9.0]])
    rating, like = SimpleCF(PLAIN), SimpleCF(dataclasses.replace(PLAIN, binary=True))
    assert rating.prediction is Prediction.RATING
    assert like.prediction is Prediction.LIKE
    assert rating.predict(raw).tolist() == [[1.0, 3.0, 5.0]]
    torch.testing.assert_close(like.predict(raw), raw.sigmoid())


def test_tables_are_filled_by_the_named_function() -> None:
    config = dataclasses.replace(PLAIN, init="constant_", init_arguments={"val": 0.25})
    assert (SimpleCF(config).item_embeddings.weight == 0.25).all()
    torch.manual_seed(0)
    wide = SimpleCF(SimpleCFConfig(num_users=5_000, num_items=6)).user_embeddings.weight
    assert wide.mean().item() == pytest.approx(0.0, abs=0.01)
    assert wide.std().item() == pytest.approx(0.1, abs=0.01)


def test_pretrained_tables_are_taken_and_frozen_ones_are_not_trained() -> None:
    users, items = torch.randn(5, 3), torch.randn(7, 3)
    model = SimpleCF(PLAIN, users, items, freeze_items=True)
    model(torch.tensor([1, 2]), torch.tensor([3, 4])).sum().backward()
    torch.testing.assert_close(model.user_embeddings.weight.detach(), users)
    torch.testing.assert_close(model.item_embeddings.weight, items)
    assert model.user_embeddings.weight.grad is not None
    assert model.item_embeddings.weight.grad is None


def test_warm_start_takes_what_fits() -> None:
    class Towers(nn.Module):
        """Another collaborative model: no user table, its items as a plain tensor."""

        item_embeddings = torch.randn(7, 3)

    model = SimpleCF(PLAIN)
    before = model.user_embeddings.weight.clone()
    assert model.warm_start_from(Towers()) == ("item_embeddings",)
    torch.testing.assert_close(model.item_embeddings.weight.detach(), Towers.item_embeddings)
    torch.testing.assert_close(model.user_embeddings.weight, before)
    assert SimpleCF(PLAIN).warm_start_from(model) == ("user_embeddings", "item_embeddings")


def test_a_warm_start_without_anything_in_common_says_what_is_missing() -> None:
    other = SimpleCF(dataclasses.replace(PLAIN, factors=5))
    with pytest.raises(InvalidRequestError, match=r"user_embeddings \[5, 5\].*takes user_embeddings \[5, 3\]"):
        SimpleCF(PLAIN).warm_start_from(other)
    with pytest.raises(InvalidRequestError, match="no user_embeddings"):
        SimpleCF(PLAIN).warm_start_from(nn.Linear(2, 2))


def test_what_training_never_saw_gets_the_mean_row() -> None:
    model = biased_model()
    users, items = torch.tensor([0, 1, 1, 0, 0]).bool(), torch.tensor([0, 1, 1, 1, 1, 1, 0]).bool()
    known = model.user_embeddings.weight[1:3].clone()
    model.generalise(users, items)
    table = model.user_embeddings.weight
    torch.testing.assert_close(table[1:3], known)
    for row in (0, 3, 4):
        torch.testing.assert_close(table[row], known.mean(0))
    torch.testing.assert_close(model.item_biases.weight[6], model.item_biases.weight[1:6].mean(0))


def test_saved_models_come_back(tmp_path: Path) -> None:
    model = biased_model()
    save_model(tmp_path, "simple_cf", model)
    loaded = load_model(tmp_path, {"simple_cf": (SimpleCF, SimpleCFConfig)})
    assert loaded.config == model.config
    torch.testing.assert_close(served_scores(loaded, [0, 2], [1, 5]), served_scores(model, [0, 2], [1, 5]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"factors": 0}, "factors is 0"),
        ({"init": "normal"}, "'normal'; it must name a function of torch.nn.init"),
        ({"init_arguments": {"width": 1.0}}, "does not take"),
    ],
)
def test_a_wrong_config_is_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        SimpleCF(dataclasses.replace(PLAIN, **change))


def test_a_pretrained_table_of_another_size_is_named() -> None:
    with pytest.raises(InvalidRequestError, match=r"item_embeddings is \[6, 3\], expected \[7, 3\]"):
        SimpleCF(PLAIN, item_embeddings=torch.zeros(6, 3))
