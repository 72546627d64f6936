"""The models of a bundle as entrants: each ranker, their blend, and retrieval."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from recstack.bundle import Bundle, BundleStore
from recstack.data.dataset import Dataset
from recstack.data.synthetic import synthetic_world
from recstack.errors import BundleError, InvalidRequestError
from recstack.models.dcn import DCN
from recstack.models.dien import DIEN, DIENConfig
from recstack.models.two_tower import TwoTower, TwoTowerConfig
from services.trainer.evaluation.bench import Bench
from services.trainer.evaluation.bundle import bundle_protocols
from services.trainer.evaluation.entrant import Kind
from services.trainer.evaluation.protocols import C1, PROTOCOLS, R1, T1
from services.trainer.evaluation.runner import plan, run
from services.trainer.publish import Models, publish
from services.trainer.tasks.dcn import DCN_PRESETS


@pytest.fixture(scope="module")
def world() -> Dataset:
    return synthetic_world(seed=5, users=60, items=80, events=2_000)


@pytest.fixture(scope="module")
def bundle(world: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    torch.manual_seed(0)
    items = len(world.items.ids)
    rankers = {
        "dien": DIEN(DIENConfig(num_items=items)).eval(),
        "dcn": DCN(DCN_PRESETS["quick"].model_config(len(world.users.ids), items)).eval(),
    }
    models = Models(
        retriever=TwoTower(TwoTowerConfig(num_items=items)).eval(), rankers=rankers, weights={"dien": 0.6, "dcn": 0.4}
    )
    store = BundleStore(str(tmp_path_factory.mktemp("bundles")))
    return store.open(publish(store, world, models, {}).version)


def test_every_ranker_the_blend_and_retrieval_are_judged_beside_the_baselines(
    bundle: Bundle, world: Dataset, tmp_path: Path
) -> None:
    chosen = bundle_protocols(bundle, world, [C1, R1, T1])
    ours = [entrant.name for each in chosen for entrant in each.entrants() if entrant.kind == Kind.OURS]
    names = [name.partition(" of ")[0] for name in ours]
    assert names == ["dcn", "dien", "blend", "retrieval"]
    assert "item-kNN" in {entrant.name for entrant in chosen[0].entrants()}

    quiet = Console(quiet=True)
    bench = Bench(world, tmp_path, device="cpu", console=quiet)
    jobs = plan(chosen, ours, 3, PROTOCOLS)
    assert len(jobs) == 4  # a bundle has no seeds
    assert run(bench, jobs, 1, quiet) == 0
    figures = {
        name: bench.outcome(job.protocol, job.entrant.name, 0).measured for name, job in zip(names, jobs, strict=True)
    }
    assert {"auc", "gauc", "logloss", "ece"} <= set(figures["blend"].metrics)
    dien, dcn, blend = (figures[name].arrays["test"] for name in ("dien", "dcn", "blend"))
    assert ((blend - dien) * (blend - dcn) <= 1e-6).all(), "a blend lies between its parts"
    assert figures["retrieval"].metrics["recall@20"] > 0


def test_a_bundle_of_other_data_is_refused(bundle: Bundle, world: Dataset) -> None:
    with pytest.raises(BundleError, match="was trained on synthetic, the data given is ml-1m"):
        bundle_protocols(bundle, replace(world, name="ml-1m"), [C1])


def test_protocols_that_judge_no_served_model_are_refused(bundle: Bundle, world: Dataset) -> None:
    with pytest.raises(InvalidRequestError, match="a bundle is judged by C1 and T1, got R1"):
        bundle_protocols(bundle, world, [R1])
