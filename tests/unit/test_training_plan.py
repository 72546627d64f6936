"""What is trained, what comes from the active bundle, and what is refused before any training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from recstack.bundle import BundleStore
from recstack.data import Dataset, synthetic_world, temporal_rows, temporal_split
from recstack.errors import BundleError, InvalidRequestError
from recstack.models.dien import DIEN, DIENConfig
from recstack.models.multimodal import Multimodal, MultimodalConfig
from recstack.models.simple_cf import SimpleCF, SimpleCFConfig
from recstack.models.two_tower import TwoTower, TwoTowerConfig
from services.trainer.publish import Models, publish
from services.trainer.training import DEFAULT_MODELS, Training, make_plan, run_plan, trainings_of

USERS, ITEMS = 60, 80
Train = Callable[[Training], tuple[Any, dict[str, float]]]


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return synthetic_world(seed=1, users=USERS, items=ITEMS, events=2_000)


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    return BundleStore(str(tmp_path / "bundles"))


def untrained(training: Training) -> tuple[Any, dict[str, float]]:
    """In place of training: a model as it starts."""
    torch.manual_seed(0)
    name = training.trainer.name
    makers = {
        "two_tower": lambda: TwoTower(TwoTowerConfig(num_items=ITEMS, width=16, vector_dim=16)),
        "dien": lambda: DIEN(DIENConfig(num_items=ITEMS, max_history=20)),
        "simple_cf": lambda: SimpleCF(SimpleCFConfig(num_users=USERS, num_items=ITEMS)),
        "multimodal": lambda: Multimodal(MultimodalConfig(num_items=ITEMS, vocabulary=(), modalities=("genres",))),
    }
    return makers[name](), {"seconds": 1.0, "validation_figure": 0.5}


def plan_and_run(
    models: list[str], store: BundleStore, dataset: Dataset, ranker: str = "auto"
) -> tuple[Models, dict[str, float]]:
    trainings = trainings_of(models, "quick")
    plan = make_plan(trainings, whole=False, ranker=ranker, store=store, dataset=dataset)
    split = temporal_rows(temporal_split(dataset))
    return run_plan(plan, dataset, split, untrained, Console(quiet=True))


def test_without_names_the_default_set_is_trained() -> None:
    for preset in ("quick", "full", "notebook"):
        assert [training.trainer.name for training in trainings_of([], preset)] == list(DEFAULT_MODELS)


def test_options_change_a_preset_and_belong_to_a_model_that_is_trained() -> None:
    (training,) = trainings_of(["simple-cf"], "quick", {"simple_cf": {"factors": 7, "init": None}})
    assert (training.preset.factors, training.preset.init) == (7, "normal_")
    with pytest.raises(InvalidRequestError, match="factors are options of simple_cf, which is not trained"):
        trainings_of(["dien"], "quick", {"simple_cf": {"factors": 7, "init": None}})


def test_what_is_not_trained_comes_from_the_active_bundle(store: BundleStore, dataset: Dataset) -> None:
    first, metrics = plan_and_run(["two-tower", "dien", "multimodal"], store, dataset)
    assert first.weights == {"dien": 1.0}
    store.activate(publish(store, dataset, first, metrics).version)
    second, metrics = plan_and_run(["simple-cf"], store, dataset, "simple-cf")
    assert second.weights == {"simple_cf": 1.0}
    assert set(second.rankers) == {"dien", "simple_cf"}
    assert second.content is not None
    for name, weight in first.retriever.state_dict().items():
        assert torch.equal(second.retriever.state_dict()[name], weight)
    assert {"dien/validation_figure", "simple_cf/validation_figure"} <= set(metrics)
    manifest = publish(store, dataset, second, metrics)
    assert manifest.rankers == {"simple_cf": 1.0}
    assert manifest.held_rankers == ("dien", "simple_cf")
    assert manifest.models == {"retrieval": "fused", "content": "multimodal"}


def test_a_part_that_would_be_missing_is_told_before_training(store: BundleStore, dataset: Dataset) -> None:
    with pytest.raises(InvalidRequestError, match="needs a retrieval model; none is trained, and no bundle is active"):
        plan_and_run(["dien"], store, dataset)
    with pytest.raises(InvalidRequestError, match="--ranker auto needs a ranker, there is none"):
        plan_and_run(["two-tower"], store, dataset)
    with pytest.raises(InvalidRequestError, match="--ranker blend needs dcn, there is dien"):
        plan_and_run(["two-tower", "dien"], store, dataset, "blend")
    with pytest.raises(InvalidRequestError, match="--ranker multimodal needs multimodal, there is dien"):
        plan_and_run(["two-tower", "dien"], store, dataset, "multimodal")


def test_the_content_model_can_rank_too(store: BundleStore, dataset: Dataset) -> None:
    models, _ = plan_and_run(["two-tower", "multimodal"], store, dataset, "multimodal")
    assert models.weights == {"multimodal": 1.0}
    assert models.rankers["multimodal"] is models.content


def test_parts_of_other_data_are_refused(store: BundleStore, dataset: Dataset) -> None:
    models, metrics = plan_and_run(["two-tower", "dien"], store, dataset)
    store.activate(publish(store, dataset, models, metrics).version)
    other = synthetic_world(seed=2, users=USERS, items=ITEMS + 1, events=2_000)
    with pytest.raises(BundleError, match="has other items than the data given"):
        plan_and_run(["dien"], store, other)
    renamed = Dataset("other", *(getattr(dataset, name) for name in ("provenance", "users", "items", "events")))
    with pytest.raises(BundleError, match="was trained on synthetic, the data given is other"):
        plan_and_run(["dien"], store, renamed)
