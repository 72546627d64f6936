"""A stack's bundle of any size, with random weights: for benchmarks that need no data and no training.

Models have the sizes of the trainer's "full" presets, and the trainer's own code publishes them, so that serving costs
what it costs in earnest. What is recommended is chance.
"""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import nn

from recstack.bundle import BundleStore
from recstack.config import BundleSettings, GatewaySettings, RankingSettings, RetrievalSettings, Settings, load_settings
from recstack.data import Dataset
from recstack.errors import BundleError
from recstack.features.content import TitleVocabulary
from recstack.features.demand import DEMAND_FEATURES, demand
from recstack.models.dcn import DCN
from recstack.models.ease import EASE, MAX_ITEMS, EASEConfig
from recstack.models.fused_retriever import FusedRetriever
from recstack.models.multimodal import Multimodal
from recstack.models.ranker import Ranker
from recstack.models.retriever import Retriever
from recstack.models.trend import Trend, TrendConfig
from recstack.models.two_tower import TwoTower
from recstack.models.two_tower_ranker import TwoTowerRanker
from services.trainer.items import item_table
from services.trainer.publish import Models, publish
from services.trainer.trainers import find_trainer
from tests.bench.item_vectors import clustered_items
from tests.bench.world_data import bench_dataset

RankerName = Literal["dien", "dcn", "blend"]
ModelT = TypeVar("ModelT", bound=nn.Module)

CANDIDATES = 500
MEAN_RATING = 3.6
ID_LENGTH = 8.0
"""Length of an item's id vector; what an item is counts less."""
USER_SPREAD = 3.0
"""How far users are from the mean of the items, over what the layers before would make of it."""
DEMAND_WEIGHT, INTERCEPT = 0.1, -6.0
VOICES = {"dien": 0.18, "dcn": 0.025, "ease": 1.4, "two_tower": 0.41, "trend": 1.0}
RECALL = {"two_tower": 0.65, "ease": 2.0}
"""Weights about as they are fitted on MovieLens-1M."""


def worlds_folder() -> Path:
    """Where benchmarks keep their worlds: HOME/bench."""
    return load_settings().home.resolve() / "bench"


def make_world(
    folder: Path,
    *,
    items: int = 4000,
    users: int = 6000,
    history: int = 200,
    ranker: RankerName = "dien",
    seed: int = 0,
) -> Settings:
    """Settings whose active bundle holds a world of these sizes, made once and then found again under `folder`.

    A world that is found is one that earlier code may have made: delete `folder` when publishing has changed.

    Users have ids 1..users and exactly `history` events; all of them are given to the models. Enough is asked of
    recall that CANDIDATES are ranked, where the catalogue has as many that a user has not seen. ranker: what serves;
    "blend" is all that the trainer's funnel may choose. Without EASE where the catalogue is too large for it.
    """
    home = folder.resolve() / f"{ranker}-{items}-items-{users}-users-{history}-events-seed-{seed}"
    settings = world_settings(home, history)
    store = BundleStore.of(settings)
    if not _complete(store):
        shutil.rmtree(home, ignore_errors=True)
        dataset = bench_dataset(items=items, users=users, history=history, seed=seed)
        store.activate(publish(store, dataset, random_models(dataset, history, ranker, seed), {}).version)
    return settings


def world_settings(home: Path, history: int, candidates: int = CANDIDATES) -> Settings:
    """Settings that rank `candidates` against the last `history` events, whatever the environment says of these."""
    room = max(2000, candidates)
    return Settings(
        home=home,
        bundle=BundleSettings(store=str(home / "bundles")),
        retrieval=RetrievalSettings(max_k=room, max_history=max(500, history)),
        ranking=RankingSettings(max_candidates=max(5000, candidates), max_history=max(500, history)),
        gateway=GatewaySettings(two_tower_k=candidates, max_candidates=candidates, history_length=history),
    )


def random_models(dataset: Dataset, history: int, ranker: RankerName, seed: int) -> Models:
    """All models of a bundle, with random weights, reading histories of up to `history` events."""
    torch.manual_seed(seed)
    two_tower = _two_tower(dataset, history)
    trend = _trend(dataset)
    ease = _ease(dataset, history) if len(dataset.items.ids) <= MAX_ITEMS else None
    retriever: Retriever = two_tower if ease is None else FusedRetriever.of(two_tower, ease, trend, RECALL)
    makers: Mapping[str, Ranker | None] = {
        "dien": _dien(dataset, history) if ranker != "dcn" else None,
        "dcn": _dcn(dataset) if ranker != "dien" else None,
        **({"ease": ease, "two_tower": TwoTowerRanker.of(two_tower), "trend": trend} if ranker == "blend" else {}),
    }
    rankers = {name: model for name, model in makers.items() if model is not None}
    weights = {name: VOICES[name] for name in rankers} if ranker == "blend" else {ranker: 1.0}
    return Models(retriever=retriever, rankers=rankers, weights=weights, content=_content(dataset))


def _complete(store: BundleStore) -> bool:
    """Whether a bundle is active that this version of RecStack can serve."""
    version = store.active()
    try:
        return version is not None and bool(store.verify(version))
    except BundleError:
        return False


def _two_tower(dataset: Dataset, history: int) -> TwoTower:
    """Items lie in clusters, and users where items are, as trained ones do: an index needs some order to be of use."""
    preset = find_trainer("two_tower").preset("full")
    preset = replace(preset, max_history=max(preset.max_history, history))
    model = _shaken(preset.model(dataset))
    for inputs in (model.item_inputs, model.history_inputs):
        vectors_IW = clustered_items(len(dataset.items.ids), preset.width)
        inputs.id.weight.data[1:] = ID_LENGTH * torch.from_numpy(vectors_IW)
    with torch.no_grad():
        items_ID = model.encode_items(item_table(dataset))[1:]
        to_users = model.user_tower[-1]
        to_users.weight.copy_(USER_SPREAD * torch.linalg.cholesky(items_ID.T.cov()) @ to_users.weight)
        to_users.bias.copy_(items_ID.mean(0))
    return model


def _dien(dataset: Dataset, history: int) -> Ranker:
    preset = find_trainer("dien").preset("full")
    config = replace(preset.config, max_history=max(preset.config.max_history, history))
    return _shaken(replace(preset, config=config).model(len(dataset.items.ids)))


def _dcn(dataset: Dataset) -> Ranker:
    preset = find_trainer("dcn").preset("full")
    return _shaken(DCN(preset.model_config(len(dataset.users.ids), len(dataset.items.ids))))


def _ease(dataset: Dataset, history: int) -> EASE:
    config = EASEConfig(num_items=len(dataset.items.ids))
    ease = EASE(replace(config, max_history=max(config.max_history, history)))
    for vectors in ease.buffers():
        nn.init.normal_(vectors, std=0.05)
    return ease.eval()


def _trend(dataset: Dataset) -> Trend:
    trend = Trend(TrendConfig(num_items=len(dataset.items.ids)))
    weights = np.full(len(DEMAND_FEATURES), DEMAND_WEIGHT, np.float32)
    trend.observe(demand(dataset.events, len(dataset.items.ids)), weights, INTERCEPT)
    return trend.eval()


def _content(dataset: Dataset) -> Multimodal:
    """Without posters, as the dataset has none; vectors of items are as long as with them."""
    preset = find_trainer("multimodal").preset("without_poster")
    vocabulary = TitleVocabulary.build(dataset.items.titles)
    model = _shaken(Multimodal(preset.model_config(len(dataset.items.ids), vocabulary)))
    nn.init.constant_(model.get_parameter("users.mean"), MEAN_RATING)
    return model


def _shaken(model: ModelT) -> ModelT:
    """The model in eval mode, with no weight left at zero, where training begins some of them."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return model.eval()
