"""Each channel on its own, against a definition that is easy to read."""

import faiss
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from recstack.features.catalogue import Catalogue
from services.retrieval.channels.base import RecallQuery
from services.retrieval.channels.cold_start import ColdStartChannel
from services.retrieval.channels.fresh import FreshChannel
from services.retrieval.channels.item_to_item import MAX_SEEDS, ItemToItemChannel, seed_rows
from services.retrieval.channels.popular import PopularChannel
from services.retrieval.item_index import ItemIndex, item_index
from tests.helpers.retrieval_world import random_catalogue, random_content_model

ITEMS = 40


def query(rows: list[int], ratings: list[float] | None = None) -> RecallQuery:
    ratings = [0.0] * len(rows) if ratings is None else ratings
    return RecallQuery(np.zeros(4, np.int64), np.array(rows, np.int64), np.array(ratings, np.float32))


@pytest.fixture
def catalogue() -> Catalogue:
    return random_catalogue(ITEMS, seed=1)


@pytest.fixture
def index() -> ItemIndex:
    flat = faiss.IndexFlatIP(8)
    vectors = np.random.default_rng(2).normal(size=(ITEMS, 8)).astype(np.float32)
    flat.add(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    return item_index(flat)


MASKS = {"all": range(ITEMS), "few": range(0, ITEMS, 7), "none": ()}


@pytest.fixture(params=MASKS)
def allowed(request: pytest.FixtureRequest) -> NDArray[np.bool_]:
    return np.isin(np.arange(ITEMS), list(MASKS[request.param]))


@pytest.mark.parametrize("k", [1, 5, ITEMS, 10 * ITEMS])
def test_popular_is_by_popularity_then_row(catalogue: Catalogue, allowed: NDArray[np.bool_], k: int) -> None:
    recall = PopularChannel(catalogue).recall(query([]), k, allowed)
    expected = sorted(np.flatnonzero(allowed).tolist(), key=lambda row: (-catalogue.popularity[row], row))[:k]
    assert recall.rows.tolist() == expected
    assert recall.scores.tolist() == catalogue.popularity[expected].tolist()
    assert len(recall.seed_rows) == 0


@pytest.mark.parametrize("k", [1, 5, ITEMS, 10 * ITEMS])
def test_fresh_is_by_year_then_popularity_then_row(catalogue: Catalogue, allowed: NDArray[np.bool_], k: int) -> None:
    recall = FreshChannel(catalogue).recall(query([]), k, allowed)
    expected = sorted(
        np.flatnonzero(allowed).tolist(),
        key=lambda row: (-catalogue.years[row], -catalogue.popularity[row], row),
    )[:k]
    assert recall.rows.tolist() == expected
    assert recall.scores.tolist() == [float(year) for year in catalogue.years[expected]]


@pytest.mark.parametrize(
    ("rows", "ratings", "seeds"),
    [
        ([], [], []),
        ([3, 5, 8], [0, 0, 0], [8, 5, 3]),
        ([3, 5, 8], [4, 3.5, 5], [8, 3]),
        ([3, 5, 3], [0, 0, 0], [3, 5]),
        ([3, 5, 3], [5, 5, 1], [5]),  # liked at first, disliked at last
        ([3, 5, 3], [1, 5, 5], [3, 5]),
        (list(range(30)), [0] * 30, list(range(29, 29 - MAX_SEEDS, -1))),
        (list(range(30)), [5] * 15 + [2] * 15, list(range(14, 14 - MAX_SEEDS, -1))),
    ],
)
def test_seeds_are_the_latest_liked_items(rows: list[int], ratings: list[float], seeds: list[int]) -> None:
    assert seed_rows(query(rows, ratings)).tolist() == seeds


@pytest.mark.parametrize("k", [1, 5, 10 * ITEMS])
def test_item_to_item_brings_the_best_neighbours_with_their_seed(
    index: ItemIndex, allowed: NDArray[np.bool_], k: int
) -> None:
    seeds = [12, 7, 30]
    recall = ItemToItemChannel(index).recall(query([30, 7, 12]), k, allowed)

    vectors = index.vectors(np.arange(ITEMS))
    cosine_SI = vectors[seeds] @ vectors.T
    candidates = [row for row in np.flatnonzero(allowed).tolist() if row not in seeds]
    expected = sorted(candidates, key=lambda row: (-cosine_SI[:, row].max(), row))[:k]
    assert recall.rows.tolist() == expected
    np.testing.assert_allclose(recall.scores, cosine_SI.max(axis=0)[expected], atol=1e-6)
    assert recall.seed_rows.tolist() == [seeds[i] for i in cosine_SI.argmax(axis=0)[expected]]


def test_item_to_item_leaves_the_shared_mask_alone(index: ItemIndex) -> None:
    allowed = np.ones(ITEMS, np.bool_)
    ItemToItemChannel(index).recall(query([1, 2, 3]), 5, allowed)
    assert allowed.all()


def test_item_to_item_without_a_liked_item_brings_nothing(index: ItemIndex) -> None:
    for nothing_liked in (query([]), query([1, 2], [1.0, 3.0])):
        assert len(ItemToItemChannel(index).recall(nothing_liked, 5, np.ones(ITEMS, np.bool_)).rows) == 0


@pytest.mark.parametrize("cold", [0, 1, 2, 30])
def test_cold_start_brings_the_cold_items_however_few(cold: int) -> None:
    """By the rating that the model expects of the profile: none, one or many."""
    model, items = random_content_model(30), 30
    interactions = np.full(items, 99)
    interactions[:cold] = 3
    profile = np.array([1, 3, 5, 2])
    state = model.encode_profiles(torch.from_numpy(profile).unsqueeze(0))
    vectors_IE = torch.randn(items + 1, state.vectors_BE.shape[1], generator=torch.Generator().manual_seed(0))
    channel = ColdStartChannel(model, vectors_IE, interactions, 10, torch.device("cpu"))
    query = RecallQuery(profile, np.empty(0, np.int64), np.empty(0, np.float32))
    recalled = channel.recall(query, 5, np.ones(items, np.bool_))
    expected = (vectors_IE[1 : cold + 1] @ state.vectors_BE[0] + state.offset_B[0]).detach().numpy()
    assert recalled.rows.tolist() == np.argsort(-expected, kind="stable")[:5].tolist()
    np.testing.assert_allclose(recalled.scores, np.sort(expected)[::-1][:5], rtol=1e-5)


@pytest.mark.parametrize("k", [3, 8, 20])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 1.0])
def test_a_large_cold_start_brings_what_comparing_with_each_item_brings(
    k: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the best that are remembered of the profile suffice, a filter leaves few of them, or few items at all."""
    items, profile = 60, np.array([1, 3, 5, 2])
    model, random = random_content_model(items), np.random.default_rng(0)
    width = model.encode_profiles(torch.from_numpy(profile).unsqueeze(0)).vectors_BE.shape[1]
    vectors_IE = torch.from_numpy(random.standard_normal((items + 1, width), np.float32))
    channel = ColdStartChannel(model, vectors_IE, random.integers(0, 20, items), 10, torch.device("cpu"))
    query = RecallQuery(profile, np.empty(0, np.int64), np.empty(0, np.float32))
    masks = [random.random(items) < share for _ in range(20)]
    expected = [channel.recall(query, k, allowed) for allowed in masks]
    monkeypatch.setattr("services.retrieval.channels.cold_start.FEW_ITEMS", 4)
    monkeypatch.setattr("services.retrieval.channels.cold_start.HEAD", 8)
    for allowed, compared in zip(masks, expected, strict=True):
        recalled = channel.recall(query, k, allowed)
        assert recalled.rows.tolist() == compared.rows.tolist()
        np.testing.assert_allclose(recalled.scores, compared.scores, rtol=1e-6)
