"""An invented world in MovieLens's form: for demonstrations without data, and for tests with a known truth.

Tastes and films live in one small space. Five axes show in genres and depend on the user's profile; three are
hidden, so that only behaviour reveals them. A user meets films by popularity and taste, tastes drift with time,
and stars follow an ordered logit: P(rating >= k) = sigmoid(utility - THRESHOLDS[k - 2]).
Source of the rating model: P. McCullagh, 1980, Regression Models for Ordinal Data (proportional odds).
"""

import numpy as np
from numpy.typing import NDArray

from recstack.data.dataset import MS_PER_DAY, Dataset, Events, Items, Users
from recstack.data.genre_traits import GENRE_TRAITS
from recstack.data.invented_titles import invented_titles
from recstack.data.synthetic_truth import THRESHOLDS, SyntheticTruth
from recstack.errors import DataError
from recstack.features.schema import AGE_BANDS, GENRES, MAX_GENRES, NUM_OCCUPATIONS, NUM_REGIONS

MIN_EVENTS_PER_USER = 20
MAX_SHARE_SEEN = 0.6
"""No user rates more than this share of the catalogue."""

START_MS = 1_704_067_200_000
"""2024-01-01, when the first users arrive."""
SPAN_MS = 365 * MS_PER_DAY
"""How long new users keep arriving."""

HIDDEN_AXES = 3
_COMMON = np.array([GENRE_TRAITS[genre][0] for genre in GENRES])
_AXES = np.array([GENRE_TRAITS[genre][1:] for genre in GENRES])


def synthetic_world(seed: int = 0, users: int = 2_000, items: int = 1_500, events: int = 200_000) -> Dataset:
    """An invented dataset, the same for the same arguments. See `synthetic_world_with_truth`."""
    return synthetic_world_with_truth(seed, users, items, events)[0]


def synthetic_world_with_truth(
    seed: int = 0, users: int = 2_000, items: int = 1_500, events: int = 200_000
) -> tuple[Dataset, SyntheticTruth]:
    """An invented dataset and what is true in it.

    `events` is the exact number of ratings, at least 20 and at most 60 % of the catalogue per user on average;
    DataError otherwise.
    """
    most = int(MAX_SHARE_SEEN * items)
    if not (users >= 1 and most >= MIN_EVENTS_PER_USER and MIN_EVENTS_PER_USER * users <= events <= most * users):
        raise DataError(
            f"cannot invent {events} events of {users} users and {items} items: each user needs "
            f"{MIN_EVENTS_PER_USER} to {most} of them; ask for other sizes"
        )
    rng = np.random.default_rng(seed)
    item_columns, item_factors = _films(items, rng)
    user_columns, user_factors = _people(users, rng)
    quality = rng.normal(0, 0.8, items)
    popularity = _popularity(quality, rng)
    truth = SyntheticTruth(
        user_factors=user_factors,
        user_drift=rng.normal(0, 0.5, user_factors.shape),
        user_bias=rng.normal(0, 0.5, users),
        item_factors=item_factors,
        item_quality=quality,
        item_popularity=popularity,
        start_ms=START_MS,
        span_ms=SPAN_MS,
    )
    counts = _events_per_user(users, events, most, rng)
    item = _films_met(truth, counts, rng)
    columns = _rated(truth, np.repeat(np.arange(users), counts), item, _times(counts, rng), rng)
    provenance = (
        f"an invented world, nobody in it is real (seed {seed}): {users:,} users, {items:,} movies, {events:,} ratings"
    )
    return Dataset("synthetic", provenance, user_columns, item_columns, columns), truth


def _films(count: int, rng: np.random.Generator) -> tuple[Items, NDArray[np.float64]]:
    """Items and their factors [I, axes]."""
    first = rng.choice(len(GENRES), count, p=_COMMON / _COMMON.sum())
    # Further genres are near the first one: Gumbel noise on the affinity draws without replacement.
    affinity = np.log(_COMMON) + 1.2 * _AXES @ _AXES.T
    keys = affinity[first] + rng.gumbel(size=(count, len(GENRES)))
    keys[np.arange(count), first] = np.inf
    ranked = np.argsort(-keys, axis=1)
    how_many = rng.choice([1, 2, 3, 4], count, p=[0.45, 0.35, 0.15, 0.05])
    kept = np.arange(MAX_GENRES) < how_many[:, None]
    genres = np.where(kept, ranked[:, :MAX_GENRES] + 1, 0).astype(np.uint8)

    membership = kept / how_many[:, None]
    visible = (_AXES[ranked[:, :MAX_GENRES]] * membership[:, :, None]).sum(axis=1)
    factors = np.concatenate(
        [visible + rng.normal(0, 0.25, visible.shape), rng.normal(0, 0.6, (count, HIDDEN_AXES))], axis=1
    )
    # Ids have gaps, as real catalogues do, so that a row number used as an id shows in tests.
    ids = np.sort(rng.choice(np.arange(1, count + count // 20 + 2), count, replace=False)).astype(np.int64)
    years = (2023 - np.minimum(rng.exponential(14, count), 95)).astype(np.int16)
    titles = invented_titles([row[row > 0].tolist() for row in genres], rng)
    return Items(ids, titles, years, genres), factors


def _people(count: int, rng: np.random.Generator) -> tuple[Users, NDArray[np.float64]]:
    """Users and their factors [U, axes] at the start of the world."""
    gender = rng.choice([1, 2], count, p=[0.4, 0.6])
    age = rng.choice(len(AGE_BANDS), count, p=[0.05, 0.2, 0.32, 0.2, 0.09, 0.08, 0.06]) + 1
    occupation = rng.integers(0, NUM_OCCUPATIONS, count) + 1
    region = rng.integers(0, NUM_REGIONS, count) + 1

    factors = rng.normal(0, 0.6, (count, _AXES.shape[1] + HIDDEN_AXES))
    _dark, _fantastic, intense, grown_up, tender = range(_AXES.shape[1])
    seniority = (age - 4) / 3
    factors[:, intense] -= 0.6 * seniority + np.where(gender == 1, 0.5, -0.5)
    factors[:, grown_up] += 0.9 * seniority
    factors[:, tender] += np.where(gender == 1, 0.7, -0.7)
    factors += rng.normal(0, 0.25, (NUM_OCCUPATIONS + 1, factors.shape[1]))[occupation]
    ids = np.arange(1, count + 1, dtype=np.int64)
    profile = (column.astype(np.uint8) for column in (gender, age, occupation, region))
    return Users(ids, *profile), factors


def _popularity(quality: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """[I] Zipf's law over a ranking in which better films tend to be higher; sums to 1."""
    appeal = quality + rng.normal(0, 0.8, len(quality))
    rank = np.empty(len(quality))
    rank[np.argsort(-appeal)] = np.arange(1, len(quality) + 1)
    # The shift flattens the very top, where Zipf's law would have everybody meet the same few films.
    weight = (rank + 15) ** -1.2
    return np.asarray(weight / weight.sum())


def _events_per_user(users: int, events: int, most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """[U] log-normal activity between the limits, summing to `events`."""
    activity = rng.lognormal(0, 1.1, users)
    counts = np.full(users, MIN_EVENTS_PER_USER, np.int64)
    while (left := events - int(counts.sum())) > 0:
        share = np.where(counts < most, activity, 0)
        counts = np.minimum(counts + rng.multinomial(left, share / share.sum()), most)
    return counts


def _films_met(truth: SyntheticTruth, counts: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """[N] item rows by user, in the order met: drawn by popularity and taste, never twice.

    Sorting log-weights plus Gumbel noise draws without replacement (Plackett-Luce).
    """
    log_popularity = np.log(truth.item_popularity)
    met = []
    for begin in range(0, len(counts), 512):  # bounds the memory of a large world
        block = counts[begin : begin + 512]
        taste = truth.user_factors[begin : begin + 512] @ truth.item_factors.T
        keys = log_popularity + 0.6 * taste + rng.gumbel(size=taste.shape)
        order = np.argsort(-keys, axis=1)
        met.append(order[np.arange(order.shape[1]) < block[:, None]])
    return np.concatenate(met)


def _times(counts: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """[N] epoch milliseconds by user, ascending per user, whole seconds.

    Users arrive all year, many in a few bursts; most rate everything in one sitting, with several ratings in the
    same second, and some come back days later.
    """
    users = len(counts)
    burst_s = rng.choice([40, 110, 220, 300], users) * 86_400 + rng.normal(0, 86_400, users)
    arrival_s = np.where(rng.random(users) < 0.5, burst_s, rng.uniform(0, SPAN_MS / 1000, users))

    total = int(counts.sum())
    gap_s = np.where(rng.random(total) < 0.3, 0, np.ceil(rng.exponential(25, total)))
    chance_to_leave = np.repeat(np.where(rng.random(users) < 0.4, 0.03, 0), counts)
    gap_s += np.where(rng.random(total) < chance_to_leave, rng.exponential(8 * 86_400, total), 0)

    first = np.cumsum(counts) - counts
    elapsed_s = np.cumsum(gap_s)
    elapsed_s -= np.repeat(elapsed_s[first], counts)
    whole_s: NDArray[np.int64] = (np.repeat(arrival_s, counts) + elapsed_s).astype(np.int64)
    return START_MS + 1000 * whole_s


def _rated(
    truth: SyntheticTruth,
    user: NDArray[np.int64],
    item: NDArray[np.int64],
    timestamp_ms: NDArray[np.int64],
    rng: np.random.Generator,
) -> Events:
    """Events in time order, with stars drawn from the truth."""
    felt = truth.utility(user, item, timestamp_ms) + rng.logistic(size=len(user))
    rating = 1 + np.searchsorted(THRESHOLDS, felt)
    order = np.argsort(timestamp_ms, kind="stable")
    return Events(
        user[order].astype(np.int32),
        item[order].astype(np.int32),
        rating[order].astype(np.float32),
        timestamp_ms[order],
    )
