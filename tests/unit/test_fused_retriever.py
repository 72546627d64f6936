"""The fused retriever: its one dot product is the weighted sum of its parts, and it serves as it was fitted."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from recstack.features.batch import UserBatch, user_batch
from recstack.features.catalogue import ItemTable
from recstack.models.ease import EASE, EASEConfig
from recstack.models.fused_retriever import FusedRetriever
from recstack.models.retrievers import load_retriever, save_retriever
from recstack.models.trend import Trend, TrendConfig
from recstack.models.two_tower import TwoTower, TwoTowerConfig
from recstack.models.two_tower_ranker import TwoTowerRanker

ITEMS, HISTORY = 20, 8
WEIGHTS = {"two_tower": 0.7, "ease": 2.0}


@pytest.fixture(scope="module")
def parts() -> tuple[TwoTower, EASE, Trend]:
    torch.manual_seed(1)
    two_tower = TwoTower(TwoTowerConfig(num_items=ITEMS, width=8, vector_dim=6, max_history=HISTORY)).eval()
    random = np.random.default_rng(2)
    ease = EASE(EASEConfig(num_items=ITEMS, rank=5, max_history=HISTORY))
    ease.learn(csr_matrix((random.random((50, ITEMS)) < 0.3).astype(np.float32)), 5.0)
    trend = Trend(TrendConfig(num_items=ITEMS))
    trend.observe(random.random((ITEMS, 8)).astype(np.float32), random.random(8).astype(np.float32), -1.0)
    return two_tower, ease.eval(), trend.eval()


def table() -> ItemTable:
    random = np.random.default_rng(4)
    return ItemTable(
        torch.from_numpy(random.integers(0, 60, ITEMS + 1)), torch.from_numpy(random.integers(0, 19, (ITEMS + 1, 6)))
    )


def users() -> UserBatch:
    random = np.random.default_rng(5)
    lengths = (0, 3, HISTORY)
    return user_batch(
        random.integers(1, 3, (3, 4)),
        [random.integers(1, ITEMS + 1, length) for length in lengths],
        [random.integers(0, 6, length).astype(np.float32) for length in lengths],
        HISTORY,
    )


@torch.inference_mode()
def test_one_dot_product_is_the_weighted_sum_of_the_parts(parts: tuple[TwoTower, EASE, Trend]) -> None:
    two_tower, ease, trend = parts
    fused, batch = FusedRetriever.of(two_tower, ease, trend, WEIGHTS), users()
    expected = torch.zeros(3, ITEMS + 1)
    for weight, ranker in ((0.7, TwoTowerRanker.of(two_tower)), (2.0, ease), (1.0, trend)):
        vectors = ranker.encode_items(table())
        state = ranker.encode_users(batch, vectors)
        expected += weight * ranker.score(state, vectors.expand(3, -1, -1))
    found = fused.encode_users(batch, table()) @ fused.encode_items(table()).T
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_a_prefix_is_a_user_with_that_history(parts: tuple[TwoTower, EASE, Trend]) -> None:
    fused, batch = FusedRetriever.of(*parts, WEIGHTS), users()
    whole = fused.encode_users(batch, table())
    prefixes = fused.encode_prefixes_from(batch, fused.history_items(table()), batch.lengths_B.unsqueeze(1))
    torch.testing.assert_close(prefixes[:, 0], whole)
    assert not torch.allclose(
        fused.encode_prefixes_from(batch, fused.history_items(table()), torch.ones(3, 1, dtype=torch.int64))[2, 0],
        whole[2],
    )


@torch.inference_mode()
def test_what_is_saved_is_what_is_loaded(parts: tuple[TwoTower, EASE, Trend], tmp_path: Path) -> None:
    fused = FusedRetriever.of(*parts, WEIGHTS)
    save_retriever(fused, tmp_path)
    loaded = load_retriever(tmp_path)
    torch.testing.assert_close(loaded.encode_items(table()), fused.encode_items(table()))
    torch.testing.assert_close(loaded.encode_users(users(), table()), fused.encode_users(users(), table()))
    assert loaded.config.vector_dim == loaded.encode_items(table()).shape[1] == 6 + 5 + 1


@torch.inference_mode()
def test_the_two_tower_as_a_ranker_shows_candidates_a_part_of_the_history(parts: tuple[TwoTower, EASE, Trend]) -> None:
    ranker, batch = TwoTowerRanker.of(parts[0]), users()
    vectors = ranker.encode_items(table())
    candidates = vectors[1:4].expand(3, -1, -1)
    state = ranker.encode_users(batch, vectors)
    seen_all = ranker.score(state, candidates, batch.lengths_B.unsqueeze(1).expand(-1, 3))
    torch.testing.assert_close(seen_all, ranker.score(state, candidates))
