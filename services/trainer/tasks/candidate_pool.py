"""What recall brings to users who liked something in a period: what the funnel's weights are fitted on, and judged on.

Shape legend: Q cases, C candidates, F demand features.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recstack.data.dataset import Dataset
from recstack.data.sequences import UserSequences
from recstack.evaluation.retrieval_cases import RetrievalCases
from recstack.evaluation.retrieval_metrics import rank_unseen
from recstack.models.devices import device_of
from recstack.models.ranker import Ranker
from recstack.models.retriever import Retriever
from services.trainer.item_vectors import item_vectors
from services.trainer.items import item_table
from services.trainer.tasks.funnel_blend import FunnelBlend, Voice, demand_after, fit_funnel_blend, raw_scores
from services.trainer.tasks.two_tower_scores import two_tower_scores


@dataclass(frozen=True, slots=True)
class Pool:
    """Candidates in recall's order. items_QC: rows of Items. known: events that had happened when the period began."""

    cases: RetrievalCases
    items_QC: NDArray[np.int64]
    known: int

    @classmethod
    def recalled(cls, retriever: Retriever, dataset: Dataset, rows: NDArray[np.int64], depth: int) -> "Pool":
        """The first `depth` unseen items of each user who liked something in a period, given as its rows of Events."""
        sequences = UserSequences.build(dataset.events, len(dataset.users.ids))
        cases = RetrievalCases.build(dataset, sequences, slice(int(rows[0]), int(rows[-1]) + 1))
        table = item_table(dataset).to(device_of(retriever))
        return cls(cases, rank_unseen(two_tower_scores(retriever, table, cases), cases.seen, depth), int(rows[0]))

    def inputs(
        self, rankers: Mapping[str, Ranker], dataset: Dataset
    ) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]:
        """Each ranker's raw scores [Q, C], and the demand [Q, C, F] of the candidates when the period begins."""
        voices = {name: Voice(ranker, item_vectors(ranker, dataset)) for name, ranker in rankers.items()}
        raw_QC = {name: raw_scores(voice, self.cases, self.items_QC) for name, voice in voices.items()}
        return raw_QC, demand_after(dataset, self.known)[self.items_QC]

    @property
    def liked_QC(self) -> NDArray[np.bool_]:
        """[Q, C] which candidates the user came to like."""
        return self.cases.liked_of(self.items_QC)

    def fit(self, rankers: Mapping[str, Ranker], dataset: Dataset) -> FunnelBlend:
        """The weights with which rankers and demand put first what the users came to like."""
        return fit_funnel_blend(*self.inputs(rankers, dataset), self.liked_QC)
