"""The two-tower model: what is trained is what is served, and every kind of user and item has a vector."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recstack.errors import InvalidRequestError
from recstack.features.batch import UserBatch, user_batch
from recstack.features.catalogue import ItemTable
from recstack.models.layers import distance_buckets
from recstack.models.two_tower import TwoTower, TwoTowerConfig

NUM_ITEMS = 30
CONFIG = TwoTowerConfig(num_items=NUM_ITEMS, vector_dim=16, width=16, blocks=2, max_history=12)


def random_table(rows: int = NUM_ITEMS + 1) -> ItemTable:
    generator = torch.Generator().manual_seed(1)
    genres = torch.randint(0, 19, (rows, 6), generator=generator)
    years = torch.randint(0, 64, (rows,), generator=generator)
    genres[0], years[0] = 0, 0
    return ItemTable(years, genres)


def model_of(config: TwoTowerConfig = CONFIG) -> TwoTower:
    torch.manual_seed(0)
    model = TwoTower(config)
    for parameter in model.parameters():  # biases and unknown rows start at zero and would hide mistakes
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def users(lengths: list[int], max_length: int = 12) -> UserBatch:
    random = np.random.default_rng(5)
    return user_batch(
        random.integers(1, 3, (len(lengths), 4)),
        [random.integers(1, NUM_ITEMS + 1, length) for length in lengths],
        [random.integers(0, 6, length).astype(np.float32) for length in lengths],
        max_length,
    )


def first_steps(batch: UserBatch, steps: int) -> UserBatch:
    width = max(1, steps)
    return UserBatch(
        batch.profile_B4,
        batch.items_BL[:, :width] if steps else torch.zeros_like(batch.items_BL[:, :1]),
        batch.ratings_BL[:, :width] if steps else torch.zeros_like(batch.ratings_BL[:, :1]),
        torch.full_like(batch.lengths_B, steps),
        batch.users_B,
    )


@pytest.mark.parametrize("blocks", [1, 2])
def test_each_trained_prefix_is_what_encode_users_serves(blocks: int) -> None:
    model, table, batch = model_of(replace(CONFIG, blocks=blocks)), random_table(), users([12, 12, 12])
    prefixes_BPD = model.encode_prefixes_from(batch, model.history_items(table), torch.arange(13).expand(3, -1))
    for steps in range(13):
        served_BD = model.encode_users(first_steps(batch, steps), table)
        torch.testing.assert_close(served_BD, prefixes_BPD[:, steps], rtol=1e-4, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=6))
def test_padding_and_company_do_not_change_a_user(lengths: list[int]) -> None:
    model, table, batch = model_of(), random_table(), users(lengths)
    together_BD = model.encode_users(batch, table)
    for row, length in enumerate(lengths):
        alone = UserBatch(
            batch.profile_B4[row : row + 1],
            batch.items_BL[row : row + 1, : max(1, length)],
            batch.ratings_BL[row : row + 1, : max(1, length)],
            batch.lengths_B[row : row + 1],
            batch.users_B[row : row + 1],
        )
        torch.testing.assert_close(model.encode_users(alone, table)[0], together_BD[row], rtol=1e-4, atol=1e-5)


def test_vectors_have_unit_length_even_without_history_or_profile() -> None:
    model, table = model_of(), random_table()
    nobody = replace(users([0, 4]), profile_B4=torch.zeros(2, 4, dtype=torch.int64))
    for vectors in (model.encode_items(table), model.encode_users(nobody, table)):
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(vectors)))
    assert model.encode_items(table).shape == (NUM_ITEMS + 1, 16)


@pytest.mark.parametrize("field", ["items_BL", "ratings_BL", "profile_B4"])
def test_item_rating_and_profile_all_count(field: str) -> None:
    model, table, batch = model_of(), random_table(), users([6])
    changed = getattr(batch, field).clone()
    changed[0, 0] = changed[0, 0] % 2 + 1
    other = replace(batch, **{field: changed})
    assert not torch.allclose(model.encode_users(batch, table), model.encode_users(other, table), atol=1e-4)


def test_the_order_of_events_counts() -> None:
    model, table, batch = model_of(), random_table(), users([6])
    backwards = replace(batch, items_BL=batch.items_BL.flip(1), ratings_BL=batch.ratings_BL.flip(1))
    assert not torch.allclose(model.encode_users(batch, table), model.encode_users(backwards, table), atol=1e-4)


def test_id_dropout_trains_the_unknown_item_and_is_off_when_served() -> None:
    model, table = model_of(replace(CONFIG, id_dropout=0.5, dropout=0.0)), random_table()
    torch.testing.assert_close(model.encode_items(table), model.encode_items(table))
    model.train()
    model.encode_items(table)[1:].sum().backward()
    assert model.item_inputs.id.weight.grad is not None
    assert model.item_inputs.id.weight.grad[0].abs().sum() > 0


def test_distance_buckets_are_exact_nearby_and_never_fall() -> None:
    buckets = distance_buckets(torch.arange(5000))
    assert buckets[:8].tolist() == list(range(8))
    assert (buckets.diff() >= 0).all()
    assert buckets.max() == 31


@pytest.mark.parametrize("bad", [{"num_items": 0}, {"width": 15}, {"dropout": 1.0}, {"blocks": 0}])
def test_impossible_sizes_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(InvalidRequestError, match=next(iter(bad))):
        replace(CONFIG, **bad)  # type: ignore[arg-type]


def test_items_without_events_are_like_those_with_the_same_features() -> None:
    model, table = model_of(), random_table()
    table.genres[5], table.year_bucket[5] = table.genres[3], table.year_bucket[3]
    known_I = torch.ones(NUM_ITEMS + 1, dtype=torch.bool)
    known_I[[3, 5]] = False
    vectors_ID, alike_ID = model.encode_items(table), model.similar_items(table, known_I)
    torch.testing.assert_close(alike_ID[3], alike_ID[5])
    assert not torch.allclose(vectors_ID[3], vectors_ID[5])
    torch.testing.assert_close(alike_ID[known_I], vectors_ID[known_I])
    torch.testing.assert_close(alike_ID.norm(dim=1), torch.ones(NUM_ITEMS + 1))
