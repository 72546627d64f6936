"""The item indexes of a bundle: items by what users want, and by likeness."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from recstack.data import Dataset, UserSequences
from recstack.features.batch import user_batch
from recstack.models.retrieval_index import SAMPLE_QUERIES, IndexRule, build_index, save_index, unit_vectors
from recstack.models.retriever import Retriever
from services.trainer.items import item_table


def write_indexes(
    folder: Path, retriever: Retriever, dataset: Dataset, sequences: UserSequences, rule: IndexRule
) -> None:
    """Write item_vectors.npy, index.faiss and similar.faiss, of the kinds that `rule` says."""
    table = item_table(dataset)
    with torch.inference_mode():
        vectors_ID = retriever.encode_items(table)[1:].float().numpy()
        alike_IS = retriever.similar_items(table, _known(dataset))[1:].float().numpy()
    np.save(folder / "item_vectors.npy", vectors_ID)
    unit_IX = unit_vectors(vectors_ID)
    users_QX = np.zeros((0, unit_IX.shape[1]), np.float32)
    if len(unit_IX) > rule.exact_items:
        users_QD = some_users(retriever, dataset, sequences)
        users_QX = np.pad(users_QD, ((0, 0), (0, unit_IX.shape[1] - users_QD.shape[1])))
    save_index(build_index(unit_IX, rule.choose(*unit_IX.shape), users_QX), folder / "index.faiss")
    save_index(build_index(alike_IS, rule.choose(*alike_IS.shape)), folder / "similar.faiss")


def some_users(retriever: Retriever, dataset: Dataset, sequences: UserSequences) -> NDArray[np.float32]:
    """Vectors [Q, D] of up to SAMPLE_QUERIES users with all their events, by which an index is tuned."""
    everybody = len(dataset.users.ids)
    users = np.random.default_rng(0).choice(everybody, min(everybody, SAMPLE_QUERIES), replace=False)
    rows = [sequences.of(int(user)) for user in users]
    batch = user_batch(
        dataset.users.profiles()[users],
        [dataset.events.item[of_user].astype(np.int64) + 1 for of_user in rows],
        [dataset.events.rating[of_user] for of_user in rows],
        retriever.config.max_history,
        users.astype(np.int64) + 1,
    )
    with torch.inference_mode():
        vectors: NDArray[np.float32] = retriever.encode_users(batch, item_table(dataset)).float().numpy()
    return vectors


def _known(dataset: Dataset) -> torch.Tensor:
    """[I+1] bool: which items have events; the unknown item has none."""
    known_I = torch.zeros(len(dataset.items.ids) + 1, dtype=torch.bool)
    known_I[torch.from_numpy(dataset.events.item.astype(np.int64)) + 1] = True
    return known_I
