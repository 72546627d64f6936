"""How rankers are judged after each epoch: on which validation rows, and by what."""

import numpy as np
from numpy.typing import NDArray

from recstack.data.dataset import Events
from recstack.evaluation.ranking_metrics import auc, gauc, logloss
from services.trainer.tasks.segments import liked


def spread(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """At least `count` of `rows`, or all where there are fewer, evenly spread."""
    return rows[:: max(1, len(rows) // count)]


def click_metrics(events: Events, rows: NDArray[np.int64], probabilities: NDArray[np.float32]) -> dict[str, float]:
    """AUC, GAUC and log loss of what was predicted for `rows`: the probability of a like."""
    users, labels = events.user[rows], liked(events.rating[rows])
    return {
        "auc": auc(labels, probabilities),
        "gauc": gauc(users, labels, probabilities),
        "logloss": logloss(labels, probabilities),
    }
