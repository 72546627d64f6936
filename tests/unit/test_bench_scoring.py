"""The scoring benchmark: its parts that need no peers, and with peers a short run of all of it."""

import numpy as np
import pytest
import torch
from rich.console import Console

from recstack.models.dien import DIENConfig
from tests.bench.scoring_work import dien_work


def test_the_floor_of_dien_is_counted_from_its_sizes() -> None:
    config = DIENConfig(
        num_items=9, hidden=2, attention_hidden=3, evolution_steps=4, mlp=(5, 6), memory_dim=7, neighbour_heads=2,
        neighbour_dim=4,
    )  # fmt: skip
    work = dien_work(config, candidates=10, history=3)
    assert work["attention"] == 10 * 3 * 3 * (2 + 1), "no more steps than the history has"
    assert work["evolution"] == 10 * 3 * 3 * 2 * 2
    assert work["neighbours"] == 10 * 2 * (3 + 1) * 8
    assert work["first layer"] == 10 * (3 * 2 + 8) * 5
    assert work["further layers"] == 10 * (5 * 6 + 6)
    assert work["memory"] == 10 * 7
    assert dien_work(config, 20, 3)["user"] == work["user"]


def test_a_short_run_compares_all_sides() -> None:
    pytest.importorskip("deepctr_torch")
    pytest.importorskip("fuxictr")
    from tests.bench import scoring

    threads = torch.get_num_threads()
    try:
        report = scoring.run(Console(quiet=True), short=True)
    finally:
        torch.set_num_threads(threads)
    assert {line.other_name for line in report.comparisons} == {"deepctr-torch", "FuxiCTR", "GEMM", "alone"}
    assert all(np.isfinite(line.ratio) and line.ratio > 0 for line in report.comparisons)
    for case in scoring.cases():
        assert report.details[case.name]["candidates_per_second"] > 0
        probabilities = [forward() for forward in scoring.forwards(case, 1).values()]
        assert all(given.shape == (scoring.CANDIDATES, 1) for given in probabilities)
