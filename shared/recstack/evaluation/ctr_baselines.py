"""Simple click-through predictors to compare a ranker with. They learn from labelled events and know no history
beyond them.

Each baseline is a function (known, user, item) -> one probability per asked pair, float64, except `popularity`, whose
scores order items but are no probabilities. users and items are row numbers; those without events get the fallback
that the docstring names.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import nn

Rows = NDArray[np.integer]
Scores = NDArray[np.float64]

PRIOR_ROWS = 20.0
"""Rows at the overall like rate that are added to each item's own."""


@dataclass(frozen=True, slots=True)
class LabelledEvents:
    """What a baseline learns from: user and item rows, labels 0 or 1, and the sizes of both vocabularies."""

    user: Rows
    item: Rows
    label: NDArray[np.float32]
    num_users: int
    num_items: int


def item_rates(known: LabelledEvents) -> Scores:
    """Like rate of each item, [I], shrunk towards the overall rate by PRIOR_ROWS rows."""
    likes = np.bincount(known.item, weights=known.label, minlength=known.num_items)
    counts = np.bincount(known.item, minlength=known.num_items)
    return np.asarray((likes + PRIOR_ROWS * known.label.mean()) / (counts + PRIOR_ROWS))


def popularity(known: LabelledEvents, user: Rows, item: Rows) -> Scores:
    """Number of the item's events: an order, not a probability."""
    return np.bincount(known.item, minlength=known.num_items)[item].astype(np.float64)


def item_mean(known: LabelledEvents, user: Rows, item: Rows) -> Scores:
    """The item's smoothed like rate; the overall rate for an item without events."""
    return item_rates(known)[item]


def item_knn(known: LabelledEvents, user: Rows, item: Rows, neighbours: int = 60, shrinkage: float = 30.0) -> Scores:
    """Item-based neighbourhood model: the item's rate plus what the user thought of similar items.

    Sarwar et al., Item-based Collaborative Filtering Recommendation Algorithms, 2001, on residuals label - rate, with
    cosine similarity shrunk by the size of its support. A user without events gets the item's rate.
    """
    rates = item_rates(known)
    shape = (known.num_users, known.num_items)
    residuals = sparse.csr_matrix((known.label - rates[known.item], (known.user, known.item)), shape)
    norms = np.sqrt(np.asarray(residuals.multiply(residuals).sum(0)).ravel()) + 1e-9
    similarity = (residuals.T @ residuals).toarray() / np.outer(norms, norms)
    rated = sparse.csr_matrix((np.ones(len(known.item), np.float32), (known.user, known.item)), shape)
    support = (rated.T @ rated).toarray()
    similarity *= support / (support + shrinkage)
    np.fill_diagonal(similarity, 0)
    kept = min(neighbours, known.num_items)
    threshold = np.partition(similarity, -kept, axis=1)[:, -kept:].min(axis=1, keepdims=True)
    near = sparse.csr_matrix(np.where((similarity >= threshold) & (similarity > 0), similarity, 0))

    asked, row = np.unique(user, return_inverse=True)
    opinion = (residuals[asked] @ near.T).toarray()
    weight = (rated[asked] @ near.T).toarray() + 1.0
    predicted: Scores = np.clip(rates[item] + opinion[row, item] / weight[row, item], 1e-3, 1 - 1e-3)
    return predicted


def matrix_factorization(known: LabelledEvents, user: Rows, item: Rows, factors: int = 16, epochs: int = 8) -> Scores:
    """Biased matrix factorisation trained with log loss (Koren et al., Matrix Factorization Techniques, 2009).

    A user or item without events keeps zero bias and factors.
    """
    generator = torch.Generator().manual_seed(0)
    users = nn.Embedding(known.num_users, factors + 1, _weight=torch.zeros(known.num_users, factors + 1))
    items = nn.Embedding(known.num_items, factors + 1, _weight=torch.zeros(known.num_items, factors + 1))
    with torch.no_grad():
        users.weight[np.unique(known.user), 1:] = 0.1 * torch.randn(
            len(np.unique(known.user)), factors, generator=generator
        )
        items.weight[:, 0] = torch.logit(torch.from_numpy(item_rates(known)))
    optimizer = torch.optim.AdamW([users.weight, items.weight], lr=5e-3, weight_decay=0.1)
    user_ids, item_ids = torch.from_numpy(known.user.astype(np.int64)), torch.from_numpy(known.item.astype(np.int64))
    labels = torch.from_numpy(known.label)
    for _ in range(epochs):
        order = torch.randperm(len(labels), generator=generator)
        for start in range(0, len(order), 8192):
            rows = order[start : start + 8192]
            loss = nn.functional.binary_cross_entropy_with_logits(
                _factorised(users(user_ids[rows]), items(item_ids[rows])), labels[rows]
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with torch.no_grad():
        asked_users, asked_items = (torch.from_numpy(ids.astype(np.int64)) for ids in (user, item))
        logits = _factorised(users(asked_users), items(asked_items))
    return logits.sigmoid().numpy().astype(np.float64)


def _factorised(user_BF: torch.Tensor, item_BF: torch.Tensor) -> torch.Tensor:
    """Bias (first column) plus dot product of the factors."""
    return user_BF[:, 0] + item_BF[:, 0] + (user_BF[:, 1:] * item_BF[:, 1:]).sum(1)


CTR_BASELINES: dict[str, Callable[[LabelledEvents, Rows, Rows], Scores]] = {
    "popularity": popularity,
    "item mean": item_mean,
    "item-kNN": item_knn,
    "biased MF": matrix_factorization,
}
