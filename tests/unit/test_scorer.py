"""The scorer: what a query's scores depend on, and that a bundle's folder gives the same scores."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from recstack.bundle import BundleStore
from recstack.errors import BundleError
from recstack.features.batch import EMPTY_HISTORY, History
from recstack.features.catalogue import Catalogue
from recstack.features.users import UserIndex
from recstack.models.blend import Blend, Member
from recstack.models.dien import DIEN, DIENConfig
from recstack.models.ranker import Prediction, Ranker
from services.ranking.scorer import RankQuery, Scorer
from tests.helpers import ranking_bundles

ITEMS = 40
MAX_HISTORY = 6


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    rng = np.random.default_rng(0)
    return Catalogue(
        ids=np.arange(ITEMS, dtype=np.int64) * 7 + 3,
        years=rng.integers(1920, 2000, ITEMS).astype(np.int16),
        genres=rng.integers(0, 19, (ITEMS, 6)).astype(np.uint8),
        popularity=rng.random(ITEMS).astype(np.float32),
    )


@pytest.fixture(scope="module")
def model() -> DIEN:
    torch.manual_seed(1)
    model = DIEN(DIENConfig(num_items=ITEMS, max_history=MAX_HISTORY))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def member(model: Ranker, catalogue: Catalogue, weight: float = 1.0) -> Member:
    with torch.inference_mode():
        return Member(model, model.encode_items(catalogue.item_table()), weight)


@pytest.fixture(scope="module")
def scorer(model: DIEN, catalogue: Catalogue) -> Scorer:
    return Scorer(Blend({"dien": member(model, catalogue)}), catalogue, UserIndex(np.arange(1, 9)))


def query(catalogue: Catalogue, steps: int, candidates: int, seed: int = 0) -> RankQuery:
    rng = np.random.default_rng(seed)
    history = History(
        rng.choice(catalogue.ids, steps), np.arange(steps, dtype=np.int64), rng.integers(1, 6, steps).astype(np.float32)
    )
    return RankQuery(np.array([1, 3, 5, 2]), history, rng.choice(catalogue.ids, candidates))


def test_scores_are_probabilities_in_request_order(scorer: Scorer, catalogue: Catalogue) -> None:
    asked = query(catalogue, 4, 12)
    (scores,) = scorer.score([asked])
    assert scores.dtype == np.float32
    assert scores.shape == (12,)
    assert ((scores > 0) & (scores < 1)).all()
    assert len(np.unique(scores.round(5))) > 3
    (turned,) = scorer.score([RankQuery(asked.profile, asked.history, asked.item_ids[::-1])])
    np.testing.assert_allclose(turned[::-1], scores, atol=1e-6)


def test_a_query_scores_the_same_alone_and_in_company(scorer: Scorer, catalogue: Catalogue) -> None:
    queries = [
        query(catalogue, steps, candidates, seed) for seed, (steps, candidates) in enumerate([(0, 3), (6, 9), (2, 1)])
    ]
    together = scorer.score(queries)
    for asked, scores in zip(queries, together, strict=True):
        np.testing.assert_allclose(scores, scorer.score([asked])[0], atol=1e-6)
    for scores, again in zip(together, scorer.score(queries), strict=True):
        np.testing.assert_array_equal(scores, again)


def test_only_the_most_recent_events_count(scorer: Scorer, catalogue: Catalogue) -> None:
    asked = query(catalogue, 15, 8)
    recent = RankQuery(asked.profile, asked.history.last(MAX_HISTORY), asked.item_ids)
    np.testing.assert_array_equal(scorer.score([asked])[0], scorer.score([recent])[0])
    shorter = RankQuery(asked.profile, asked.history.last(MAX_HISTORY - 1), asked.item_ids)
    assert np.abs(scorer.score([asked])[0] - scorer.score([shorter])[0]).max() > 1e-6


def test_ratings_and_profile_matter(scorer: Scorer, catalogue: Catalogue) -> None:
    asked = query(catalogue, 5, 8)
    (scores,) = scorer.score([asked])
    flipped = History(asked.history.item_ids, asked.history.timestamps_ms, 6 - asked.history.ratings)
    for other in (
        RankQuery(asked.profile, flipped, asked.item_ids),
        RankQuery(np.zeros(4, np.int64), asked.history, asked.item_ids),
        RankQuery(asked.profile, EMPTY_HISTORY, asked.item_ids),
    ):
        assert np.abs(scorer.score([other])[0] - scores).max() > 1e-4


def test_unknown_items_are_counted_and_share_a_score(scorer: Scorer, catalogue: Catalogue) -> None:
    item_ids = np.array([999_999, int(catalogue.ids[0]), -5])
    assert scorer.unknown_items(item_ids) == 2
    (scores,) = scorer.score([RankQuery(np.zeros(4, np.int64), EMPTY_HISTORY, item_ids)])
    assert scores[0] == pytest.approx(scores[2], abs=1e-6)
    assert scores[0] != pytest.approx(scores[1], abs=1e-4)


def without(asked: RankQuery, event: int) -> RankQuery:
    """The query as if that event of the history had not happened."""
    kept = [step for step in range(len(asked.history)) if step != event]
    history = asked.history
    left = History(history.item_ids[kept], history.timestamps_ms[kept], history.ratings[kept])
    return RankQuery(asked.profile, left, asked.item_ids)


@pytest.mark.parametrize("pairs", [1, 5 * MAX_HISTORY * 4, 50_000])
def test_an_influence_is_what_leaving_the_event_out_takes_away(
    scorer: Scorer, catalogue: Catalogue, pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the variants are scored one by one or in uneven chunks."""
    monkeypatch.setattr("services.ranking.scorer.ATTRIBUTION_PAIRS", pairs)
    asked = query(catalogue, MAX_HISTORY, 5)
    scores, influences = scorer.attribute(asked)
    (expected,) = scorer.score([asked])
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert influences.dtype == np.float32
    assert influences.shape == (5, MAX_HISTORY)
    for event in range(MAX_HISTORY):
        (left,) = scorer.score([without(asked, event)])
        np.testing.assert_allclose(influences[:, event], expected - left, atol=1e-6)
    assert influences.min() < -1e-3, "some events speak against an item"
    assert influences.max() > 1e-3, "some speak for it"


def test_events_that_the_ranker_does_not_use_have_no_influence(scorer: Scorer, catalogue: Catalogue) -> None:
    asked = query(catalogue, MAX_HISTORY + 4, 5)
    scores, influences = scorer.attribute(asked)
    np.testing.assert_allclose(scores, scorer.score([asked])[0], atol=1e-5)
    assert (influences[:, :4] == 0).all()
    recent = RankQuery(asked.profile, asked.history.last(MAX_HISTORY), asked.item_ids)
    np.testing.assert_allclose(influences[:, 4:], scorer.attribute(recent)[1], atol=1e-6)
    assert (influences[:, 4:] != 0).any()


def test_a_single_event_has_all_the_influence(scorer: Scorer, catalogue: Catalogue) -> None:
    asked = query(catalogue, 1, 5)
    scores, influences = scorer.attribute(asked)
    (cold,) = scorer.score([RankQuery(asked.profile, EMPTY_HISTORY, asked.item_ids)])
    np.testing.assert_allclose(influences[:, 0], scores - cold, atol=1e-6)


def test_attribution_without_a_history_has_no_columns(scorer: Scorer, catalogue: Catalogue) -> None:
    asked = query(catalogue, 0, 5)
    scores, influences = scorer.attribute(asked)
    np.testing.assert_allclose(scores, scorer.score([asked])[0], atol=1e-5)
    assert influences.shape == (5, 0)


def test_no_queries_no_scores(scorer: Scorer) -> None:
    assert scorer.score([]) == []


def test_a_ranker_of_another_catalogue_or_of_other_users_is_refused(model: DIEN, catalogue: Catalogue) -> None:
    fewer = Catalogue(catalogue.ids[:-1], catalogue.years[:-1], catalogue.genres[:-1], catalogue.popularity[:-1])
    with pytest.raises(BundleError, match=r"ranker dien knows {'items': 40, .*the bundle has {'items': 39"):
        Scorer(Blend({"dien": member(model, catalogue)}), fewer, UserIndex(np.arange(1, 9)))
    known = ranking_bundles.random_catalogue()
    by_id = member(ranking_bundles.random_ranker("simple_cf"), known)
    with pytest.raises(BundleError, match=r"'users': 30}, the bundle has .*'users': 8}"):
        Scorer(Blend({"simple_cf": by_id}), known, UserIndex(np.arange(1, 9)))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Scorer]:
    """Bundles of single rankers and of a blend, loaded from their store."""
    folder = tmp_path_factory.mktemp("served")
    store = BundleStore(str(folder / "store"))
    dien, by_id = ranking_bundles.random_ranker("dien"), ranking_bundles.random_ranker("simple_cf_binary")
    rating = ranking_bundles.random_ranker("simple_cf")
    versions = {
        "dien": ranking_bundles.publish_bundle(store, folder / "a", rankers={"dien": dien}),
        "by_id": ranking_bundles.publish_bundle(store, folder / "b", rankers={"simple_cf": by_id}),
        "rating": ranking_bundles.publish_bundle(store, folder / "c", rankers={"simple_cf": rating}),
        "blend": ranking_bundles.publish_bundle(
            store, folder / "d", rankers={"dien": dien, "simple_cf": by_id}, weights={"dien": 0.75, "simple_cf": 0.25}
        ),
    }
    return {name: Scorer.load(store.open(version)) for name, version in versions.items()}


def test_a_blend_is_the_weighted_sum_of_its_rankers_raw_scores(served: dict[str, Scorer]) -> None:
    asked = replace(query(ranking_bundles.random_catalogue(), 5, 20), user_id=7)
    dien, by_id, blend = (served[name].score([asked])[0].astype(float) for name in ("dien", "by_id", "blend"))
    total = 0.75 * np.log(dien / (1 - dien)) + 0.25 * np.log(by_id / (1 - by_id))
    np.testing.assert_allclose(blend, 1 / (1 + np.exp(-total)), atol=1e-5)
    assert np.abs(dien - by_id).max() > 0.05
    assert served["blend"].max_history == ranking_bundles.MAX_HISTORY
    assert served["by_id"].max_history == 0


def test_a_ranker_that_knows_users_by_id_is_given_the_id(served: dict[str, Scorer]) -> None:
    asked = query(ranking_bundles.random_catalogue(), 5, 20)
    seventh, eighth, stranger, nobody = served["by_id"].score(
        [replace(asked, user_id=user_id) for user_id in (7, 8, 999, 0)]
    )
    assert np.abs(seventh - eighth).max() > 1e-3
    np.testing.assert_array_equal(stranger, nobody)
    _, influences = served["by_id"].attribute(replace(asked, user_id=7))
    assert influences.shape == (20, 5)
    assert not influences.any(), "it reads no history"


def test_ratings_are_ratings(served: dict[str, Scorer]) -> None:
    assert served["rating"].prediction is Prediction.RATING
    served["rating"].warm_up()
    (ratings,) = served["rating"].score([replace(query(ranking_bundles.random_catalogue(), 5, 50), user_id=3)])
    assert ratings.min() >= 1
    assert ratings.max() <= 5
    assert ratings.mean() > 2


def test_probabilities_and_ratings_do_not_blend(catalogue: Catalogue, model: DIEN) -> None:
    known = ranking_bundles.random_catalogue()
    rating = member(ranking_bundles.random_ranker("simple_cf"), known, 0.5)
    with pytest.raises(BundleError, match="must predict one kind of thing: dien a like, simple_cf a rating"):
        Blend({"dien": member(ranking_bundles.random_ranker("dien"), known, 0.5), "simple_cf": rating})


def test_a_bundle_gives_the_same_scores_as_the_models_it_was_made_of(served: dict[str, Scorer]) -> None:
    known = ranking_bundles.random_catalogue()
    dien = Blend({"dien": member(ranking_bundles.random_ranker("dien"), known)})
    asked = query(known, 5, 20)
    offline = Scorer(dien, known, UserIndex(np.array(ranking_bundles.USER_IDS))).score([asked])[0]
    np.testing.assert_array_equal(served["dien"].score([asked])[0], offline)
