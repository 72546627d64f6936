"""The trials of scoring: their sides agree (compiling, which takes minutes, is left to the command)."""

import numpy as np
import pytest
import torch
from rich.console import Console

from recstack.models.dien import DIEN, DIENConfig
from tests.bench.scoring_requests import ITEMS, blend_of, item_table, random_items, random_users
from tests.bench.scoring_trials import BATCHES, PRODUCTS, OneRequest, inputs, run, served_dien


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
def test_a_short_run_compares_products_and_dcn() -> None:
    threads = torch.get_num_threads()
    try:
        report = run(Console(quiet=True), short=True)
    finally:
        torch.set_num_threads(threads)
    assert len(report.comparisons) == len(PRODUCTS) + len(BATCHES[:1])
    assert all(np.isfinite(line.ratio) and line.ratio > 0 for line in report.comparisons)


def test_what_is_compiled_is_what_serves() -> None:
    torch.manual_seed(0)
    model = DIEN(DIENConfig(num_items=ITEMS, movie_dim=4, hidden=4, max_history=20)).eval()
    table = item_table()
    asked = inputs(candidates=7, events=20)
    with torch.inference_mode():
        probabilities = OneRequest(served_dien(model, table))(*asked).sigmoid().numpy()
    (expected,) = blend_of(model, table).predict(random_users(1, [20]), [random_items(7)])
    np.testing.assert_allclose(probabilities[0], expected, atol=1e-6)
    assert expected.std() > 1e-4
