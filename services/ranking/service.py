"""The ranking service without a transport: protobuf in, protobuf out, `RecStackError` for everything that is wrong.

Both servers use it: plain grpc.aio (server.py) and Ray Serve (serve_app.py). Knows nothing of either.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

import recstack
from recstack import tracing
from recstack.api.common.v1.common_pb2 import (
    SCORE_KIND_LIKE_PROBABILITY,
    SCORE_KIND_RATING,
    ScoreKind,
    ServerInfo,
)
from recstack.api.ranking.v1.ranking_pb2 import (
    AttributeRequest,
    AttributeResponse,
    GetInfoResponse,
    RankRequest,
    RankResponse,
)
from recstack.bundle import Bundle, BundleStore, BundleWatcher
from recstack.config import RankingSettings, Settings
from recstack.features.schema import SCHEMA
from recstack.metrics import BATCH_REQUESTS, COMPUTE_SECONDS, QUEUE_SECONDS
from recstack.models.ranker import Prediction
from services.ranking.batching import Answer, Batcher, BatchLimits
from services.ranking.queries import read_query
from services.ranking.scorer import Attribution, RankQuery, Scorer

PUBLISHED_LIMITS = ("max_candidates", "max_attributed_items", "max_history", "max_batch_requests", "max_queued")

SCORE_KINDS: dict[Prediction, ScoreKind.ValueType] = {
    Prediction.LIKE: SCORE_KIND_LIKE_PROBABILITY,
    Prediction.RATING: SCORE_KIND_RATING,
}

Scores = NDArray[np.float32]


class BundleScorer(Protocol):
    """What the service needs of loaded rankers; see `Scorer`."""

    @property
    def prediction(self) -> Prediction:
        """What scores are."""

    @property
    def max_history(self) -> int:
        """How many of the last events are used."""

    def score(self, queries: Sequence[RankQuery]) -> list[Scores]:
        """Scores of each query's items."""

    def attribution(self, query: RankQuery) -> Attribution:
        """What to score to know the influence of the query's history."""

    def unknown_items(self, item_ids: NDArray[np.int64]) -> int:
        """How many of the ids the bundle does not know."""

    def warm_up(self) -> None:
        """Make the first real query as fast as the next."""


@dataclass(frozen=True, slots=True)
class _Ranked:
    scores: Scores
    kind: ScoreKind.ValueType
    unknown_items: int
    bundle_version: str


@dataclass(frozen=True, slots=True)
class _Piece:
    """A piece of an attribution, and the scorer that all of its pieces use."""

    scorer: BundleScorer
    plan: Attribution
    variants: range


class RankingService:
    """Validates requests, scores them in batches with the active bundle, and follows that bundle.

    load: makes a scorer from a bundle; the default loads the rankers on the GPU when settings give it one.
    on_swap: awaited after each change of bundle, for example to publish readiness.
    """

    def __init__(
        self,
        settings: Settings,
        load: Callable[[Bundle], BundleScorer] | None = None,
        on_swap: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        ranking = settings.ranking
        self._settings = ranking
        self._load = load or _scorer_loader(ranking)
        self._watcher: BundleWatcher[BundleScorer] = BundleWatcher(
            BundleStore.of(settings),
            self._build,
            settings.bundle.poll_seconds,
            on_swap,
        )
        # One thread computes, whatever the kind of request; the event loop stays free for health checks.
        # OpenMP keeps its thread count per calling thread, so that thread sets it for itself.
        self._executor = ThreadPoolExecutor(1, "ranking-compute", torch.set_num_threads, (ranking.threads,))
        self._ranks: Batcher[RankQuery, _Ranked] = Batcher(
            self._rank_batch,
            BatchLimits(
                max_requests=ranking.max_batch_requests,
                max_pairs=ranking.max_batch_pairs,
                max_queued=ranking.max_queued,
                wait_seconds=ranking.batch_wait_ms / 1000,
            ),
            self._executor,
        )
        # An attribution scores hundreds of histories. Piece by piece, requests for ranks go before what is left of it.
        self._attributions: Batcher[_Piece, list[Scores]] = Batcher(
            _score_pieces,
            BatchLimits(max_requests=1, max_pairs=ranking.max_batch_pairs, max_queued=ranking.max_queued),
            self._executor,
            gives_way_to=self._ranks,
        )

    async def start(self) -> None:
        """Load the active bundle if there is one, and begin to answer."""
        await self._ranks.start()
        await self._attributions.start()
        await self._watcher.start()

    async def stop(self) -> None:
        """Stop following bundles; requests that still wait fail with UnavailableError."""
        await self._watcher.stop()
        await self._ranks.stop()
        await self._attributions.stop()
        self._executor.shutdown()

    @property
    def ready(self) -> bool:
        """Whether a bundle is loaded and warm."""
        return self._watcher.loaded is not None

    async def rank(self, request: RankRequest, seconds_left: float | None = None) -> RankResponse:
        """Score the request's items. seconds_left: the transport's deadline; `budget_ms` may shorten it.

        Raises InvalidRequestError, OverloadedError, DeadlineError, and BundleError when no bundle is active.
        """
        scorer = self._watcher.require().model
        limits = self._settings
        query = read_query(request, max_items=limits.max_candidates, max_history=limits.max_history)
        if request.budget_ms:
            budget = request.budget_ms / 1000
            seconds_left = budget if seconds_left is None else min(budget, seconds_left)
        answer = await self._ranks.submit(query, _shape(query, scorer), seconds_left)
        QUEUE_SECONDS.observe(answer.queue_ms / 1e3)
        COMPUTE_SECONDS.observe(answer.compute_ms / 1e3)
        BATCH_REQUESTS.observe(answer.batch_size)
        if tracing.recording():
            _annotate_span(query, answer)
        return RankResponse(
            scores=answer.result.scores.tolist(),
            bundle_version=answer.result.bundle_version,
            unknown_items=answer.result.unknown_items,
            queue_ms=answer.queue_ms,
            compute_ms=answer.compute_ms,
            batch_size=answer.batch_size,
            score_kind=answer.result.kind,
        )

    async def attribute(self, request: AttributeRequest, seconds_left: float | None = None) -> AttributeResponse:
        """Score a few items and say what each history event did to their scores. Errors as in `rank`."""
        loaded = self._watcher.require()
        scorer, limits = loaded.model, self._settings
        query = read_query(request, max_items=limits.max_attributed_items, max_history=limits.max_history)
        deadline = None if seconds_left is None else time.monotonic() + seconds_left
        plan = scorer.attribution(query)
        rows: list[Scores] = []
        for piece in plan.pieces:
            left = None if deadline is None else deadline - time.monotonic()
            answer = await self._attributions.submit(_Piece(scorer, plan, piece), _shape(query, scorer), left)
            rows += answer.result
        scores, influences = plan.result(rows)
        return AttributeResponse(
            scores=scores.tolist(),
            influences=influences.ravel().tolist(),
            bundle_version=loaded.manifest.version,
            score_kind=SCORE_KINDS[scorer.prediction],
        )

    def get_info(self) -> GetInfoResponse:
        """Versions, limits and the bundle in use."""
        bundle = self._watcher.info()
        if self._watcher.loaded is not None:
            bundle.score_kind = SCORE_KINDS[self._watcher.loaded.model.prediction]
        info = ServerInfo(
            service="recstack.ranking",
            version=recstack.__version__,
            schema_hash=SCHEMA.hash,
            bundle=bundle,
            limits={name: getattr(self._settings, name) for name in PUBLISHED_LIMITS},
        )
        return GetInfoResponse(info=info)

    def _build(self, bundle: Bundle) -> BundleScorer:
        scorer = self._load(bundle)
        scorer.warm_up()
        return scorer

    def _rank_batch(self, queries: list[RankQuery]) -> list[_Ranked]:
        # The bundle is taken once per batch: all of a batch is scored by one, and a swap waits for no batch.
        loaded = self._watcher.require()
        scorer, version = loaded.model, loaded.manifest.version
        kind = SCORE_KINDS[scorer.prediction]
        return [
            _Ranked(row, kind, scorer.unknown_items(query.item_ids), version)
            for query, row in zip(queries, scorer.score(queries), strict=True)
        ]


def _annotate_span(query: RankQuery, answer: Answer[_Ranked]) -> None:
    tracing.annotate(
        {
            "recstack.candidates": len(query.item_ids),
            "recstack.history": len(query.history),
            "recstack.unknown_items": answer.result.unknown_items,
            "recstack.queue_ms": answer.queue_ms,
            "recstack.compute_ms": answer.compute_ms,
            "recstack.batch_requests": answer.batch_size,
            "recstack.bundle.ranking": answer.result.bundle_version,
        }
    )


def _score_pieces(pieces: Sequence[_Piece]) -> list[list[Scores]]:
    return [piece.scorer.score(piece.plan.variants(piece.variants)) for piece in pieces]


def _scorer_loader(ranking: RankingSettings) -> Callable[[Bundle], BundleScorer]:
    device = "cuda" if ranking.num_gpus > 0 else "cpu"
    return lambda bundle: Scorer.load(bundle, device, ranking.threads)


def _shape(query: RankQuery, scorer: BundleScorer) -> tuple[int, int]:
    """Candidates and the history steps that they will be scored against."""
    return len(query.item_ids), max(1, min(len(query.history), scorer.max_history))
