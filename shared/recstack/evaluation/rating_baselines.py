"""Simple rating predictors to compare a model with. They learn from rated events and know nothing beyond them.

Each baseline is a function (known, user, item) -> one rating of 1 to 5 per asked pair, float64. Labels are ratings;
users and items are row numbers, and those without events get the fallback that the docstring names.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from recstack.evaluation.factorization_machine import factorization_machine, linear_model
from recstack.evaluation.labelled_events import LabelledEvents, Rows, Scores, item_means, user_deviations
from recstack.evaluation.neighbourhood import opinions
from recstack.models.ranker import MAX_RATING, MIN_RATING


def item_mean(known: LabelledEvents, user: Rows, item: Rows) -> Scores:
    """The item's smoothed mean rating; the overall mean for an item without events."""
    return item_means(known)[item]


def user_and_item_mean(known: LabelledEvents, user: Rows, item: Rows) -> Scores:
    """The item's mean plus how much higher the user rates than others do; the mean for a user without events."""
    means = item_means(known)
    return _as_ratings(means[item] + user_deviations(known, means)[user])


def item_knn(known: LabelledEvents, user: Rows, item: Rows) -> Scores:
    """The means of item and user plus what the user thought of similar items."""
    means = item_means(known)
    deviations = user_deviations(known, means)
    expected = means[known.item] + deviations[known.user]
    return _as_ratings(means[item] + deviations[user] + opinions(known, expected, user, item))


def _as_ratings(scores: Scores) -> Scores:
    return np.clip(scores, MIN_RATING, MAX_RATING)


_machine = partial(factorization_machine, rating=True, weight_decay=0.3)

RATING_BASELINES: dict[str, Callable[[LabelledEvents, Rows, Rows], Scores]] = {
    "item mean": item_mean,
    "user and item mean": user_and_item_mean,
    "item-kNN": item_knn,
    "linear regression": partial(linear_model, rating=True),
    "FM without ids": partial(_machine, ids=False, weight_decay=0.0),
    "biased MF": partial(_machine, features=False),
    "FM": _machine,
}
"""Linear regression, biased MF and FM know ids and features, ids, and both."""
