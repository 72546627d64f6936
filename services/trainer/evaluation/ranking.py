"""How well a ranker predicts the test period, beside baselines that learnt from the same training period."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recstack.data.dataset import Dataset
from recstack.data.splits import TemporalSplit, temporal_rows
from recstack.evaluation.ctr_baselines import CTR_BASELINES
from recstack.evaluation.labelled_events import LabelledEvents
from recstack.evaluation.ranking_metrics import auc, calibration_error, gauc, logloss
from recstack.models.dien import DIEN
from services.trainer.tasks.history_at import predict_rows
from services.trainer.tasks.segments import liked


@dataclass(frozen=True, slots=True)
class RankingRow:
    """One predictor's figures on the test period. Warm users have events in the training period, cold ones none.

    logloss (nats) and calibration_error are nan for a predictor whose scores are no probabilities.
    """

    name: str
    auc: float
    gauc: float
    logloss: float
    calibration_error: float
    auc_warm: float
    auc_cold: float


def evaluate_ranking(model: DIEN, dataset: Dataset, split: TemporalSplit, baselines: bool = True) -> list[RankingRow]:
    """Figures of `model` and of the baselines on `split.test`; the label is a rating of 4 or more.

    The model gets what it would have got online: the user's last events with a strictly earlier timestamp, those of
    the test period included. The baselines know the training period only, and so does the model's training.
    """
    events = dataset.events
    rows = np.arange(split.test.start, split.test.stop, dtype=np.int64)
    user, item, label = events.user[rows], events.item[rows], liked(events.rating[rows])
    train = slice(split.train.start, split.train.stop)
    warm = np.isin(user, events.user[train])

    def row(name: str, scores: NDArray[np.floating]) -> RankingRow:
        probabilities = bool(scores.min() >= 0 and scores.max() <= 1)
        return RankingRow(
            name=name,
            auc=auc(label, scores),
            gauc=gauc(user, label, scores),
            logloss=logloss(label, scores) if probabilities else float("nan"),
            calibration_error=calibration_error(label, scores) if probabilities else float("nan"),
            auc_warm=auc(label[warm], scores[warm]),
            auc_cold=auc(label[~warm], scores[~warm]),
        )

    result = [row("DIEN", predict_rows(model, dataset, temporal_rows(split), rows))]
    if baselines:
        known = LabelledEvents.of(dataset, np.arange(split.train.stop), liked(events.rating[train]))
        result += [row(name, baseline(known, user, item)) for name, baseline in CTR_BASELINES.items()]
    return result
