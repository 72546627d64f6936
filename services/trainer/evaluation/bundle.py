"""The models of a bundle as entrants of C1 and T1: what is served, judged as it is, beside the usual baselines."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from recstack.bundle import Bundle
from recstack.bundle.manifest import ranker_folder
from recstack.data.dataset import Dataset
from recstack.errors import BundleError, InvalidRequestError
from recstack.models.fused_retriever import FusedRetriever
from recstack.models.rankers import load_item_vectors, load_ranker
from recstack.models.retrievers import load_retriever
from services.trainer.evaluation.bench import Bench
from services.trainer.evaluation.ctr import ctr_measurement, safe_logit
from services.trainer.evaluation.entrant import Entrant, Kind
from services.trainer.evaluation.outcome import Measurement
from services.trainer.evaluation.protocol import Protocol
from services.trainer.evaluation.retrieval import two_tower_measurement
from services.trainer.evaluation.splits import TEMPORAL
from services.trainer.tasks.history_at import predict_rows

FUNNEL_VOICES = frozenset(("two_tower", "ease", "trend"))
"""Rankers of the funnel's blend that do not predict what a user thinks of a watched item: C1 does not judge them."""


def bundle_protocols(bundle: Bundle, dataset: Dataset, protocols: Sequence[Protocol]) -> list[Protocol]:
    """Those of `protocols` that judge a served model, with the bundle's models in the place of ours.

    Raises BundleError when the bundle was trained on other data: its test period would not be unseen.
    """
    version, trained_on = bundle.manifest.version, bundle.manifest.dataset
    if trained_on != dataset.name:
        raise BundleError(
            f"bundle {version} was trained on {trained_on}, the data given is {dataset.name}; "
            f"evaluate it with --dataset {trained_on}"
        )
    folder, weights = bundle.folder, bundle.manifest.rankers
    judged = {name: {name: 1.0} for name in bundle.manifest.held_rankers if name not in FUNNEL_VOICES}
    if len(weights) > 1 and FUNNEL_VOICES.isdisjoint(weights):
        judged["blend"] = weights
    rankers = [
        _entrant(f"{name} of {version}", version, partial(_measure_rankers, folder, shares))
        for name, shares in judged.items()
    ]
    retrievers = [_entrant(f"retrieval of {version}", version, partial(_measure_retriever, folder))]
    served = {"C1": rankers, "T1": retrievers}
    chosen = [protocol for protocol in protocols if protocol.id in served]
    if not chosen:
        raise InvalidRequestError(
            f"a bundle is judged by {' and '.join(served)}, got {', '.join(p.id for p in protocols)}"
        )
    return [
        replace(protocol, entrants=partial(_with_baselines, protocol, served[protocol.id]), targets=())
        for protocol in chosen
    ]


def _entrant(name: str, version: str, measure: Callable[[Bench, int], Measurement]) -> Entrant:
    return Entrant(name=name, kind=Kind.OURS, settings={"bundle": version}, measure=measure, seeded=False)


def _with_baselines(protocol: Protocol, ours: Sequence[Entrant]) -> tuple[Entrant, ...]:
    return (*ours, *(entrant for entrant in protocol.entrants() if entrant.kind == Kind.BASELINE))


def _measure_rankers(folder: Path, weights: Mapping[str, float], bench: Bench, seed: int) -> Measurement:
    """One ranker as it predicts; several by the weighted sum of their logits, as they serve together."""
    split = bench.split(TEMPORAL)
    predicted = [_predictions(folder / ranker_folder(name), bench) for name in weights]
    if len(predicted) == 1:
        return ctr_measurement(bench, split, {"test": predicted[0]})
    logits = sum(weight * safe_logit(scores) for weight, scores in zip(weights.values(), predicted, strict=True))
    return ctr_measurement(bench, split, {"test": expit(logits)})


def _predictions(folder: Path, bench: Bench) -> NDArray[np.float32]:
    split, vectors_IE = bench.split(TEMPORAL), load_item_vectors(folder)
    return predict_rows(load_ranker(folder), bench.dataset, split, split.test, vectors_IE)


def _measure_retriever(folder: Path, bench: Bench, seed: int) -> Measurement:
    model = load_retriever(folder / "retrieval")
    if not isinstance(model, FusedRetriever):
        return two_tower_measurement(model, bench)
    note = "its two-tower alone: the demand in it is of the end of the data, which the test period is a part of"
    return replace(two_tower_measurement(model.two_tower, bench), note=note)
