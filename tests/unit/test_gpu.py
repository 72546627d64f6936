"""Scoring on a GPU, as far as a CPU can tell: padding changes no score, a batch finds its bucket, one thread at a time
uses the buffers; and with tensors of a device without storage, that a recording holds only work of that device."""

import copy
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from recstack.models import kernels
from recstack.models.blend import Blend, Member, Users
from recstack.models.rankers import RANKERS
from services.ranking.gpu import GraphedBlend, with_graphs
from services.ranking.gpu_buckets import Bucket, Buckets, Layout
from tests.helpers.rankers import ITEMS, MAKERS, USERS, random_member
from tests.helpers.recorders import EveryCall

BUCKETS = Buckets(users=(1, 4), candidates=(8, 32), history=(5, 30))
ELSEWHERE = torch.device("meta")
"""A device that is not the CPU and that every build of torch knows."""


def batch(histories: Sequence[int], candidates: Sequence[int], seed: int = 0) -> tuple[Users, list[NDArray[np.int64]]]:
    """Users with histories of these lengths, and as many candidates for each as said."""
    rng = np.random.default_rng(seed)
    users = Users(
        rng.integers(0, 2, (len(histories), 4)),
        [rng.integers(0, ITEMS + 1, length) for length in histories],
        [rng.integers(0, 6, length).astype(np.float32) for length in histories],
        rng.integers(0, USERS + 1, len(histories)),
    )
    return users, [rng.integers(0, ITEMS + 1, count) for count in candidates]


def assert_same(got: Sequence[NDArray[np.float32]], expected: Sequence[NDArray[np.float32]]) -> None:
    assert [row.shape for row in got] == [row.shape for row in expected]
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-6, rtol=2e-6)


@pytest.fixture(scope="module", params=sorted(MAKERS))
def blend(request: pytest.FixtureRequest) -> Blend:
    return Blend({request.param: random_member(request.param)})


def test_every_ranker_is_tried_here() -> None:
    assert set(MAKERS) == set(RANKERS)


@pytest.mark.parametrize(
    ("histories", "candidates"),
    [((0,), (3,)), ((4,), (8,)), ((25,), (9,)), ((90,), (32,)), ((3, 0, 7), (1, 20, 8)), ((0, 0), (5, 5))],
)
def test_padding_to_a_bucket_changes_no_score(
    blend: Blend, histories: tuple[int, ...], candidates: tuple[int, ...]
) -> None:
    recorder = EveryCall()
    graphed = GraphedBlend(blend, BUCKETS, recorder)
    asked = batch(histories, candidates)
    assert_same(graphed.predict(*asked), blend.predict(*asked))
    assert (recorder.replayed, recorder.waited) == (1, 1)


def test_a_small_batch_after_a_large_one_sees_nothing_of_it(blend: Blend) -> None:
    graphed = GraphedBlend(blend, BUCKETS, EveryCall())
    large, small = batch((25, 30, 9, 20), (32, 30, 31, 32), seed=1), batch((2,), (4,), seed=2)
    graphed.predict(*large)
    kept = graphed.predict(*small)
    assert_same(kept, blend.predict(*small))
    before = [row.copy() for row in kept]
    graphed.predict(*large)
    assert_same(kept, before)


@pytest.mark.parametrize(("histories", "candidates"), [((3,) * 5, (2,) * 5), ((3,), (33,))])
def test_a_batch_beyond_all_buckets_is_scored_as_it_is(histories: tuple[int, ...], candidates: tuple[int, ...]) -> None:
    blend, recorder = Blend({"dien": random_member("dien")}), EveryCall()
    asked = batch(histories, candidates)
    assert_same(GraphedBlend(blend, BUCKETS, recorder).predict(*asked), blend.predict(*asked))
    assert recorder.replayed == 0


def test_a_blend_of_rankers_that_read_more_and_less_of_the_history() -> None:
    names = ("dien", "ease", "two_tower", "trend")
    blend = Blend({name: random_member(name, 0.2 * (1 + place)) for place, name in enumerate(names)})
    assert blend.history_lengths == [0, 15, 20, 30]
    graphed, asked = GraphedBlend(blend, BUCKETS, EveryCall()), batch((40, 17, 2), (9, 4, 30))
    assert_same(graphed.predict(*asked), blend.predict(*asked))
    assert (graphed.prediction, graphed.max_history) == (blend.prediction, blend.max_history)


def test_every_bucket_is_recorded_once_largest_first() -> None:
    recorder = EveryCall()
    GraphedBlend(Blend({"dien": random_member("dien")}), BUCKETS, recorder)
    every = BUCKETS.all(20)
    assert recorder.recorded == len(every) == 8
    assert every[0] == Bucket(4, 32, 20)
    assert every == sorted(every, reverse=True)


def test_threads_take_turns() -> None:
    blend = Blend({"dien": random_member("dien")})
    graphed = GraphedBlend(blend, BUCKETS, EveryCall())
    asked = [batch((seed % 7,), (1 + seed % 8,), seed) for seed in range(12)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda one: graphed.predict(*one), asked))
    for one, answer in zip(asked, answers, strict=True):
        assert_same(answer, blend.predict(*one))


def test_a_blend_on_a_cpu_is_served_as_it_is() -> None:
    blend = Blend({"trend": random_member("trend")})
    assert with_graphs(blend) is blend


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ((1, 1, 0), Bucket(1, 8, 5)),
        ((1, 8, 5), Bucket(1, 8, 5)),
        ((2, 9, 6), Bucket(4, 32, 20)),
        ((4, 32, 500), Bucket(4, 32, 20)),
        ((5, 1, 1), None),
        ((1, 33, 1), None),
    ],
)
def test_a_batch_finds_the_smallest_bucket_that_holds_it(asked: tuple[int, int, int], found: Bucket | None) -> None:
    assert BUCKETS.fit(*asked, max_history=20) == found


def test_histories_beyond_the_largest_size_have_no_bucket_unless_models_read_no_more() -> None:
    assert BUCKETS.fit(1, 1, 31, max_history=25) == Bucket(1, 8, 25)
    assert BUCKETS.fit(1, 1, 31, max_history=40) is None
    assert BUCKETS.all(0) == [Bucket(4, 32, 1), Bucket(4, 8, 1), Bucket(1, 32, 1), Bucket(1, 8, 1)]


def test_unpacked_inputs_are_views_of_the_packed_row() -> None:
    layout = Layout(Bucket(4, 8, 5), [0, 3, 20])
    row = np.full(layout.size, -1, np.int64)
    users, candidates = batch((5, 0), (3, 8))
    layout.pack(row, users, candidates)
    batches, candidates_BN = layout.unpack(torch.from_numpy(row))
    assert list(batches) == [0, 3, 20]
    assert batches[3].items_BL.shape == (4, 3)
    assert batches[20].items_BL.shape == (4, 5)
    assert batches[20].lengths_B.tolist() == [5, 0, 0, 0]
    assert batches[3].items_BL[0].tolist() == users.item_indices[0][-3:].tolist()
    assert candidates_BN[0].tolist() == [*candidates[0], 0, 0, 0, 0, 0]
    assert not candidates_BN[2:].any()
    row[:] = 7
    assert (candidates_BN == 7).all()


def elsewhere(mode: FakeTensorMode, tensor: Tensor) -> Tensor:
    """A tensor without storage on another device: operations say what comes out and where, and compute nothing."""
    return FakeTensor(mode, tensor.detach().to("meta"), ELSEWHERE)


def member_elsewhere(mode: FakeTensorMode, member: Member) -> Member:
    """The member with all its tensors moved."""
    ranker = copy.deepcopy(member.ranker)
    for module in ranker.modules():
        for tensors in (module._parameters, module._buffers):
            tensors.update({name: elsewhere(mode, tensor) for name, tensor in tensors.items() if tensor is not None})
    return Member(ranker, elsewhere(mode, member.item_vectors_IE), member.weight)


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_a_recording_would_hold_only_work_of_the_gpu(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CUDA graph cannot hold what waits for a result (item, nonzero, masks as indices) or mixes devices; tensors
    without storage refuse both."""
    monkeypatch.setattr(kernels, "triton_kernel", lambda name, device_type: None)
    mode = FakeTensorMode()
    member = member_elsewhere(mode, random_member(name))
    layout = Layout(Bucket(4, 8, 30), [int(member.ranker.config.max_history)])
    row = elsewhere(mode, torch.zeros(layout.size, dtype=torch.int64))
    with mode:
        predictions_BN = Blend({name: member}).predict_tensors(*layout.unpack(row))
    assert predictions_BN.device == ELSEWHERE
    assert predictions_BN.shape == (4, 8)
    assert predictions_BN.dtype == torch.float32
