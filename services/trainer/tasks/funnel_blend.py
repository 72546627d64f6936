"""What orders the candidates that recall brings: a weighted sum of rankers and of demand, fitted on validation.

A ranker that learnt from ratings answers "would the user like it, having watched it?". The funnel asks "what will the
user come to like?", and an order by the first alone is worse than recall's own. So the voices are weighed for the
second question: among the candidates of a validation case, those that the user came to like should be first
(listwise softmax: Cao et al., Learning to Rank: From Pairwise Approach to Listwise Approach, 2007). The weights are
then scaled so that the sigmoid of the sum is a probability (Platt, Probabilistic Outputs for Support Vector
Machines, 1999).

Shape legend: Q cases, C candidates, I items, V voices (rankers and demand features), E item vector.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from recstack.data.dataset import Dataset, Events
from recstack.evaluation.retrieval_cases import RetrievalCases
from recstack.features.demand import demand
from recstack.models.ranker import Ranker
from recstack.models.trend import Trend, TrendConfig

CASES_PER_BATCH = 8
RIDGE = 1e-3
"""Weight of the squared weights (of standardised voices) in the loss: some demand features nearly repeat each other."""

MAX_STEPS = 100


@dataclass(frozen=True, slots=True)
class Voice:
    """A ranker and its item vectors [I+1, E]."""

    ranker: Ranker
    item_vectors_IE: Tensor


@dataclass(frozen=True, slots=True)
class FunnelBlend:
    """score = sum of weights x raw scores + demand · demand_weights_F + intercept.

    Its sigmoid is the probability that a candidate is liked in a period as long as validation.
    """

    weights: Mapping[str, float]
    demand_weights_F: NDArray[np.float32]
    intercept: float

    def trend(self, dataset: Dataset, known: int) -> Trend:
        """The part that depends on the item alone, as of after the first `known` events."""
        trend = Trend(TrendConfig(num_items=len(dataset.items.ids)))
        trend.observe(demand_after(dataset, known), self.demand_weights_F, self.intercept)
        return trend.eval()

    def scores(self, raw_QC: Mapping[str, NDArray[np.float32]], demand_QCF: NDArray[np.float32]) -> NDArray[np.float32]:
        """[Q, C] scores of candidates, given each ranker's raw scores and the demand features."""
        total_QC: NDArray[np.float32] = demand_QCF @ self.demand_weights_F + np.float32(self.intercept)
        for name, weight in self.weights.items():
            total_QC = total_QC + np.float32(weight) * raw_QC[name]
        return total_QC


def demand_after(dataset: Dataset, known: int) -> NDArray[np.float32]:
    """[I, F] demand when the first `known` events have happened."""
    events = dataset.events
    before = Events(events.user[:known], events.item[:known], events.rating[:known], events.timestamp_ms[:known])
    return demand(before, len(dataset.items.ids))


@torch.inference_mode()
def raw_scores(voice: Voice, cases: RetrievalCases, items_QC: NDArray[np.int64]) -> NDArray[np.float32]:
    """[Q, C] raw scores of each case's candidates (rows of Items), from the inputs that serving builds."""
    scores_QC = np.empty(items_QC.shape, np.float32)
    device = voice.item_vectors_IE.device
    # Cases of like history length together: a batch is as long as its longest history.
    order = np.argsort([len(rows) for rows in cases.histories], kind="stable")
    for start in range(0, len(order), CASES_PER_BATCH):
        chosen = order[start : start + CASES_PER_BATCH]
        batch = cases.user_batch(chosen, voice.ranker.config.max_history).to(device)
        state = voice.ranker.encode_users(batch, voice.item_vectors_IE)
        candidates_BC = torch.from_numpy(items_QC[chosen] + 1).to(device)
        scores_QC[chosen] = voice.ranker.score(state, voice.item_vectors_IE[candidates_BC]).float().cpu().numpy()
    return scores_QC


def fit_funnel_blend(
    raw_QC: Mapping[str, NDArray[np.float32]], demand_QCF: NDArray[np.float32], liked_QC: NDArray[np.bool_]
) -> FunnelBlend:
    """Weights of rankers (by name) and demand features, from candidates and which of them were liked.

    Cases without a liked candidate teach nothing and are left out. A ranker whose weight is not above zero is left
    out of the result, and the others are fitted again without it.
    """
    names = list(raw_QC)
    taught = liked_QC.any(axis=1)
    voices_QCV = np.concatenate([*(raw_QC[name][..., None] for name in names), demand_QCF], axis=2)[taught]
    liked_QC = liked_QC[taught]
    weights_V = _listwise(voices_QCV, liked_QC)
    against = [name for name, weight in zip(names, weights_V, strict=False) if weight <= 0]
    if against:
        kept = {name: raw_QC[name][taught] for name in names if name not in against}
        return fit_funnel_blend(kept, demand_QCF[taught], liked_QC)
    scale, intercept = _calibrate(voices_QCV @ weights_V, liked_QC)
    weights_V = weights_V * scale
    return FunnelBlend(
        weights={name: float(weight) for name, weight in zip(names, weights_V, strict=False)},
        demand_weights_F=weights_V[len(names) :].astype(np.float32),
        intercept=intercept,
    )


def _listwise(voices_QCV: NDArray[np.float32], liked_QC: NDArray[np.bool_]) -> NDArray[np.float64]:
    """[V] weights of the voices as they are, by cross-entropy between the softmax over candidates and the likes."""
    mean_V, spread_V = voices_QCV.mean((0, 1)), voices_QCV.std((0, 1)) + 1e-6
    voices = torch.from_numpy((voices_QCV - mean_V) / spread_V)
    target_QC = torch.from_numpy(liked_QC / liked_QC.sum(1, keepdims=True)).float()

    def loss(weights_V: Tensor) -> Tensor:
        return functional.cross_entropy(voices @ weights_V, target_QC) + RIDGE * weights_V.square().sum()

    return (_minimise(loss, torch.zeros(voices.shape[2])) / spread_V).astype(np.float64)


def _calibrate(scores_QC: NDArray[np.float64], liked_QC: NDArray[np.bool_]) -> tuple[float, float]:
    """Scale and intercept with which sigmoid(scale x score + intercept) is the share of liked candidates."""
    scores, liked = torch.from_numpy(scores_QC - scores_QC.mean()), torch.from_numpy(liked_QC).double()

    def loss(line: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(line[0] * scores + line[1], liked)

    scale, intercept = _minimise(loss, torch.tensor([1.0, 0.0], dtype=torch.float64))
    return float(scale), float(intercept - scale * scores_QC.mean())


def _minimise(loss: Callable[[Tensor], Tensor], start: Tensor) -> NDArray[np.floating]:
    """The argument that makes a smooth convex loss smallest (L-BFGS on all data: no seed, no learning rate)."""
    argument = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([argument], max_iter=MAX_STEPS, line_search_fn="strong_wolfe")

    def evaluate() -> Tensor:
        optimizer.zero_grad()
        value = loss(argument)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(evaluate)  # type: ignore[no-untyped-call, arg-type]
    return argument.detach().numpy()
