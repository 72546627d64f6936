"""The engine without any server: properties of every answer, failures and deadlines of single channels."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from recstack.api.common.v1.common_pb2 import Channel
from recstack.bundle import Bundle, BundleStore
from recstack.errors import BundleError, NotFoundError, OverloadedError
from recstack.features.batch import EMPTY_HISTORY, History, user_batch
from services.retrieval.channels.base import Recall, RecallQuery
from services.retrieval.engine import NO_PROFILE, RetrievalEngine
from services.retrieval.item_filter import ItemFilter, ItemMasks
from services.retrieval.top_k import top_k
from tests.helpers.retrieval_world import publish_bundle, random_content_model, random_model, write_bundle

ITEMS = 120
NOBODY_KNOWS = 15
ALL = [Channel.CHANNEL_TWO_TOWER, Channel.CHANNEL_ITEM_TO_ITEM, Channel.CHANNEL_POPULAR, Channel.CHANNEL_FRESH]


def history(item_ids: list[int], ratings: list[float] | None = None) -> History:
    count = len(item_ids)
    return History(
        np.array(item_ids, np.int64), np.arange(count, dtype=np.int64), np.array(ratings or [0.0] * count, np.float32)
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("retrieval-engine")
    store = BundleStore(str(folder / "store"))
    return store.open(publish_bundle(store, folder / "work", ITEMS, seed=5))


@pytest.fixture(scope="module")
def engine(bundle: Bundle) -> RetrievalEngine:
    engine = RetrievalEngine.load(bundle)
    engine.warm_up()
    return engine


@given(
    seen=st.lists(st.integers(1, 300), max_size=40, unique=True),
    k=st.integers(1, 2 * ITEMS),
    include=st.frozensets(st.integers(1, 18), max_size=2),
    min_year=st.sampled_from([0, 1960, 1990]),
    channels=st.permutations(ALL),
)
def test_every_answer_is_filled_filtered_distinct_and_in_order(
    bundle: Bundle,
    engine: RetrievalEngine,
    seen: list[int],
    k: int,
    include: frozenset[int],
    min_year: int,
    channels: list[Channel.ValueType],
) -> None:
    catalogue = bundle.catalogue()
    item_filter = ItemFilter(np.array(seen, np.int64), tuple(include), (), min_year)
    allowed = ItemMasks(catalogue).allowed(item_filter)

    answer = engine.retrieve(NO_PROFILE, history(seen), [(channel, k) for channel in channels], item_filter)

    known = set(seen) & set(catalogue.ids.tolist())
    assert answer.unknown_history_items == len(seen) - len(known)
    assert [result.channel for result in answer.results] == channels
    for result in answer.results:
        assert result.error == ""
        assert len(set(result.item_ids.tolist())) == len(result.item_ids) == len(result.scores)
        assert set(result.item_ids.tolist()) <= set(catalogue.ids[allowed].tolist())
        assert (np.diff(result.scores) <= 0).all()
        if result.channel == Channel.CHANNEL_ITEM_TO_ITEM:
            assert set(result.seed_item_ids.tolist()) <= known
            assert len(result.seed_item_ids) == len(result.item_ids) == (min(k, allowed.sum()) if known else 0)
        else:
            assert len(result.seed_item_ids) == 0
            assert len(result.item_ids) == min(k, allowed.sum())


def test_cold_start_brings_the_items_without_interactions_that_suit_the_profile(tmp_path: Path) -> None:
    store = BundleStore(str(tmp_path / "store"))
    bundle = store.open(publish_bundle(store, tmp_path / "work", ITEMS, seed=5, content=True))
    engine = RetrievalEngine.load(bundle, cold_start_interactions=NOBODY_KNOWS - 1)
    engine.warm_up()
    catalogue, model = bundle.catalogue(), random_content_model(ITEMS, seed=5)
    cold_ids = catalogue.ids[:NOBODY_KNOWS]  # the items have 0, 1, 2, … interactions
    profiles = np.array([[1, 3, 5, 2], [2, 6, 11, 9]], np.int64)
    with torch.inference_mode():
        vectors = model.encode_items(catalogue.item_table())
        ratings = model.score_all(model.encode_profiles(torch.from_numpy(profiles)), vectors)[:, 1:].numpy()
    answers = [
        engine.retrieve(profile, EMPTY_HISTORY, [(Channel.CHANNEL_COLD_START, 50)], ItemFilter(cold_ids[:3])).results[0]
        for profile in profiles
    ]
    for answer, expected in zip(answers, ratings[:, 3:NOBODY_KNOWS], strict=True):
        assert answer.item_ids.tolist() == cold_ids[3:][np.argsort(-expected, kind="stable")].tolist()
        np.testing.assert_allclose(answer.scores, np.sort(expected)[::-1], atol=1e-5)
    assert answers[0].item_ids.tolist() != answers[1].item_ids.tolist()


def test_a_bundle_without_a_content_model_has_no_cold_start_and_no_error(engine: RetrievalEngine) -> None:
    (answer,) = engine.retrieve(NO_PROFILE, history([3]), [(Channel.CHANNEL_COLD_START, 5)]).results
    assert answer.error == ""
    assert not len(answer.item_ids)


def test_a_content_model_of_other_items_is_refused(tmp_path: Path) -> None:
    store = BundleStore(str(tmp_path / "store"))
    bundle = store.open(publish_bundle(store, tmp_path / "work", ITEMS, content=True))
    np.save(bundle.folder / "content/interactions.npy", np.zeros(ITEMS - 1, np.int64))
    with pytest.raises(BundleError, match=f"{ITEMS} item vectors and {ITEMS - 1} interaction counts for {ITEMS} items"):
        RetrievalEngine.load(bundle)


@pytest.mark.parametrize("length", [0, 1, 7, 60])
def test_two_tower_recalls_what_the_model_says(bundle: Bundle, engine: RetrievalEngine, length: int) -> None:
    catalogue = bundle.catalogue()
    rng = np.random.default_rng(length)
    events = history(rng.choice(catalogue.ids, length).tolist(), rng.integers(0, 6, length).astype(float).tolist())
    profile = np.array([1, 3, 5, 2], np.int64)
    model = random_model(ITEMS, seed=5)
    batch = user_batch(profile[None], [catalogue.index_of(events.item_ids)], [events.ratings], model.config.max_history)
    table = catalogue.item_table()
    cosines = (model.encode_items(table)[1:] @ model.encode_users(batch, table)[0]).detach().numpy()

    result = engine.retrieve(profile, events, [(Channel.CHANNEL_TWO_TOWER, 20)]).results[0]

    assert result.item_ids.tolist() == catalogue.ids[top_k(cosines, 20, np.ones(ITEMS, np.bool_))].tolist()
    np.testing.assert_allclose(result.scores, np.sort(cosines)[::-1][:20], atol=1e-5)


def test_unknown_history_items_change_nothing(bundle: Bundle, engine: RetrievalEngine) -> None:
    known = bundle.catalogue().ids[[3, 9]].tolist()
    asks = [(channel, 10) for channel in ALL]
    plain = engine.retrieve(NO_PROFILE, history(known), asks)
    mixed = engine.retrieve(NO_PROFILE, history([10**9, known[0], 10**9 + 1, known[1]]), asks)
    assert (plain.unknown_history_items, mixed.unknown_history_items) == (0, 2)
    for left, right in zip(plain.results, mixed.results, strict=True):
        assert left.item_ids.tolist() == right.item_ids.tolist()


class Broken:
    """A channel that always fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def recall(self, query: RecallQuery, k: int, allowed: NDArray[np.bool_]) -> Recall:
        raise self._error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ZeroDivisionError("secret path /etc"), "CHANNEL_TWO_TOWER failed; see the server's log"),
        (OverloadedError("the queue is full; try again"), "the queue is full; try again"),
    ],
)
def test_a_failing_channel_reports_and_leaves_the_others_alone(
    bundle: Bundle, engine: RetrievalEngine, error: Exception, reason: str
) -> None:
    channels = {**engine._channels, Channel.CHANNEL_TWO_TOWER: Broken(error)}
    broken = RetrievalEngine(bundle.catalogue(), engine._users, engine._similar, channels, "broken")
    failed, popular = broken.retrieve(
        NO_PROFILE, EMPTY_HISTORY, [(Channel.CHANNEL_TWO_TOWER, 5), (Channel.CHANNEL_POPULAR, 5)]
    ).results
    assert failed.error == reason
    assert len(failed.item_ids) == 0
    assert popular.error == ""
    assert len(popular.item_ids) == 5


def test_channels_after_the_deadline_are_not_started(engine: RetrievalEngine) -> None:
    remaining = iter([0.5, 0.0])
    in_time, late = engine.retrieve(
        NO_PROFILE,
        EMPTY_HISTORY,
        [(Channel.CHANNEL_POPULAR, 5), (Channel.CHANNEL_FRESH, 5)],
        time_remaining=lambda: next(remaining),
    ).results
    assert (in_time.error, len(in_time.item_ids)) == ("", 5)
    assert (late.error, len(late.item_ids)) == ("deadline", 0)


def test_similar_items_are_the_nearest_others(bundle: Bundle, engine: RetrievalEngine) -> None:
    ids = bundle.catalogue().ids
    vectors = np.load(bundle.folder / "retrieval/item_vectors.npy")
    allowed = np.arange(ITEMS) != 17
    expected = top_k(vectors @ vectors[17], 10, allowed)
    item_ids, similarities = engine.similar(int(ids[17]), 10)
    assert item_ids.tolist() == ids[expected].tolist()
    np.testing.assert_allclose(similarities, (vectors @ vectors[17])[expected], atol=1e-5)


def test_similar_to_an_unknown_item_names_the_bundle(bundle: Bundle, engine: RetrievalEngine) -> None:
    with pytest.raises(NotFoundError, match=f"item 999999 is not in bundle {bundle.manifest.version}"):
        engine.similar(999999, 5)


def test_parts_of_different_sizes_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    write_bundle(tmp_path, ITEMS, seed=5, index_items=ITEMS - 1)
    with pytest.raises(BundleError, match="does not fit together"):
        RetrievalEngine.load(Bundle(tmp_path, bundle.manifest))


def test_weights_of_another_model_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    write_bundle(tmp_path / "mine", ITEMS, seed=5)
    write_bundle(tmp_path / "other", ITEMS + 1, seed=5)
    shutil.copy(tmp_path / "other/retrieval/model.safetensors", tmp_path / "mine/retrieval/model.safetensors")
    with pytest.raises(BundleError, match="does not fit"):
        RetrievalEngine.load(Bundle(tmp_path / "mine", bundle.manifest))
