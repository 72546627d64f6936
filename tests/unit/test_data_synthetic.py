"""The synthetic world is only of use if its truth can be learnt from what a model sees."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from recstack.data import Dataset, SyntheticTruth, synthetic_world, synthetic_world_with_truth, temporal_split
from recstack.errors import DataError
from recstack.features.schema import GENRES, PROFILE_SIZES, TITLE_BYTES

World = tuple[Dataset, SyntheticTruth]


@pytest.fixture(scope="module")
def world() -> World:
    return synthetic_world_with_truth()


def true_probability(world: World) -> np.ndarray:
    data, truth = world
    return truth.like_probability(data.events.user, data.events.item, data.events.timestamp_ms)


def test_the_same_seed_is_the_same_world_and_another_seed_another() -> None:
    sizes = {"users": 30, "items": 60, "events": 700}
    one, again, other = (synthetic_world(seed, **sizes) for seed in (5, 5, 6))

    for table in ("users", "items", "events"):
        for column in type(getattr(one, table)).__slots__:
            np.testing.assert_array_equal(getattr(getattr(one, table), column), getattr(getattr(again, table), column))
    assert not np.array_equal(one.events.item, other.events.item)
    assert one.items.titles != other.items.titles


@pytest.mark.parametrize(("users", "items", "events"), [(1, 34, 20), (1, 100, 60), (50, 40, 1200), (300, 200, 9001)])
def test_sizes_are_as_asked(users: int, items: int, events: int) -> None:
    data = synthetic_world(users=users, items=items, events=events)

    assert (len(data.users.ids), len(data.items.ids), len(data.events)) == (users, items, events)
    assert np.bincount(data.events.user, minlength=users).min() >= 20
    assert len(data.items.titles) == len(data.items.years) == len(data.items.genres) == items


@pytest.mark.parametrize(("users", "items", "events"), [(0, 40, 0), (10, 40, 199), (10, 40, 241), (10, 30, 200)])
def test_impossible_sizes_are_an_error(users: int, items: int, events: int) -> None:
    with pytest.raises(DataError, match=f"{events} events of {users} users and {items} items"):
        synthetic_world(users=users, items=items, events=events)


def test_the_form_is_that_of_a_read_dataset(world: World) -> None:
    data, _ = world
    users, items, events = data.users, data.items, data.events

    assert (np.diff(users.ids) > 0).all()
    assert (np.diff(items.ids) > 0).all()
    assert items.ids[-1] > len(items.ids), "ids have gaps"
    assert (users.profiles() >= 1).all()
    assert (users.profiles() < list(PROFILE_SIZES.values())).all()
    assert items.genres.max() == len(GENRES)
    assert (items.genres[:, 0] > 0).all()
    assert all(len(set(row[row > 0])) == (row > 0).sum() for row in items.genres)
    assert len(set(items.titles)) == len(items.titles)
    assert max(len(title.encode()) for title in items.titles) <= TITLE_BYTES
    assert (np.diff(events.timestamp_ms) >= 0).all()
    assert (events.timestamp_ms % 1000 == 0).all()
    assert set(np.unique(events.rating)) == {1, 2, 3, 4, 5}
    pairs = events.user.astype(np.int64) * len(items.ids) + events.item
    assert len(np.unique(pairs)) == len(events), "nobody rates a film twice"


def test_the_true_probability_is_calibrated_and_far_better_than_item_means(world: World) -> None:
    data, _ = world
    events, split = data.events, temporal_split(data)
    liked, truth = events.rating >= 4, true_probability(world)

    edges = np.quantile(truth, np.linspace(0, 1, 11)[1:-1])
    bins = np.digitize(truth, edges)
    for number in range(10):
        # 20,000 events a bin: four standard errors are at most 0.014.
        assert liked[bins == number].mean() == pytest.approx(truth[bins == number].mean(), abs=0.015)

    counts = np.bincount(events.item[split.train], minlength=len(data.items.ids))
    likes = np.bincount(events.item[split.train], liked[split.train], minlength=len(data.items.ids))
    item_mean = (likes + 3) / (counts + 5)
    of_means = roc_auc_score(liked[split.test], item_mean[events.item[split.test]])
    of_truth = roc_auc_score(liked[split.test], truth[split.test])
    assert 0.55 < of_means < of_truth - 0.15
    assert of_truth > 0.8


def test_tastes_drift(world: World) -> None:
    data, truth = world
    events, test = data.events, temporal_split(data).test
    liked = events.rating[test] >= 4
    at_start = np.full(test.stop - test.start, truth.start_ms)

    now = roc_auc_score(liked, true_probability(world)[test])
    stale = roc_auc_score(liked, truth.like_probability(events.user[test], events.item[test], at_start))
    assert now > stale + 0.02


def test_popularity_is_skewed_and_follows_the_truth(world: World) -> None:
    data, truth = world
    counts = np.bincount(data.events.item, minlength=len(data.items.ids))

    top_tenth = np.sort(counts)[::-1][: len(counts) // 10]
    assert 0.35 < top_tenth.sum() / counts.sum() < 0.6
    assert np.corrcoef(np.log1p(counts), np.log(truth.item_popularity))[0, 1] > 0.9


def test_profiles_and_genres_alone_predict_likes(world: World) -> None:
    """Genre × gender and genre × age, without ids: the signal that serves new users and new films."""
    data, _ = world
    events, split = data.events, temporal_split(data)
    has_genre = (data.items.genres[:, :, None] == np.arange(1, 19)).any(axis=1).astype(np.float32)
    male = (data.users.gender == 2).astype(np.float32)[:, None]
    age = (data.users.age.astype(np.float32)[:, None] - 4) / 3

    def auc(profile: float) -> float:
        def features(part: slice) -> np.ndarray:
            genres, user = has_genre[events.item[part]], events.user[part]
            return np.concatenate([genres, genres * male[user] * profile, genres * age[user] * profile], axis=1)

        model = LogisticRegression(max_iter=200).fit(features(slice(0, 60_000)), liked[:60_000])
        return float(roc_auc_score(liked[split.test], model.decision_function(features(split.test))))

    liked = events.rating >= 4
    of_genres, with_profiles = auc(profile=0), auc(profile=1)
    assert of_genres > 0.52
    assert with_profiles > 0.6
    assert with_profiles > of_genres + 0.05


def test_users_arrive_over_time_in_bursts_with_most_ratings_in_one_sitting(world: World) -> None:
    data, _ = world
    _, first = np.unique(data.events.user, return_index=True)
    arrival_day = (data.events.timestamp_ms[first] - data.events.timestamp_ms[0]) // 86_400_000
    per_day = np.bincount(arrival_day)

    assert per_day.max() > 15 * np.median(per_day)
    assert (per_day[:365] > 0).mean() > 0.8

    by_user = np.lexsort((data.events.timestamp_ms, data.events.user))
    gaps = np.diff(data.events.timestamp_ms[by_user])[np.diff(data.events.user[by_user]) == 0]
    assert 0.2 < (gaps == 0).mean() < 0.4
    assert 0.002 < (gaps > 3_600_000).mean() < 0.05
