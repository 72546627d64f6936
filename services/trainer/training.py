"""From "train these models" to the models of a bundle: what is trained, what is taken over, which ranker serves."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from recstack.bundle import CONTENT, RETRIEVAL, Bundle, BundleStore, ranker_folder
from recstack.data import Dataset, RowSplit
from recstack.errors import BundleError, InvalidRequestError
from recstack.models.ease import MAX_ITEMS
from recstack.models.fused_retriever import FusedRetriever
from recstack.models.ranker import Ranker
from recstack.models.rankers import load_ranker
from recstack.models.retriever import Retriever
from recstack.models.retrievers import load_retriever
from recstack.models.two_tower import TwoTower
from services.trainer.publish import Models
from services.trainer.ranker_choice import check_ranker_option, choose_rankers
from services.trainer.tasks.fused import fuse
from services.trainer.trainers import TRAINERS, Role, Trainer, find_trainer

DEFAULT_MODELS = ("two_tower", "multimodal", "dien", "dcn")
"""What `recstack train` trains when no model is named."""


@dataclass(frozen=True, slots=True)
class Training:
    """One model to train, and how."""

    trainer: Trainer
    preset: Any


@dataclass(frozen=True, slots=True)
class Plan:
    """What to train, which ranker is to serve, and the bundle that the other models come from."""

    trainings: tuple[Training, ...]
    ranker: str
    base: Bundle | None

    def names(self, role: Role) -> list[str]:
        """The models of a role that are trained."""
        return [training.trainer.name for training in self.trainings if training.trainer.role is role]


def trainings_of(
    models: Sequence[str], preset: str, changes: Mapping[str, Mapping[str, Any]] | None = None
) -> tuple[Training, ...]:
    """The trainings that were asked for; without models the default set.

    changes: by model, fields of its preset that are to differ; None changes nothing. InvalidRequestError for unknown
    names, and for changes to a model that is not trained.
    """
    trainers = {trainer.name: trainer for trainer in map(find_trainer, models or DEFAULT_MODELS)}
    trainings = {name: Training(trainer, trainer.preset(preset)) for name, trainer in trainers.items()}
    for name, fields in (changes or {}).items():
        given = {field: value for field, value in fields.items() if value is not None}
        if given and name not in trainings:
            raise InvalidRequestError(f"{', '.join(given)} are options of {name}, which is not trained; name it too")
        if given:
            trainings[name] = replace(trainings[name], preset=replace(trainings[name].preset, **given))
    return tuple(trainings.values())


def make_plan(
    trainings: tuple[Training, ...], *, whole: bool, ranker: str, store: BundleStore, dataset: Dataset
) -> Plan:
    """Check that a bundle can come of it, before anything is trained.

    whole: nothing is taken over from the active bundle. ranker: see `choose_rankers`. Raises
    InvalidRequestError where a part would be missing, BundleError where the active bundle is one of other data.
    """
    ranker = ranker.replace("-", "_")
    plan = Plan(trainings, ranker, None if whole else _active(store))
    if plan.base is not None:
        _require_same_data(plan.base, dataset)
    elif not plan.names(Role.RETRIEVAL):
        raise InvalidRequestError(
            f"a bundle needs a retrieval model; none is trained, and no bundle is active in {store.url} to take it "
            "from. Train everything first: recstack train"
        )
    check_ranker_option(ranker, _available(plan))
    return plan


def run_plan(
    plan: Plan,
    dataset: Dataset,
    split: RowSplit,
    train: Callable[[Training], tuple[Any, dict[str, float]]],
    console: Console,
) -> tuple[Models, dict[str, float]]:
    """Train what is to be trained, load the rest, choose the ranker: the models, on the CPU, and their metrics.

    train: trains one model; returns it with its metrics by name.
    """
    models, metrics = _taken_over(plan)
    for training in plan.trainings:
        trainer = training.trainer
        model, found = train(training)
        models[trainer.role][trainer.name] = model.cpu().eval()
        metrics |= {f"{trainer.name}/{metric}": value for metric, value in found.items()}
    (retriever,) = models[Role.RETRIEVAL].values()
    retriever = _fused(retriever, dataset, split)
    content = models[Role.CONTENT].get("multimodal")
    rankers: dict[str, Ranker] = models[Role.RANKER]
    if plan.ranker == "multimodal" and content is not None:
        rankers["multimodal"] = content
    choice = choose_rankers(plan.ranker, retriever, rankers, dataset, split)
    console.print(f"Ranker: {choice.reason}", highlight=False)
    found_models = Models(
        retriever=retriever, rankers={**rankers, **choice.rankers}, weights=choice.weights, content=content
    )
    return found_models, metrics | choice.metrics


def _fused(retriever: Retriever, dataset: Dataset, split: RowSplit) -> Retriever:
    """A two-tower joined with EASE and today's demand; other retrievers, and those of large catalogues, as they are."""
    two_tower = retriever.two_tower if isinstance(retriever, FusedRetriever) else retriever
    if not isinstance(two_tower, TwoTower) or len(dataset.items.ids) > MAX_ITEMS:
        return two_tower
    return fuse(two_tower, dataset, split)


def train_one(
    training: Training,
    dataset: Dataset,
    split: RowSplit,
    folder: Path,
    *,
    device: str,
    seed: int,
    workers: int,
    console: Console,
) -> tuple[Any, dict[str, float]]:
    """Train one model in a folder of its own; an interrupted run there goes on."""
    model, result = training.trainer.train(
        dataset,
        split,
        training.preset,
        folder / training.trainer.name,
        device=device,
        seed=seed,
        console=console,
        workers=workers,
    )
    metrics = {f"validation_{name}": value for name, value in result.metrics.items()}
    return model, metrics | {"seconds": result.seconds}


def _taken_over(plan: Plan) -> tuple[dict[Role, dict[str, Any]], dict[str, float]]:
    """Models of the base that are not trained anew, by role and name, and their metrics."""
    models: dict[Role, dict[str, Any]] = {role: {} for role in Role}
    if plan.base is None:
        return models, {}
    folder, manifest = plan.base.folder, plan.base.manifest
    trained = {training.trainer.name for training in plan.trainings}
    if not plan.names(Role.RETRIEVAL):
        models[Role.RETRIEVAL]["two_tower"] = load_retriever(folder / RETRIEVAL)
    if CONTENT in manifest.models and not plan.names(Role.CONTENT):
        models[Role.CONTENT]["multimodal"] = load_ranker(folder / CONTENT)
    for name in manifest.held_rankers:
        if name in TRAINERS and name not in trained:  # those without a trainer came with a choice of rankers
            models[Role.RANKER][name] = load_ranker(folder / ranker_folder(name))
    of_models = {name: name.partition("/")[0] for name in manifest.metrics}
    kept = {name for name, model in of_models.items() if model in TRAINERS and model not in trained}
    return models, {name: value for name, value in manifest.metrics.items() if name in kept}


def _available(plan: Plan) -> set[str]:
    """Rankers that can serve: those to be trained, and those of the base."""
    available = set(plan.names(Role.RANKER))
    held = () if plan.base is None else plan.base.manifest.held_rankers
    if plan.names(Role.CONTENT) or (plan.base is not None and CONTENT in plan.base.manifest.models):
        available |= {"multimodal"} if plan.ranker == "multimodal" else set()
    return available | (set(held) & set(TRAINERS))


def _active(store: BundleStore) -> Bundle | None:
    version = store.active()
    if version is None:
        return None
    bundle = store.open(version)
    bundle.verify()
    return bundle


def _require_same_data(base: Bundle, dataset: Dataset) -> None:
    version, trained_on = base.manifest.version, base.manifest.dataset
    if trained_on != dataset.name:
        raise BundleError(
            f"the other models would come from the active bundle {version}, which was trained on {trained_on}, the "
            f"data given is {dataset.name}; train everything: recstack train"
        )
    if not np.array_equal(base.catalogue().ids, dataset.items.ids):
        raise BundleError(
            f"the other models would come from the active bundle {version}, which has other items than the data "
            "given; train everything: recstack train"
        )
