"""Training of EASE: one matrix inverse, no epochs."""

import numpy as np
from scipy.sparse import csr_matrix

from recstack.data.dataset import Dataset
from recstack.data.splits import RowSplit
from recstack.features.schema import LIKED_FROM
from recstack.models.ease import EASE, EASEConfig

REGULARISATION = 500.0
"""lambda of the closed form; chosen on MovieLens-1M's validation period."""


def train_ease(dataset: Dataset, split: RowSplit) -> EASE:
    """EASE of the likes of `split.train`."""
    events = dataset.events
    liked = split.train[events.rating[split.train] >= LIKED_FROM]
    shape = (len(dataset.users.ids), len(dataset.items.ids))
    likes_UI = csr_matrix((np.ones(len(liked), np.float32), (events.user[liked], events.item[liked])), shape)
    likes_UI.data[:] = 1.0  # an item that was liked twice counts once
    model = EASE(EASEConfig(num_items=shape[1]))
    model.learn(likes_UI, REGULARISATION)
    return model.eval()
