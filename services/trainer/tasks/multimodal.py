"""Training of the multimodal rating predictor, and the split that holds items out."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from rich.console import Console

from recstack.data.dataset import Dataset
from recstack.data.splits import RowSplit
from recstack.features.content import ItemContent, TitleVocabulary, item_content
from recstack.features.schema import PROFILE_SIZES
from recstack.models.devices import resolve_device
from recstack.models.multimodal import Multimodal, encode_content
from recstack.models.multimodal_config import MODALITIES, MultimodalConfig
from recstack.models.multimodal_towers import ItemTower
from services.trainer.fit import ALONE, FitConfig, FitResult, Loss, Worker, seed_everything, train
from services.trainer.tasks.multimodal_batches import ItemEpoch, ItemRatings, RatingCells

VALIDATION_ITEMS = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class MultimodalPreset:
    """How a multimodal model is trained.

    batch_items: items per step, with all their ratings. word_penalty, poster_penalty: weights of `ItemTower.penalties`
    in the loss, which is a mean squared error. The others are `MultimodalConfig`'s.
    """

    fit: FitConfig
    batch_items: int = 128
    word_penalty: float = 5e-3
    poster_penalty: float = 0.05
    form: Literal["notebook", "full"] = "full"
    modalities: tuple[str, ...] = MODALITIES
    profile: tuple[str, ...] = tuple(PROFILE_SIZES)
    widths: tuple[int, ...] = (2, 3, 4, 5)
    filters: int = 8
    channels: tuple[int, ...] = (8, 16, 16)
    dropout: float = 0.2
    max_history: int = 0

    def model_config(self, num_items: int, vocabulary: TitleVocabulary) -> MultimodalConfig:
        """The model of this preset for a catalogue of `num_items`, with the vocabulary of its titles."""
        return MultimodalConfig(
            num_items=num_items,
            vocabulary=vocabulary.ngrams,
            form=self.form,
            modalities=self.modalities,
            profile=self.profile,
            widths=self.widths,
            filters=self.filters,
            channels=self.channels,
            dropout=self.dropout,
            max_history=self.max_history,
        )

    def without(self, name: str) -> "MultimodalPreset":
        """The same preset without one modality or one feature of the profile."""
        return replace(
            self,
            modalities=tuple(kept for kept in self.modalities if kept != name),
            profile=tuple(kept for kept in self.profile if kept != name),
        )


FULL = MultimodalPreset(
    fit=FitConfig(epochs=20, learning_rate=6e-3, weight_decay=0.1, average_decay=0.98, patience=6, max_minutes=20.0)
)
MULTIMODAL_PRESETS: dict[str, MultimodalPreset] = {
    "quick": replace(FULL, fit=replace(FULL.fit, epochs=6, max_minutes=2.0)),
    "full": FULL,
    "history": replace(FULL, max_history=200),
    "notebook": MultimodalPreset(
        fit=FitConfig(epochs=20, learning_rate=2e-3, patience=5, max_minutes=20.0),
        form="notebook",
        modalities=("genres", "title", "poster"),
        profile=("gender", "age", "occupation"),
        channels=(16, 32, 64),
    ),
    **{f"without_{name}": FULL.without(name) for name in (*MODALITIES, "region")},
}
"""full: the best from profile and content alone. history: full, that also knows how high the user rates. without_NAME:
what full loses without a modality, or without the region of the profile, which the notebook does not read."""


class MultimodalTask:
    """Multimodal model with the ratings of a split; implements `services.trainer.fit.Task`."""

    name = "multimodal"
    metric_name = "mse"
    lower_is_better = True

    def __init__(
        self, dataset: Dataset, split: RowSplit, preset: MultimodalPreset, device: torch.device, seed: int
    ) -> None:
        self._preset, self._seed, self._device = preset, seed, device
        self._dataset_name = dataset.name
        vocabulary = TitleVocabulary.build(dataset.items.titles)
        config = preset.model_config(len(dataset.items.ids), vocabulary)
        self.content: ItemContent = item_content(dataset, vocabulary).to(device)
        self._ratings = ItemRatings(dataset, split.train)
        self._validation = ItemRatings(dataset, split.validation)
        self._profiles_P4 = self._ratings.profiles_P4.to(device)
        seed_everything(seed)
        self.model = Multimodal(config).to(device)
        self.model.start(float(dataset.events.rating[split.train].mean()), self.content)

    def identity(self) -> Mapping[str, object]:
        """Preset, seed and data."""
        return {
            "preset": asdict(self._preset),
            "seed": self._seed,
            "dataset": self._dataset_name,
            "train": len(self._ratings),
            "validation": len(self._validation),
        }

    def batches(self, epoch: int, worker: Worker = ALONE) -> ItemEpoch:
        """Every item that has training ratings, with all of them."""
        return ItemEpoch(self._ratings, self._preset.batch_items, (self._seed, epoch), worker)

    def samples(self, batch: RatingCells) -> int:
        """Ratings."""
        return int(batch.counts_PN.sum())

    def loss(self, batch: RatingCells) -> Loss:
        """Mean squared error over the batch's ratings."""
        batch = batch.to(self._device)
        content = self.content.rows(batch.items_N)
        state = self.model.encode_profiles(self._profiles_P4)
        general_IE, remembered_IE = self.model.encode_parts(content)
        total = batch.squared_error(self.model.score_all(state, general_IE))
        if remembered_IE is not None:
            corrected_PN = self.model.score_all(state, general_IE.detach() + remembered_IE)
            total = (total + batch.squared_error(corrected_PN)) / 2
        # Divided by what a batch of this size holds on average, so that all ratings of an epoch count the same.
        expected = len(self._ratings) / len(self._ratings.rated) * len(batch.items_N)
        if isinstance(self.model.items, ItemTower):
            words, poster = self.model.items.penalties()
            total = total + expected * (self._preset.word_penalty * words + self._preset.poster_penalty * poster)
        return Loss(total, expected)

    def validate(self) -> dict[str, float]:
        """Mean squared error and its root on the validation ratings, predictions clipped to 1..5."""
        vectors_IE = encode_content(self.model, self.content)
        state = self.model.encode_profiles(self._profiles_P4)
        total = 0.0
        for start in range(0, len(self._validation.rated), VALIDATION_ITEMS):
            cells = self._validation.cells(self._validation.rated[start : start + VALIDATION_ITEMS]).to(self._device)
            ratings_PN = self.model.predict(self.model.score_all(state, vectors_IE[cells.items_N]))
            total += cells.squared_error(ratings_PN).item()
        mse = total / len(self._validation)
        return {"mse": mse, "rmse": math.sqrt(mse)}


def train_multimodal(
    dataset: Dataset,
    split: RowSplit,
    preset: MultimodalPreset,
    run_dir: Path,
    device: str = "auto",
    seed: int = 0,
    console: Console | None = None,
    workers: int = 1,
) -> tuple[Multimodal, FitResult]:
    """Train a multimodal model; an interrupted run in `run_dir` goes on. The model has its best weights."""

    def make_task() -> MultimodalTask:
        return MultimodalTask(dataset, split, preset, resolve_device(device), seed)

    task, result = train(make_task, replace(preset.fit, seed=seed), run_dir, console, workers)
    return task.model, result


def content_of(model: Multimodal, dataset: Dataset) -> ItemContent:
    """The content of a dataset's items as `model` reads it, which may have items that the model never saw."""
    return item_content(dataset, TitleVocabulary(model.config.vocabulary))


def held_out_items(dataset: Dataset, share: float = 0.1, seed: int = 0) -> RowSplit:
    """Hold items out with all their ratings: `share` of the rated items for test and as many for validation."""
    items = np.unique(dataset.events.item)
    count = max(1, round(share * len(items)))
    drawn = np.random.default_rng(seed).permutation(items)
    part = np.zeros(len(dataset.items.ids), np.int8)
    part[drawn[:count]], part[drawn[count : 2 * count]] = 2, 1
    train_rows, validation_rows, test_rows = (
        np.flatnonzero(part[dataset.events.item] == number).astype(np.int64) for number in range(3)
    )
    return RowSplit(train_rows, validation_rows, test_rows, temporal=False)
