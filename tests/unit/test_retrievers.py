"""What holds for every two-tower: what is trained is what is served, padding is nothing, and files bring it back."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from recstack.errors import InvalidRequestError
from recstack.features.batch import UserBatch, user_batch
from recstack.features.catalogue import ItemTable
from recstack.models.retriever import Retriever
from recstack.models.retrievers import load_retriever, save_retriever
from recstack.models.two_tower import TwoTower, TwoTowerConfig
from recstack.models.two_tower_notebook import NotebookTwoTower, NotebookTwoTowerConfig
from recstack.models.two_tower_sequence import SequenceTwoTower, SequenceTwoTowerConfig

USERS, ITEMS, STEPS = 9, 30, 12
NOTEBOOK = NotebookTwoTowerConfig(
    num_users=USERS, num_items=ITEMS, vector_dim=16, heads=4, hidden=24, max_history=STEPS
)
SEQUENCE = SequenceTwoTowerConfig(num_items=ITEMS, vector_dim=16, heads=2, blocks=2, max_history=STEPS)
BUILDERS: dict[str, Callable[[], Retriever]] = {
    "two_tower": lambda: TwoTower(TwoTowerConfig(num_items=ITEMS, vector_dim=16, width=16, max_history=STEPS)),
    "two_tower_notebook": lambda: NotebookTwoTower(NOTEBOOK),
    "two_tower_sequence": lambda: SequenceTwoTower(SEQUENCE),
}


@pytest.fixture(params=BUILDERS)
def model(request: pytest.FixtureRequest) -> Retriever:
    torch.manual_seed(0)
    built = BUILDERS[request.param]()
    for parameter in built.parameters():  # biases and unknown rows start at zero and would hide mistakes
        torch.nn.init.normal_(parameter, std=0.3)
    return built.eval()


def table() -> ItemTable:
    random = np.random.default_rng(1)
    genres, years = random.integers(0, 19, (ITEMS + 1, 6)), random.integers(0, 64, ITEMS + 1)
    genres[0], years[0] = 0, 0
    return ItemTable(torch.from_numpy(years), torch.from_numpy(genres))


def users(lengths: list[int], known: list[int]) -> UserBatch:
    random = np.random.default_rng(5)
    return user_batch(
        random.integers(1, 3, (len(lengths), 4)),
        [random.integers(1, ITEMS + 1, length) for length in lengths],
        [random.integers(0, 6, length).astype(np.float32) for length in lengths],
        STEPS,
        np.array(known),
    )


def test_each_trained_prefix_is_what_is_served(model: Retriever) -> None:
    batch = users([STEPS] * 3, [0, 1, 2])
    every = torch.arange(STEPS + 1).expand(3, -1)
    prefixes_BPD = model.encode_prefixes_from(batch, model.history_items(table()), every)
    for steps in range(STEPS + 1):
        first = replace(
            batch,
            items_BL=batch.items_BL[:, : max(1, steps)],
            ratings_BL=batch.ratings_BL[:, : max(1, steps)],
            lengths_B=torch.full_like(batch.lengths_B, steps),
        )
        torch.testing.assert_close(model.encode_users(first, table()), prefixes_BPD[:, steps], rtol=1e-4, atol=1e-5)


def test_padding_and_company_do_not_change_a_user(model: Retriever) -> None:
    lengths, known = [0, 5, 12, 1], [3, 0, 1, 2]
    batch = users(lengths, known)
    together_BD = model.encode_users(batch, table())
    assert torch.isfinite(together_BD).all()
    for row, length in enumerate(lengths):
        one = slice(row, row + 1)
        alone = UserBatch(
            batch.profile_B4[one],
            batch.items_BL[one, : max(1, length)],
            batch.ratings_BL[one, : max(1, length)],
            batch.lengths_B[one],
            batch.users_B[one],
        )
        torch.testing.assert_close(model.encode_users(alone, table())[0], together_BD[row], rtol=1e-4, atol=1e-5)


def test_a_model_comes_back_from_its_files(model: Retriever, tmp_path: Path) -> None:
    save_retriever(model, tmp_path)
    loaded, batch = load_retriever(tmp_path), users([4, 12], [1, 0])
    assert type(loaded) is type(model)
    assert torch.equal(loaded.encode_users(batch, table()), model.encode_users(batch, table()))
    assert torch.equal(loaded.encode_items(table()), model.encode_items(table()))
    assert loaded.encode_items(table()).shape == (ITEMS + 1, model.config.vector_dim)


def test_the_textbook_form_knows_users_and_hides_some_while_training() -> None:
    torch.manual_seed(0)
    model = NotebookTwoTower(replace(NOTEBOOK, user_dropout=0.5)).eval()
    one, other = (model.encode_users(users([4], [known]), table()) for known in (1, 2))
    assert not torch.allclose(one, other)
    model.train()
    model.encode_users(users([4] * 8, [1] * 8), table()).sum().backward()
    gradient = model.user_embeddings.grad
    assert gradient is not None
    touched = gradient.abs().sum(1).nonzero().flatten().tolist()
    assert touched == [0, 1], "the user's own row and that of anybody"


def test_a_state_of_the_sequence_model_knows_nothing_of_what_comes() -> None:
    torch.manual_seed(0)
    model, batch = SequenceTwoTower(SEQUENCE).eval(), users([STEPS], [0])
    changed = batch.items_BL.clone()
    changed[0, 7] = changed[0, 7] % ITEMS + 1
    every, history = torch.arange(STEPS + 1).unsqueeze(0), model.history_items(table())
    before = model.encode_prefixes_from(batch, history, every)
    after = model.encode_prefixes_from(replace(batch, items_BL=changed), history, every)
    torch.testing.assert_close(before[:, :8], after[:, :8])
    assert not torch.allclose(before[:, 8:], after[:, 8:])


@pytest.mark.parametrize(
    ("config", "bad"),
    [
        (NOTEBOOK, {"heads": 3}),
        (NOTEBOOK, {"num_users": 0}),
        (NOTEBOOK, {"user_dropout": 1.0}),
        (SEQUENCE, {"heads": 3}),
        (SEQUENCE, {"blocks": 0}),
        (SEQUENCE, {"dropout": -0.1}),
    ],
)
def test_impossible_sizes_are_refused(
    config: NotebookTwoTowerConfig | SequenceTwoTowerConfig, bad: dict[str, float]
) -> None:
    with pytest.raises(InvalidRequestError, match=next(iter(bad))):
        replace(config, **bad)  # type: ignore[arg-type]
