"""Rankers laid out for serving: the same raw scores as the definitions, for every form of every model."""

import gc
import weakref
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from recstack.features.batch import UserBatch, user_batch
from recstack.features.catalogue import ItemTable
from recstack.models import rollout
from recstack.models.blend import Blend, Member
from recstack.models.dcn import DCN, DCNConfig
from recstack.models.dien import DIEN, DIENConfig
from recstack.models.dien_notebook import NotebookDIEN, NotebookDIENConfig
from recstack.models.ease import EASE, EASEConfig
from recstack.models.evolution import EVOLUTIONS
from recstack.models.opinions import HistoryStatistics
from recstack.models.ranker import Ranker, users_of
from recstack.models.recurrence import evolve
from recstack.models.simple_cf import SimpleCF, SimpleCFConfig
from recstack.models.trend import Trend, TrendConfig
from recstack.models.two_tower import TwoTowerConfig
from recstack.models.two_tower_ranker import TwoTowerRanker

ITEMS, USERS, STEPS = 30, 6, 14
LENGTHS = (14, 0, 3, 1, 11)

SHARED_DCN = {"num_items": ITEMS, "id_dim": 6, "half_lives": (0.0, 3.0), "history_dim": 5, "max_history": STEPS}
MODELS: dict[str, Callable[[], Ranker]] = {
    **{
        f"dien {kind}": lambda kind=kind: DIEN(DIENConfig(num_items=ITEMS, evolution=kind, max_history=STEPS))
        for kind in EVOLUTIONS
    },
    "dien over all steps": lambda: DIEN(
        DIENConfig(num_items=ITEMS, sequences=("year", "movie"), evolution_steps=STEPS + 5, activation="dice")
    ),
    "dien notebook": lambda: NotebookDIEN(NotebookDIENConfig(num_items=ITEMS)),
    "dcn notebook": lambda: DCN(
        DCNConfig(
            num_items=ITEMS, prediction="rating", profile=("gender", "age"), year=False, pooling="average",
            cross="vector", cross_layers=4, deep=(12, 8), batch_norm=True,
        )
    ),
    "dcn vector": lambda: DCN(DCNConfig(cross="vector", cross_layers=3, deep=(9,), **SHARED_DCN)),
    "dcn matrix": lambda: DCN(DCNConfig(cross="matrix", cross_layers=3, **SHARED_DCN)),
    "dcn mixture": lambda: DCN(
        DCNConfig(cross="mixture", cross_layers=3, cross_rank=4, genre_sets=16, dropout=0.1, **SHARED_DCN)
    ),
    "dcn of mean residuals": lambda: DCN(DCNConfig(**(SHARED_DCN | {"history_dim": 0, "cross_layers": 1}))),
    "dcn of profiles": lambda: DCN(DCNConfig(num_items=ITEMS)),
    "dcn of users": lambda: DCN(
        DCNConfig(
            num_items=ITEMS, num_users=USERS, prediction="rating", id_dim=4, memory_dim=6, half_lives=(3.0,),
            max_history=STEPS, cross="mixture", cross_layers=1, batch_norm=True,
        )
    ),
    "simple_cf": lambda: SimpleCF(SimpleCFConfig(num_users=USERS, num_items=ITEMS, biases=True)),
    "ease": lambda: EASE(EASEConfig(num_items=ITEMS, rank=4)),
    "trend": lambda: Trend(TrendConfig(num_items=ITEMS)),
    "two_tower": lambda: TwoTowerRanker(TwoTowerConfig(num_items=ITEMS, vector_dim=8, width=8, heads=2)),
}  # fmt: skip


def table() -> ItemTable:
    generator = torch.Generator().manual_seed(1)
    genres = torch.randint(0, 19, (ITEMS + 1, 6), generator=generator)
    genres[0] = 0
    return ItemTable(torch.randint(0, 60, (ITEMS + 1,), generator=generator), genres)


def made(name: str) -> tuple[Ranker, Tensor]:
    """A model of doubles whose every weight and buffer says something, and its item vectors."""
    torch.manual_seed(3)
    model = MODELS[name]().double().eval()
    for weight in model.parameters():
        weight.data.add_(0.3 * torch.randn_like(weight))
    for key, buffer in model.named_buffers():
        if buffer.is_floating_point() and not key.endswith(("log_decay_K", "mean_S", "deviation_S")):
            buffer.add_(torch.rand_like(buffer))
    with torch.inference_mode():
        return model, model.encode_items(table())


def users() -> UserBatch:
    rng = np.random.default_rng(2)
    items = [rng.integers(0, ITEMS + 1, length) for length in LENGTHS]
    ratings = [rng.integers(0, 6, length).astype(np.float32) for length in LENGTHS]
    profiles = rng.integers(0, 3, (len(LENGTHS), 4))
    return user_batch(profiles, items, ratings, STEPS, np.array([1, 0, 2, 6, 3]))


def candidates() -> Tensor:
    return torch.from_numpy(np.random.default_rng(4).integers(0, ITEMS + 1, (len(LENGTHS), 9)))


@pytest.mark.parametrize("name", MODELS)
@torch.inference_mode()
def test_a_served_model_scores_as_its_definition(name: str) -> None:
    model, vectors_IE = made(name)
    expected_BN = model.score(model.encode_users(users(), vectors_IE), vectors_IE[candidates()])
    served = model.served(vectors_IE)
    state = served.encode(users())
    scores_BN = served.score(state, candidates())
    torch.testing.assert_close(scores_BN, expected_BN, atol=1e-9, rtol=1e-9)
    assert expected_BN.std() > 1e-2
    some = slice(1, 4)
    torch.testing.assert_close(
        served.score(users_of(state, some), candidates()[some]), expected_BN[some], atol=1e-9, rtol=1e-9
    )


def test_a_blend_lets_go_of_the_tables_that_only_loading_reads() -> None:
    """With a million items they are hundreds of megabytes."""
    model, vectors_IE = made("dien augru")
    assert isinstance(model, DIEN)
    tables = [weakref.ref(vectors_IE), weakref.ref(model.item_features), weakref.ref(model)]
    blend = Blend({"dien": Member(model, vectors_IE, 1.0)})
    del model, vectors_IE
    gc.collect()
    assert [table() for table in tables] == [None] * len(tables)
    assert (blend.num_items, blend.history_lengths) == (ITEMS, [STEPS])


@torch.no_grad()
def test_recurrences_without_gradients_are_those_with() -> None:
    generator = torch.Generator().manual_seed(0)
    steps, users_, rows, size = 5, 3, 4, 6

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    recurrent_HG, attention_KBN = random(size, 3 * size), random(steps, users_, rows).softmax(0)
    for shared in (1, rows):
        inputs_KBMG = random(steps, users_, shared, 3 * size)
        before = inputs_KBMG.clone()
        last_BNH = rollout.last_state(inputs_KBMG, attention_KBN, recurrent_HG)
        torch.testing.assert_close(last_BNH, evolve(inputs_KBMG, attention_KBN, recurrent_HG)[-1])
        assert torch.equal(inputs_KBMG, before), "the inputs are the caller's"
    everything = torch.ones(steps, users_, 1, dtype=torch.float64)
    inputs_KB1G = random(steps, users_, 1, 3 * size)
    states_BLH = rollout.all_states(inputs_KB1G.squeeze(2).transpose(0, 1), recurrent_HG)
    torch.testing.assert_close(states_BLH.transpose(0, 1), evolve(inputs_KB1G, everything, recurrent_HG).squeeze(2))


def test_statistics_at_the_end_are_the_last_of_all() -> None:
    generator = torch.Generator().manual_seed(0)
    bias_BL, residuals_BL = torch.randn(2, len(LENGTHS), STEPS, generator=generator, dtype=torch.float64)
    batch, statistics = users(), HistoryStatistics().double()
    real_BL = torch.arange(STEPS) < batch.lengths_B.unsqueeze(1)
    ended_BS = statistics.at_end(bias_BL.sigmoid(), batch.ratings_BL, residuals_BL * real_BL, real_BL)
    running_BLS = statistics(bias_BL, batch.ratings_BL, residuals_BL)
    for row, length in enumerate(LENGTHS):
        expected_S = running_BLS[row, length - 1] if length else torch.zeros_like(ended_BS[row])
        torch.testing.assert_close(ended_BS[row], expected_S)
