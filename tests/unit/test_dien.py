"""DIEN: padding, order and visibility of histories, and what an empty history leaves."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from recstack.errors import InvalidRequestError
from recstack.features.batch import UserBatch
from recstack.features.catalogue import ItemTable
from recstack.models.dien import DIEN, DIENConfig
from recstack.models.dien_notebook import NotebookDIEN, NotebookDIENConfig
from recstack.models.ranker import Ranker

ITEMS, STEPS, CANDIDATES = 30, 7, 4
LENGTHS = [7, 0, 3, 1]


SMALL = DIENConfig(num_items=ITEMS, hidden=8, attention_hidden=4)
MODELS: dict[str, Callable[[], Ranker]] = {
    "all steps": lambda: DIEN(SMALL),
    "last steps": lambda: DIEN(dataclasses.replace(SMALL, evolution_steps=3)),
    "agru": lambda: DIEN(dataclasses.replace(SMALL, evolution="agru")),
    "aigru": lambda: DIEN(dataclasses.replace(SMALL, evolution="aigru", evolution_steps=3)),
    "attention_gru": lambda: DIEN(dataclasses.replace(SMALL, evolution="attention_gru")),
    "dice": lambda: DIEN(dataclasses.replace(SMALL, activation="dice")),
    "notebook": lambda: NotebookDIEN(NotebookDIENConfig(num_items=ITEMS)),
    "notebook, three sequences": lambda: NotebookDIEN(
        NotebookDIENConfig(num_items=ITEMS, sequences=("year", "movie", "genre"), profile=("occupation",))
    ),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> Ranker:
    torch.manual_seed(3)
    model = MODELS[request.param]()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model.double().eval()


@pytest.fixture(scope="module")
def vectors(model: Ranker) -> Tensor:
    torch.manual_seed(4)
    table = ItemTable(torch.randint(0, 64, (ITEMS + 1,)), torch.randint(0, 19, (ITEMS + 1, 6)))
    with torch.no_grad():
        return model.encode_items(table)


def padded_users() -> UserBatch:
    """Users with histories of LENGTHS; padding is zero, as `user_batch` leaves it."""
    torch.manual_seed(5)
    real = torch.arange(STEPS) < torch.tensor(LENGTHS).unsqueeze(1)
    return UserBatch(
        torch.randint(0, 3, (4, 4)),
        torch.randint(1, ITEMS + 1, (4, STEPS)) * real,
        torch.randint(1, 6, (4, STEPS)) * real,
        torch.tensor(LENGTHS),
        torch.zeros(4, dtype=torch.int64),
    )


def alone(users: UserBatch, row: int, length: int) -> UserBatch:
    """One user with the first `length` steps and no padding beyond the one step that a batch always has."""
    width = max(1, length)
    items, ratings = users.items_BL[row : row + 1, :width].clone(), users.ratings_BL[row : row + 1, :width].clone()
    items[:, length:] = 0
    ratings[:, length:] = 0
    return UserBatch(
        users.profile_B4[row : row + 1], items, ratings, torch.tensor([length]), users.users_B[row : row + 1]
    )


def candidates(vectors: Tensor) -> Tensor:
    torch.manual_seed(6)
    return vectors[torch.randint(0, ITEMS + 1, (4, CANDIDATES))]


@torch.no_grad()
def test_a_padded_user_scores_as_alone(model: Ranker, vectors: Tensor) -> None:
    users, items_BNE = padded_users(), candidates(vectors)
    state = model.encode_users(users, vectors)
    logits_BN = model.score(state, items_BNE)
    for row, length in enumerate(LENGTHS):
        single = model.encode_users(alone(users, row, length), vectors)
        own_1N = model.score(single, items_BNE[row : row + 1])
        torch.testing.assert_close(own_1N[0], logits_BN[row], atol=1e-9, rtol=1e-9)


@torch.no_grad()
def test_a_candidate_that_sees_part_of_a_history_scores_as_with_that_history(model: Ranker, vectors: Tensor) -> None:
    """The training form (many targets on one encoded history) equals the served form, for every length."""
    users, items_BNE = padded_users(), candidates(vectors)
    visible_BN = torch.tensor([[0, 2, 5, 7], [0, 0, 0, 0], [3, 1, 0, 2], [1, 0, 1, 1]])
    logits_BN = model.score(model.encode_users(users, vectors), items_BNE, visible_BN)
    for row in range(len(LENGTHS)):
        for column in range(CANDIDATES):
            served = model.encode_users(alone(users, row, int(visible_BN[row, column])), vectors)
            expected = model.score(served, items_BNE[row : row + 1, column : column + 1])
            torch.testing.assert_close(logits_BN[row, column], expected[0, 0], atol=1e-9, rtol=1e-9)


def test_gradients_flow_the_same_with_and_without_recording(model: Ranker, vectors: Tensor) -> None:
    users, items_BNE = padded_users(), candidates(vectors)
    recorded = model.score(model.encode_users(users, vectors), items_BNE)
    assert recorded.requires_grad
    with torch.no_grad():
        plain = model.score(model.encode_users(users, vectors), items_BNE)
    torch.testing.assert_close(recorded.detach(), plain, atol=1e-9, rtol=1e-9)


@torch.no_grad()
def test_what_padding_holds_does_not_matter(model: Ranker, vectors: Tensor) -> None:
    users, items_BNE = padded_users(), candidates(vectors)
    padding = torch.arange(STEPS) >= users.lengths_B.unsqueeze(1)
    dirty = dataclasses.replace(users, items_BL=torch.where(padding, 9, users.items_BL))
    expected = model.score(model.encode_users(users, vectors), items_BNE)
    torch.testing.assert_close(model.score(model.encode_users(dirty, vectors), items_BNE), expected)


@torch.no_grad()
def test_scores_depend_on_order_profile_and_rating(model: Ranker, vectors: Tensor) -> None:
    users, items_BNE = padded_users(), candidates(vectors)
    logits_BN = model.score(model.encode_users(users, vectors), items_BNE)
    changes = [
        dataclasses.replace(users, items_BL=users.items_BL.flip(1), ratings_BL=users.ratings_BL.flip(1)),
        dataclasses.replace(users, profile_B4=(users.profile_B4 + 1) % 3),
    ]
    if isinstance(model, DIEN):  # the notebook's form knows what was watched, not how it was liked
        changes.append(dataclasses.replace(users, ratings_BL=(6 - users.ratings_BL) * (users.ratings_BL > 0)))
    for changed in changes:
        other_BN = model.score(model.encode_users(changed, vectors), items_BNE)
        assert (other_BN[0] - logits_BN[0]).abs().max() > 1e-3


@pytest.mark.parametrize("sequences", [("movie",), ("genre",), ("movie", "genre"), ("year", "movie")])
def test_sequences_decide_the_width_of_items(sequences: tuple[str, ...]) -> None:
    config = DIENConfig(num_items=ITEMS, sequences=sequences)
    table = ItemTable(torch.zeros(ITEMS + 1, dtype=torch.int64), torch.zeros(ITEMS + 1, 6, dtype=torch.int64))
    assert DIEN(config).encode_items(table).shape == (ITEMS + 1, config.item_dim + 1)


def test_an_item_with_nothing_known_starts_at_its_bias(model: DIEN) -> None:
    table = ItemTable(torch.zeros(ITEMS + 1, dtype=torch.int64), torch.zeros(ITEMS + 1, 6, dtype=torch.int64))
    unknown_E = DIEN(DIENConfig(num_items=ITEMS)).eval().encode_items(table)[0]
    assert (unknown_E == 0).all()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"sequences": ()}, "sequences is"),
        ({"sequences": ("movie", "shop")}, "shop"),
        ({"sequences": ("movie", "movie")}, "each once"),
        ({"num_items": 0}, "num_items is 0"),
        ({"hidden": 0}, "hidden is 0"),
        ({"mlp": ()}, "mlp is"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"evolution": "lstm"}, "evolution is 'lstm'"),
        ({"activation": "gelu"}, "activation is 'gelu'"),
    ],
)
def test_impossible_configurations_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRequestError, match=says):
        DIEN(DIENConfig(**({"num_items": 5} | wrong)))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"sequences": ("shop",)}, "shop"), ({"profile": ("city",)}, "city"), ({"mlp": (0,)}, "mlp is")],
)
def test_impossible_notebook_configurations_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRequestError, match=says):
        NotebookDIENConfig(**({"num_items": 5} | wrong))
