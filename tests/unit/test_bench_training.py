"""The training benchmark: what its sides learn from, that they take the epoch in parts, and when a ratio counts."""

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from recstack.data.synthetic import synthetic_world
from services.trainer.tasks import dcn, dien
from tests.bench.harness import Report
from tests.bench.training import Data, compare, dcn_presets, dien_presets, ours, run


@pytest.fixture(scope="module")
def data() -> Data:
    return Data.of(synthetic_world(users=120, items=100, events=5_000), rows=2_000, parts=2)


def test_training_rows_are_of_whole_users(data: Data) -> None:
    user, train = data.dataset.events.user, data.split.train
    assert 2_000 <= len(train) < 2_000 + np.bincount(user).max()
    everything = Data.of(data.dataset, rows=10**9, parts=2).split.train
    assert len(train) == np.isin(user[everything], user[train]).sum()


@pytest.mark.parametrize("model", ["DIEN", "DCN"])
def test_an_epoch_is_trained_in_parts_and_then_judged(data: Data, model: str, tmp_path: Path) -> None:
    task, preset = (
        (dien.make_task, dien_presets(256)["DIEN"]) if model == "DIEN" else (dcn.make_task, dcn_presets(256)["DCN"])
    )
    side = ours(data, task, preset, tmp_path)
    before = side.judge()
    assert side.part() > 0
    assert side.part() > 0
    assert side.judge() != before
    with pytest.raises(StopIteration):
        side.part()


def test_ours_is_beside_the_faster_peer_and_beside_the_better_one() -> None:
    figures = {"DCN": (60.0, 0.65), "DCN as served": (80.0, 0.8), "FuxiCTR": (10.0, 0.7), "deepctr": (20.0, 0.6)}
    report = Report("")
    report.details["sides"] = {}
    compare(report, "DCN", figures, goal=3.0)
    assert [(line.other_name, line.ratio, line.reached) for line in report.comparisons] == [
        ("deepctr", 3.0, True),
        ("FuxiCTR", pytest.approx(0.65 / 0.7), False),
        ("deepctr", 4.0, None),
        ("FuxiCTR", pytest.approx(0.8 / 0.7), None),
    ]


def test_the_short_form_runs() -> None:
    pytest.importorskip("fuxictr")
    pytest.importorskip("deepctr_torch")
    report = run(Console(quiet=True), short=True)
    assert len(report.comparisons) == 11
    assert all(line.ours > 0 and line.other > 0 for line in report.comparisons)
    assert all(0 < side["auc"] < 1 for sides in report.details["sides"].values() for side in sides.values())
