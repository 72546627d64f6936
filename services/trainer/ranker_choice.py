"""Which rankers serve, and with what weights: one that is named, or what does best on the validation period."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recstack.data import Dataset, RowSplit
from recstack.errors import InvalidRequestError
from recstack.evaluation.ranking_metrics import auc, logloss
from recstack.features.schema import LIKED_FROM
from recstack.models.ranker import Prediction, Ranker
from recstack.models.retriever import Retriever
from services.trainer.funnel_ranker import fit_funnel_ranker
from services.trainer.item_vectors import item_vectors
from services.trainer.tasks.history_at import predict_rows

AUTO, BLEND, FUNNEL = "auto", "blend", "funnel"
BLENDED = ("dien", "dcn")
"""Rankers that a blend is made of."""
GRID = np.arange(1, 20) / 20
"""Weights of the first of BLENDED that are tried; the other has the rest."""
MAX_ROWS = 30_000
"""Validation rows that decide, evenly spread: with so many, log loss is certain to about 0.002."""


@dataclass(frozen=True, slots=True)
class Choice:
    """weights: see `Manifest.rankers`. metrics: of what was compared on validation. reason: a sentence for people.

    rankers: those that the choice has brought with it, by name.
    """

    weights: dict[str, float]
    metrics: dict[str, float]
    reason: str
    rankers: Mapping[str, Ranker] = field(default_factory=dict)


def check_ranker_option(option: str, available: Collection[str]) -> None:
    """InvalidRequestError unless `option` can be served with the `available` rankers."""
    needed = BLENDED if option == BLEND else () if option in (AUTO, FUNNEL) else (option,)
    missing = [name for name in needed if name not in available]
    if missing or not available:
        raise InvalidRequestError(
            f"--ranker {option} needs {' and '.join(missing) or 'a ranker'}, there is "
            f"{' and '.join(sorted(available)) or 'none'}; train it in the same run, or choose another"
        )


def choose_rankers(
    option: str, retriever: Retriever, rankers: Mapping[str, Ranker], dataset: Dataset, split: RowSplit
) -> Choice:
    """The weights that `option` stands for.

    A name: that ranker. "blend": DIEN and DCN with the weights of the least log loss on validation. "auto": that
    blend if it beats both on validation in log loss and AUC, else the better one; where there is only one of the two,
    or they predict different things, the first there is. "funnel": see `fit_funnel_ranker`.
    """
    check_ranker_option(option, rankers)
    if option == FUNNEL:
        found = fit_funnel_ranker(retriever, rankers, dataset, split)
        mix = " + ".join(f"{name} {weight:.3g}" for name, weight in found.weights.items())
        before, after = found.metrics.values()
        reason = f"{mix}. NDCG@20 on validation: {after:.4f}, in recall's order {before:.4f}."
        return Choice(found.weights, found.metrics, reason, found.rankers)
    if option not in (AUTO, BLEND):
        return Choice({option: 1.0}, {}, f"{option}, as asked.")
    known = [name for name in BLENDED if name in rankers] or list(rankers)[:1]
    if len(known) < 2 or {rankers[name].prediction for name in known} != {Prediction.LIKE}:
        if option == BLEND:
            raise InvalidRequestError("a blend needs two rankers that predict probabilities; choose another preset")
        return Choice({known[0]: 1.0}, {}, f"{known[0]}; there is nothing that it could be blended with.")
    rows = split.validation[:: max(1, len(split.validation) // MAX_ROWS)]
    labels = dataset.events.rating[rows] >= LIKED_FROM
    logits = {
        name: _logits(predict_rows(rankers[name], dataset, split, rows, item_vectors(rankers[name], dataset)))
        for name in known
    }
    first, second = known
    weight = float(min(GRID, key=lambda weight: _scores(labels, _mix(logits, first, second, weight))["logloss"]))
    found = {name: _scores(labels, logits[name]) for name in known}
    found[BLEND] = _scores(labels, _mix(logits, first, second, weight))
    wins = all(
        found[BLEND]["logloss"] < found[name]["logloss"] and found[BLEND]["auc"] > found[name]["auc"] for name in known
    )
    best = BLEND if wins or option == BLEND else min(known, key=lambda name: found[name]["logloss"])
    weights = {first: weight, second: round(1 - weight, 9)} if best == BLEND else {best: 1.0}
    mix = " + ".join(f"{name} {part:g}" for name, part in weights.items())
    compared = ", ".join(f"{name} {one['logloss']:.4f} / {one['auc']:.4f}" for name, one in found.items())
    metrics = {f"choice/{name}_{metric}": value for name, one in found.items() for metric, value in one.items()}
    return Choice(weights, metrics, f"{mix}. Log loss / AUC on validation: {compared}.")


def _mix(logits: Mapping[str, NDArray[np.float64]], first: str, second: str, weight: float) -> NDArray[np.float64]:
    return weight * logits[first] + (1 - weight) * logits[second]


def _logits(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    safe = np.clip(probabilities.astype(np.float64), 1e-6, 1 - 1e-6)
    return np.log(safe / (1 - safe))


def _scores(labels: NDArray[np.bool_], logits: NDArray[np.float64]) -> dict[str, float]:
    probabilities = 1 / (1 + np.exp(-logits))
    return {"logloss": float(logloss(labels, probabilities)), "auc": float(auc(labels, probabilities))}
