"""Why items were, or were not, recommended: the outcome of a query, row by row, and the history behind the scores."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recstack.api.common.v1 import common_pb2
from recstack.api.gateway.v1 import gateway_pb2
from recstack.api.ranking.v1 import ranking_pb2
from recstack.errors import NotFoundError, RecStackError
from services.gateway.clients import Backends
from services.gateway.hydrators.item_columns import read_item_columns
from services.gateway.pipeline.executor import Outcome
from services.gateway.pipeline.stages import Pipeline

TOP_INFLUENCES = 5
ATTRIBUTION_SHARE = 0.6
TITLES_SHARE = 0.7
"""Parts of the time left, so that an explanation without influences is still in time."""


@dataclass(frozen=True, slots=True)
class Explainer:
    """Builds the answer of Explain from an outcome that followed the asked items through the pipeline.

    reserve: seconds of every deadline that are kept to build the answer.
    """

    backends: Backends
    pipeline: Pipeline
    reserve: float

    async def explain(self, outcome: Outcome) -> gateway_pb2.ExplainResponse:
        """One explanation per asked item, in request order. Raises NotFoundError that names an unknown item."""
        query, candidates = outcome.query, outcome.candidates
        rows = candidates.rows_of(query.explained_item_ids)
        _require_known(outcome, rows)
        order = candidates.best_first()
        influences = await self._influences(outcome, rows)
        items = []
        for row, item_influences in zip(rows.tolist(), influences, strict=True):
            items.append(
                gateway_pb2.ItemExplanation(
                    item_id=int(candidates.item_id[row]),
                    title=candidates.items.title[row].decode(errors="replace"),
                    position=_place(outcome.selected, row),
                    score_rank=_place(order, row),
                    score=float(np.nan_to_num(candidates.score[row])),
                    channels=_channels(outcome, row),
                    drop_reason=self.pipeline.drop_reason(int(candidates.drop_reason[row])),
                    influences=item_influences,
                )
            )
        return gateway_pb2.ExplainResponse(
            items=items,
            degraded=outcome.trace.degraded,
            bundle_versions=outcome.trace.bundle_versions,
            score_kind=candidates.score_kind,
        )

    async def _influences(self, outcome: Outcome, rows: NDArray[np.intp]) -> list[list[gateway_pb2.HistoryInfluence]]:
        """The history events that moved each row's score most; empty lists without a history or without an answer."""
        history = outcome.query.user.history
        nothing: list[list[gateway_pb2.HistoryInfluence]] = [[] for _ in rows]
        if not history.item_ids:
            return nothing
        try:
            effects = await self._effects(outcome, rows)
        except RecStackError as error:
            outcome.trace.degrade("influences", str(error), "left out")
            return nothing
        top = np.argsort(-np.abs(effects), axis=1, kind="stable")[:, :TOP_INFLUENCES]
        titles = await self._titles(outcome, np.array(history.item_ids, np.int64)[np.unique(top)])
        return [
            [
                gateway_pb2.HistoryInfluence(
                    item_id=history.item_ids[event],
                    title=titles.get(history.item_ids[event], ""),
                    influence=float(effects[row, event]),
                    rating=history.ratings[event],
                )
                for event in events
                if effects[row, event] != 0
            ]
            for row, events in enumerate(top.tolist())
        ]

    async def _effects(self, outcome: Outcome, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Signed change in each row's score by each history event, [rows, history events]."""
        query, ranking = outcome.query, self.backends.ranking
        request = ranking_pb2.AttributeRequest(
            user_id=query.user_id,
            profile=query.user.profile,
            history=query.user.history,
            item_ids=outcome.candidates.item_id[rows].tolist(),
        )
        deadline = query.deadline.part(ATTRIBUTION_SHARE, self.reserve)
        reply = await ranking.call(ranking.stub.Attribute, request, deadline)
        shape = len(rows), len(query.user.history.item_ids)
        if len(reply.influences) != shape[0] * shape[1]:
            raise RecStackError(f"got {len(reply.influences)} influences for {shape[0]} items x {shape[1]} events")
        return np.array(reply.influences, np.float32).reshape(shape)

    async def _titles(self, outcome: Outcome, item_ids: NDArray[np.int64]) -> dict[int, str]:
        """Title of each item; empty when the feature store does not answer."""
        unique = np.unique(item_ids)
        deadline = outcome.query.deadline.part(TITLES_SHARE, self.reserve)
        try:
            read, _ = await read_item_columns(self.backends.features, unique, "display", deadline)
        except RecStackError as error:
            outcome.trace.degrade("influences", str(error), "titles left out")
            return {}
        titles = (title.decode(errors="replace") for title in read.title.tolist())
        return dict(zip(unique.tolist(), titles, strict=True))


def _require_known(outcome: Outcome, rows: NDArray[np.intp]) -> None:
    missing = rows[outcome.candidates.items.status[rows] == common_pb2.FEATURE_STATUS_MISSING]
    if len(missing):
        item_id = outcome.candidates.item_id[missing[0]]
        raise NotFoundError(f"item {item_id} is not in the catalogue; ask about items that are")


def _place(rows: NDArray[np.intp], row: int) -> int:
    """Position of `row` in `rows`, from 1; 0 when it is not there."""
    at = np.flatnonzero(rows == row)
    return int(at[0]) + 1 if len(at) else 0


def _channels(outcome: Outcome, row: int) -> list[gateway_pb2.ChannelExplanation]:
    candidates = outcome.candidates
    ranks = candidates.recall_rank[row]
    return [
        gateway_pb2.ChannelExplanation(
            channel=common_pb2.Channel.ValueType(column + 1),
            rank=int(ranks[column]),
            score=float(candidates.recall_score[row, column]),
            seed_item_id=int(candidates.seed_item[row]) if column + 1 == common_pb2.CHANNEL_ITEM_TO_ITEM else 0,
        )
        for column in np.flatnonzero(ranks).tolist()
    ]
