"""The items of a dataset in the form that models and bundles take."""

import numpy as np

from recstack.data.dataset import Dataset
from recstack.evaluation.popularity import decayed_popularity
from recstack.features.catalogue import Catalogue, ItemTable


def make_catalogue(dataset: Dataset) -> Catalogue:
    """The items of a dataset with their popularity at its end."""
    items = dataset.items
    return Catalogue(items.ids, items.years, items.genres, decayed_popularity(dataset.events, len(items.ids)))


def item_table(dataset: Dataset) -> ItemTable:
    """The item features of a dataset as tensors; they hold no popularity, hence nothing of any event."""
    items = dataset.items
    return Catalogue(items.ids, items.years, items.genres, np.zeros(len(items.ids), np.float32)).item_table()
