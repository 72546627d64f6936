"""The default recommender behind HTTP and JSON: FastAPI, one handler, run by uvicorn.

Written as FastAPI's documentation says: a blocking handler is a plain function, which FastAPI runs in its thread pool,
and the declared types let pydantic write the JSON. Started by `default_stack`, which sets the environment.
"""

import os
from pathlib import Path

import torch
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field

from recstack.bundle import Bundle
from tests.bench.peers.default_recommender import DefaultRecommender

OPTIONS = "PEER_OPTIONS"
"""Environment variable with the options as JSON: uvicorn's workers are processes of their own."""


class Options(BaseModel):
    """What a worker serves. features: folder of the Feast registry. threads: of torch, in each worker."""

    features: Path
    bundle: Path
    redis_url: str
    candidates: int
    history_length: int
    threads: int


class RecommendRequest(BaseModel):
    """Who asks, and for how many items."""

    user_id: int = Field(ge=0)
    k: int = Field(ge=1, le=200)


class Item(BaseModel):
    """One recommended item."""

    item_id: int
    title: str
    score: float


class RecommendResponse(BaseModel):
    """Items, best first."""

    items: list[Item]


def create_app() -> FastAPI:
    """The application of one worker process, with its models loaded and warm."""
    options = Options.model_validate_json(os.environ[OPTIONS])
    torch.set_num_threads(options.threads)
    recommender = DefaultRecommender(
        options.features,
        options.redis_url,
        Bundle.open(options.bundle),
        options.candidates,
        options.history_length,
    )
    app = FastAPI()

    @app.get("/health")
    def health() -> dict[str, int]:
        return {"pid": os.getpid()}

    @app.post("/recommend")
    def recommend(request: RecommendRequest) -> RecommendResponse:
        try:
            best = recommender.recommend(request.user_id, request.k)
        except KeyError as error:
            raise HTTPException(404, f"user {request.user_id} has no history") from error
        return RecommendResponse(items=[Item(item_id=one.item_id, title=one.title, score=one.score) for one in best])

    return app
