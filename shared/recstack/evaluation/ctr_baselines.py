"""Simple click-through predictors to compare a ranker with. They learn from labelled events and know no history
beyond them.

Each baseline is a function (known, user, item) -> one probability per asked pair, float64, except `popularity`, whose
scores order items but are no probabilities. Labels are 0 or 1; users and items are row numbers, and those without
events get the fallback that the docstring names.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from recstack.evaluation.factorization_machine import factorization_machine, linear_model
from recstack.evaluation.labelled_events import LabelledEvents, Rows, Scores, item_means, user_deviations
from recstack.evaluation.neighbourhood import opinions


def popularity(known: LabelledEvents, user: Rows, item: Rows) -> Scores:
    """Number of the item's events: an order, not a probability."""
    return np.bincount(known.item, minlength=known.num_items)[item].astype(np.float64)


def item_mean(known: LabelledEvents, user: Rows, item: Rows) -> Scores:
    """The item's smoothed like rate; the overall rate for an item without events."""
    return item_means(known)[item]


def user_and_item_mean(known: LabelledEvents, user: Rows, item: Rows) -> Scores:
    """The item's like rate plus how much more the user likes than others do; the rate for a user without events."""
    rates = item_means(known)
    return _as_probabilities(rates[item] + user_deviations(known, rates)[user])


def item_knn(known: LabelledEvents, user: Rows, item: Rows) -> Scores:
    """The item's like rate plus what the user thought of similar items; the rate for a user without events."""
    rates = item_means(known)
    return _as_probabilities(rates[item] + opinions(known, rates[known.item], user, item))


def _as_probabilities(scores: Scores) -> Scores:
    return np.clip(scores, 1e-3, 1 - 1e-3)


CTR_BASELINES: dict[str, Callable[[LabelledEvents, Rows, Rows], Scores]] = {
    "popularity": popularity,
    "item mean": item_mean,
    "user and item mean": user_and_item_mean,
    "item-kNN": item_knn,
    "logistic regression": linear_model,
    "biased MF": partial(factorization_machine, features=False),
    "FM": factorization_machine,
}
"""The last three: ids and features without interactions, ids with interactions, and both."""
