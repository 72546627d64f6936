"""A two-tower's scores of held-out cases, from the inputs that serving builds."""

import numpy as np
import torch
from numpy.typing import NDArray

from recstack.evaluation.retrieval_cases import RetrievalCases
from recstack.features.catalogue import ItemTable
from recstack.models.retriever import Retriever

USERS_PER_ENCODING = 256


@torch.no_grad()
def two_tower_scores(model: Retriever, table: ItemTable, cases: RetrievalCases) -> NDArray[np.float32]:
    """[Q, I] dot products of every case's user vector with every item vector. model: in eval mode."""
    items_ID, history_items_IW = model.encode_items(table)[1:], model.history_items(table)
    device = items_ID.device
    parts = []
    for start in range(0, len(cases), USERS_PER_ENCODING):
        batch = cases.user_batch(slice(start, start + USERS_PER_ENCODING), model.config.max_history)
        parts.append((model.encode_users_from(batch.to(device), history_items_IW) @ items_ID.T).cpu().numpy())
    return np.concatenate(parts)
