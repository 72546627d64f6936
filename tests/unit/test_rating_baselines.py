"""Rating baselines on data small enough to know the answer."""

import numpy as np
import pytest

from recstack.evaluation.factorization_machine import FactorizationMachine, genres, identity, profile
from recstack.evaluation.labelled_events import LabelledEvents
from recstack.evaluation.rating_baselines import RATING_BASELINES, item_mean, user_and_item_mean
from recstack.evaluation.rating_metrics import rmse

USERS, ITEMS = 40, 30


def world(copies: int = 60) -> tuple[LabelledEvents, LabelledEvents]:
    """Known events and asked ones. Women rate genre 1 with 5 and genre 2 with 1, men the other way round, and every
    third user a star closer to the middle; the last user and the last item have no events."""
    rng = np.random.default_rng(1)
    profiles, kinds = np.zeros((USERS, 4), np.int64), np.zeros((ITEMS, 6), np.uint8)
    profiles[:, 0], kinds[:, 0] = rng.integers(1, 3, USERS), rng.integers(1, 3, ITEMS)
    user, item = np.divmod(np.arange((USERS - 1) * (ITEMS - 1)), ITEMS - 1)
    extreme = np.where(user % 3 == 0, 1.0, 2.0)
    rating = (3 + extreme * np.where(profiles[user, 0] == kinds[item, 0], 1, -1)).astype(np.float32)
    asked = rng.random(len(user)) < 0.2
    known = LabelledEvents(*(np.tile(column[~asked], copies) for column in (user, item, rating)), profiles, kinds)
    return known, LabelledEvents(user[asked], item[asked], rating[asked], profiles, kinds)


def error(name: str, copies: int = 60) -> float:
    known, asked = world(copies)
    predicted = RATING_BASELINES[name](known, asked.user, asked.item)
    assert predicted.shape == asked.label.shape
    assert predicted.min() >= 1
    assert predicted.max() <= 5
    return rmse(asked.label, predicted)


def test_interactions_find_what_means_and_sums_cannot() -> None:
    additive = min(error("item mean", 1), error("user and item mean", 1), error("linear regression"))
    assert additive > 1.5
    assert error("item-kNN", 1) < 1.2
    for name in ("FM without ids", "biased MF", "FM"):
        assert error(name) < 0.8, name


def test_without_ids_a_new_pair_is_judged_by_its_features() -> None:
    known, _ = world()
    new = np.array([USERS - 1]), np.array([ITEMS - 1])
    same = known.profiles[-1, 0] == known.genres[-1, 0]
    for name in ("FM without ids", "FM"):
        predicted = RATING_BASELINES[name](known, *new)[0]
        assert predicted > 4 if same else predicted < 2, name


def test_means_by_hand() -> None:
    nothing = np.zeros((2, 4), np.int64), np.zeros((2, 6), np.uint8)
    known = LabelledEvents(np.array([0, 0]), np.array([0, 1]), np.array([5, 1], np.float32), *nothing)
    pairs = np.array([0, 1]), np.array([0, 0])
    np.testing.assert_allclose(item_mean(known, *pairs), (5 + 20 * 3) / 21)
    # User 0 is as far above item 0's mean as below item 1's.
    np.testing.assert_allclose(user_and_item_mean(known, *pairs), (5 + 20 * 3) / 21)


def test_the_machine_is_the_sum_over_all_pairs_of_features() -> None:
    known, _ = world(copies=1)
    model = FactorizationMachine(
        identity(USERS) + profile(known), identity(ITEMS) + genres(known), factors=3
    ).requires_grad_(False)
    model.user_table_PF.normal_()
    model.item_table_PF.normal_()
    user, item = 7, 11
    rows = [
        (table[index], value)
        for table, features, row in (
            (model.user_table_PF, model.users, user),
            (model.item_table_PF, model.items, item),
        )
        for index, value in zip(features.index_NK[row], features.value_NK[row], strict=True)
        if value
    ]
    expected = sum(row[0] * value for row, value in rows)
    for position, (first, x) in enumerate(rows):
        for second, y in rows[position + 1 :]:
            expected += first[1:] @ second[1:] * x * y
    assert model(model.users.index_NK[[user], 0], model.items.index_NK[[item], 0]).item() == pytest.approx(
        expected.item(), rel=1e-4
    )
