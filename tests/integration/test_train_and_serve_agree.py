"""What is published is what is served: every kind of ranker and of retriever, with weights that training might give."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from recstack.api.common.v1 import common_pb2
from recstack.api.ranking.v1 import ranking_pb2, ranking_pb2_grpc
from recstack.api.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc
from recstack.bundle import BundleStore
from recstack.config import RankingSettings, RetrievalSettings, Settings
from recstack.data import Dataset, RowSplit, synthetic_world
from recstack.features.content import TitleVocabulary
from recstack.features.schema import PROFILE_SIZES
from recstack.models.dcn import DCN, DCNConfig
from recstack.models.dien import DIEN, DIENConfig
from recstack.models.dien_notebook import NotebookDIEN, NotebookDIENConfig
from recstack.models.ease import EASE, EASEConfig
from recstack.models.multimodal import Multimodal, MultimodalConfig
from recstack.models.ranker import Prediction, Ranker
from recstack.models.retriever import Retriever
from recstack.models.simple_cf import SimpleCF, SimpleCFConfig
from recstack.models.trend import Trend, TrendConfig
from recstack.models.two_tower import TwoTower, TwoTowerConfig
from recstack.models.two_tower_notebook import NotebookTwoTower, NotebookTwoTowerConfig
from recstack.models.two_tower_ranker import TwoTowerRanker
from recstack.rpc.channel import aio_channel
from services.ranking.server import running_service as running_ranking
from services.retrieval.app import running_service as running_retrieval
from services.trainer.golden import GoldenCase, read_golden
from services.trainer.item_vectors import item_vectors
from services.trainer.publish import Models, publish
from services.trainer.tasks.history_at import predict_rows

USERS, ITEMS, SERVED_HISTORY = 60, 80, 200


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return synthetic_world(seed=1, users=USERS, items=ITEMS, events=2_000)


def multimodal(form: str) -> Multimodal:
    titles = synthetic_world(seed=1, users=USERS, items=ITEMS, events=2_000).items.titles
    words = TitleVocabulary.build(titles).ngrams
    return Multimodal(MultimodalConfig(num_items=ITEMS, vocabulary=words, form=form, filters=4, channels=(4, 4)))


RANKERS: Mapping[str, Callable[[], Ranker]] = {
    "dien": lambda: DIEN(DIENConfig(num_items=ITEMS, max_history=20)),
    "dcn": lambda: DCN(
        DCNConfig(num_items=ITEMS, id_dim=8, half_lives=(0.0, 5.0), history_dim=8, max_history=30, deep=(16,))
    ),
    "dcn with ids and memories": lambda: DCN(
        DCNConfig(num_items=ITEMS, num_users=USERS, id_dim=8, memory_dim=8, cross="mixture", deep=(16,))
    ),
    "dcn for ratings, no ids": lambda: DCN(
        DCNConfig(
            num_items=ITEMS,
            prediction="rating",
            year=False,
            pooling="average",
            cross="vector",
            batch_norm=True,
            deep=(8,),
        )
    ),
    "dien_notebook": lambda: NotebookDIEN(NotebookDIENConfig(num_items=ITEMS)),
    "two_tower": lambda: TwoTowerRanker(TwoTowerConfig(num_items=ITEMS, width=16, vector_dim=16)),
    "ease": lambda: EASE(EASEConfig(num_items=ITEMS, rank=8)),
    "trend": lambda: Trend(TrendConfig(num_items=ITEMS)),
    "simple_cf": lambda: SimpleCF(SimpleCFConfig(num_users=USERS, num_items=ITEMS, biases=True)),
    "simple_cf, binary": lambda: SimpleCF(SimpleCFConfig(num_users=USERS, num_items=ITEMS, binary=True)),
    "multimodal": lambda: multimodal("full"),
    "multimodal, notebook": lambda: multimodal("notebook"),
}


def random_weights(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Random values for all that is saved, none of it left at zero as it starts; ratings within 1..5."""
    torch.manual_seed(seed)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            value.uniform_(0.05, 0.3) if value.ndim < 2 else value.normal_(std=0.2)
        if name in ("mean", "users.mean", "cross_out.bias", "deep_out.bias") and model.prediction is Prediction.RATING:
            value.fill_(3.0)
    return model.eval()


def publish_models(
    home: Path, dataset: Dataset, rankers: Mapping[str, Ranker], weights: Mapping[str, float], **others: torch.nn.Module
) -> list[GoldenCase]:
    """Publish and activate; returns the bundle's golden cases."""
    store = BundleStore(str(home / "bundles"))
    retriever = random_weights(TwoTower(TwoTowerConfig(num_items=ITEMS, width=16, vector_dim=16)))
    models = Models(**{"retriever": retriever, "rankers": rankers, "weights": weights, **others})
    version = publish(store, dataset, models, {}).version
    store.activate(version)
    return read_golden(store.open(version).folder / "golden.npz")


def user_fields(case: GoldenCase) -> dict[str, object]:
    history = case.history.last(SERVED_HISTORY)
    return {
        "user_id": case.user_id,
        "profile": common_pb2.UserProfile(**dict(zip(PROFILE_SIZES, case.profile.tolist(), strict=True))),
        "history": common_pb2.History(
            item_ids=history.item_ids.tolist(),
            timestamps_ms=history.timestamps_ms.tolist(),
            ratings=history.ratings.tolist(),
        ),
    }


async def served_scores(home: Path, cases: list[GoldenCase]) -> tuple[list[np.ndarray], int]:
    """What the ranking service answers to the cases, and the kind of score that it says it is."""
    settings = Settings(home=home, ranking=RankingSettings(address="127.0.0.1:0"))
    answers = []
    async with running_ranking(settings) as server, aio_channel(f"127.0.0.1:{server.port}") as channel:
        stub = ranking_pb2_grpc.RankingServiceStub(channel)
        for case in cases:
            request = ranking_pb2.RankRequest(item_ids=case.item_ids.tolist(), **user_fields(case))
            answers.append(await stub.Rank(request))
    (kind,) = {answer.score_kind for answer in answers}
    return [np.array(answer.scores, np.float32) for answer in answers], kind


@pytest.mark.parametrize("name", RANKERS)
async def test_every_ranker_serves_its_offline_scores(tmp_path: Path, dataset: Dataset, name: str) -> None:
    model = random_weights(RANKERS[name]())
    key = name.partition(",")[0].partition(" ")[0]
    cases = publish_models(tmp_path, dataset, {key: model}, {key: 1.0})
    served, kind = await served_scores(tmp_path, cases)
    rates = model.prediction is Prediction.RATING
    assert kind == (common_pb2.SCORE_KIND_RATING if rates else common_pb2.SCORE_KIND_LIKE_PROBABILITY)
    for scores, case in zip(served, cases, strict=True):
        np.testing.assert_allclose(scores, case.scores, rtol=0, atol=1e-5)
    assert np.unique(np.concatenate(served).round(4)).size > 20, "scores that do not differ would prove nothing"


async def test_a_blend_serves_the_sum_of_what_its_rankers_say_alone(tmp_path: Path, dataset: Dataset) -> None:
    weights = {"dien": 0.7, "dcn": 0.2, "simple_cf": 0.4}
    rankers = {name: random_weights(RANKERS[name]()) for name in ("dien", "dcn")}
    rankers["simple_cf"] = random_weights(RANKERS["simple_cf, binary"]())
    cases = publish_models(tmp_path / "blend", dataset, rankers, weights)
    served, _ = await served_scores(tmp_path / "blend", cases)
    raw = np.zeros((len(cases), len(cases[0].item_ids)))
    for name, model in rankers.items():
        publish_models(tmp_path / name, dataset, {name: model}, {name: 1.0})
        alone = np.array((await served_scores(tmp_path / name, cases))[0], np.float64)
        raw += weights[name] * np.log(alone / (1 - alone))
    np.testing.assert_allclose(served, 1 / (1 + np.exp(-raw)), atol=1e-5)
    np.testing.assert_allclose(served, [case.scores for case in cases], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["dien", "dcn", "simple_cf"])
async def test_the_evaluation_sees_what_is_served(tmp_path: Path, dataset: Dataset, name: str) -> None:
    """A row predicted as evaluation does it, and asked of the server with what was known of its user by then."""
    model = random_weights(RANKERS[name]())
    everything = np.arange(len(dataset.events))
    split = RowSplit(everything, everything[:0], everything[:0], temporal=True)
    publish_models(tmp_path, dataset, {name: model}, {name: 1.0})
    rows = np.random.default_rng(0).choice(everything, 20, replace=False)
    offline = predict_rows(model, dataset, split, rows, item_vectors(model, dataset))
    events = dataset.events
    cases = []
    for row in rows:
        user = events.user[row]
        before = np.flatnonzero((events.user == user) & (events.timestamp_ms < events.timestamp_ms[row]))
        cases.append(case_of(dataset, int(user), before, dataset.items.ids[events.item[row : row + 1]]))
    served, _ = await served_scores(tmp_path, cases)
    np.testing.assert_allclose(np.concatenate(served), offline, rtol=0, atol=1e-5)


def case_of(dataset: Dataset, user: int, rows: np.ndarray, item_ids: np.ndarray) -> GoldenCase:
    from recstack.features.batch import History

    events = dataset.events
    history = History(dataset.items.ids[events.item[rows]], events.timestamp_ms[rows], events.rating[rows])
    scores = np.empty(len(item_ids), np.float32)
    return GoldenCase(int(dataset.users.ids[user]), dataset.users.profiles()[user], history, item_ids, scores)


RETRIEVERS: Mapping[str, Callable[[], Retriever]] = {
    "two_tower": lambda: TwoTower(TwoTowerConfig(num_items=ITEMS, width=16, vector_dim=16)),
    "two_tower_notebook": lambda: NotebookTwoTower(NotebookTwoTowerConfig(num_users=USERS, num_items=ITEMS)),
}


@pytest.mark.parametrize("name", RETRIEVERS)
async def test_every_retriever_recalls_in_the_order_of_its_dot_products(
    tmp_path: Path, dataset: Dataset, name: str
) -> None:
    model = random_weights(RETRIEVERS[name]())
    dien = random_weights(RANKERS["dien"]())
    content = random_weights(RANKERS["multimodal"]())
    cases = publish_models(tmp_path, dataset, {"dien": dien}, {"dien": 1.0}, retriever=model, content=content)
    from recstack.features.batch import user_batch
    from services.trainer.items import make_catalogue

    catalogue = make_catalogue(dataset)
    table = catalogue.item_table()
    settings = Settings(home=tmp_path, retrieval=RetrievalSettings(address="127.0.0.1:0", cold_start_interactions=25))
    channels = [
        retrieval_pb2.ChannelRequest(channel=channel, k=30)
        for channel in (common_pb2.CHANNEL_TWO_TOWER, common_pb2.CHANNEL_COLD_START)
    ]
    async with running_retrieval(settings) as server, aio_channel(f"127.0.0.1:{server.port}") as channel:
        stub = retrieval_pb2_grpc.RetrievalServiceStub(channel)
        for case in cases:
            request = retrieval_pb2.RetrieveRequest(channels=channels, **user_fields(case))
            recalled, cold = (await stub.Retrieve(request)).results
            user = np.searchsorted(dataset.users.ids, case.user_id) + 1 if case.user_id else 0
            batch = user_batch(
                case.profile[None],
                [catalogue.index_of(case.history.item_ids)],
                [case.history.ratings],
                model.config.max_history,
                np.array([user]),
            )
            with torch.inference_mode():
                products_I = (model.encode_items(table)[1:] @ model.encode_users(batch, table)[0]).numpy()
            rows = catalogue.index_of(np.array(recalled.item_ids)) - 1
            np.testing.assert_allclose(products_I[rows], np.sort(products_I)[::-1][:30], rtol=1e-4, atol=1e-5)
            assert not cold.error
            counts = np.bincount(dataset.events.item, minlength=ITEMS)
            cold_rows = catalogue.index_of(np.array(cold.item_ids)) - 1
            assert len(cold_rows) == min(30, (counts <= 25).sum()) > 0
            assert counts[cold_rows].max() <= 25
