"""The invented data of benchmarks: histories of exact length, nothing twice, popular items popular."""

from pathlib import Path

import numpy as np
import pytest

from recstack.bundle import BundleStore
from recstack.data import UserSequences
from recstack.errors import DataError
from recstack.features.content import TitleVocabulary
from tests.bench.world import make_world
from tests.bench.world_data import NEW_SHARE, bench_dataset


def test_every_user_has_a_history_of_the_length_asked_for_in_time_order_without_repeats() -> None:
    dataset = bench_dataset(items=400, users=300, history=100)
    events = dataset.events
    assert len(events) == 300 * 100
    assert (np.diff(events.timestamp_ms) >= 0).all()
    sequences = UserSequences.build(events, 300)
    for user in range(300):
        rows = sequences.of(user)
        assert len(np.unique(events.item[rows])) == 100
    assert (np.diff(dataset.items.ids) > 0).all()
    assert len(set(dataset.items.titles)) == 400
    assert len(TitleVocabulary.build(dataset.items.titles)) > 100


def test_popularity_has_a_head_a_tail_and_items_that_nobody_has_met() -> None:
    dataset = bench_dataset(items=2000, users=2000, history=50)
    counts = np.bincount(dataset.events.item, minlength=2000)
    ranked = np.sort(counts)[::-1]
    assert ranked[:20].sum() > 10 * ranked[1000:1020].sum()
    assert abs((counts == 0).mean() - NEW_SHARE) < 0.02
    assert dataset.items.years[counts == 0].min() > dataset.items.years[counts > 0].max()


def test_the_same_arguments_make_the_same_data_and_another_seed_other_data() -> None:
    first, again, other = (bench_dataset(items=100, users=20, history=10, seed=seed) for seed in (0, 0, 1))
    assert first.items.titles == again.items.titles != other.items.titles
    np.testing.assert_array_equal(first.events.item, again.events.item)
    assert (first.events.item != other.events.item).any()


def test_a_catalogue_that_is_too_small_is_refused() -> None:
    with pytest.raises(DataError, match="400 items or more, there are 300"):
        bench_dataset(items=300, users=1, history=200)


@pytest.mark.parametrize(
    ("ranker", "serving"),
    [("dcn", {"dcn"}), ("blend", {"dien", "dcn", "ease", "two_tower", "trend"})],
)
def test_a_world_holds_the_rankers_asked_for_and_is_found_again(tmp_path: Path, ranker: str, serving: set[str]) -> None:
    def make() -> BundleStore:
        return BundleStore.of(make_world(tmp_path, items=100, users=30, history=10, ranker=ranker))  # type: ignore[arg-type]

    version = make().active()
    assert version is not None
    store = make()
    assert store.active() == version
    assert set(store.verify(version).rankers) == serving

    (tmp_path / store.url / version / "golden.npz").unlink()
    assert make().active() != version, "a world that is damaged is made anew"
