"""Publishing's indexes: of the kind that the rule says, tuned by users."""

from pathlib import Path

import faiss
import numpy as np
import torch

from recstack.data import UserSequences, synthetic_world
from recstack.models.retrieval_index import DEFAULT_RULE, TARGET_K, TARGET_RECALL, IndexRule, load_index
from recstack.models.two_tower import TwoTower, TwoTowerConfig
from services.retrieval.top_k import top_k
from services.trainer.item_indexes import some_users, write_indexes

WORLD = synthetic_world(seed=1, users=60, items=600, events=3_000)
ITEMS = len(WORLD.items.ids)
SEQUENCES = UserSequences.build(WORLD.events, len(WORLD.users.ids))


def model() -> TwoTower:
    torch.manual_seed(0)
    tower = TwoTower(TwoTowerConfig(num_items=ITEMS, vector_dim=8, width=16, max_history=20))
    for parameter in tower.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return tower.eval()


def test_a_large_catalogue_gets_lists_that_find_what_its_users_want(tmp_path: Path) -> None:
    write_indexes(tmp_path, model(), WORLD, SEQUENCES, IndexRule(exact_items=100))
    index = load_index(tmp_path / "index.faiss")
    assert isinstance(index, faiss.IndexIVFFlat)
    assert isinstance(load_index(tmp_path / "similar.faiss"), faiss.IndexIVFFlat)

    vectors, everything = np.load(tmp_path / "item_vectors.npy"), np.ones(ITEMS, np.bool_)
    users = some_users(model(), WORLD, SEQUENCES)
    _, found_QK = index.search(users, TARGET_K)  # with the number of lists that is kept in the index
    found = [
        len(np.intersect1d(*rows))
        for rows in zip(found_QK, (top_k(vectors @ user, TARGET_K, everything) for user in users), strict=True)
    ]
    assert np.mean(found) >= TARGET_RECALL * TARGET_K
    assert index.nprobe < index.nlist


def test_a_small_catalogue_gets_an_exact_index(tmp_path: Path) -> None:
    write_indexes(tmp_path, model(), WORLD, SEQUENCES, DEFAULT_RULE)
    for name in ("index.faiss", "similar.faiss"):
        assert isinstance(load_index(tmp_path / name), faiss.IndexFlat)
