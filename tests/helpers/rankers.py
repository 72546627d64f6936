"""A small random instance of every ranker that can be served."""

from collections.abc import Callable

import numpy as np
import torch

from recstack.features.demand import DEMAND_FEATURES
from recstack.models.blend import Member
from recstack.models.dcn import DCN, DCNConfig
from recstack.models.dien import DIEN, DIENConfig
from recstack.models.dien_notebook import NotebookDIEN, NotebookDIENConfig
from recstack.models.ease import EASE, EASEConfig
from recstack.models.multimodal import Multimodal
from recstack.models.multimodal_config import MultimodalConfig
from recstack.models.ranker import Prediction, Ranker
from recstack.models.simple_cf import SimpleCF, SimpleCFConfig
from recstack.models.trend import Trend, TrendConfig
from recstack.models.two_tower import TwoTower, TwoTowerConfig
from recstack.models.two_tower_ranker import TwoTowerRanker
from tests.helpers.ranking_bundles import ITEM_IDS, USER_IDS, random_catalogue

ITEMS, USERS = len(ITEM_IDS), len(USER_IDS)


def _trend() -> Trend:
    trend = Trend(TrendConfig(num_items=ITEMS))
    features = np.random.default_rng(0).random((ITEMS, len(DEMAND_FEATURES))).astype(np.float32)
    trend.observe(features, np.ones(len(DEMAND_FEATURES), np.float32), 0.0)
    return trend


MAKERS: dict[str, Callable[[], Ranker]] = {
    "dien": lambda: DIEN(DIENConfig(num_items=ITEMS, max_history=20)),
    "dien_notebook": lambda: NotebookDIEN(NotebookDIENConfig(num_items=ITEMS, max_history=20)),
    "dcn": lambda: DCN(
        DCNConfig(
            num_items=ITEMS,
            num_users=USERS,
            id_dim=8,
            memory_dim=4,
            half_lives=(0.0, 5.0),
            history_dim=4,
            max_history=12,
        )
    ),
    "simple_cf": lambda: SimpleCF(SimpleCFConfig(num_users=USERS, num_items=ITEMS, biases=True)),
    "multimodal": lambda: Multimodal(
        MultimodalConfig(num_items=ITEMS, vocabulary=("one", "two"), modalities=("genres", "year"), max_history=10)
    ),
    "two_tower": lambda: TwoTowerRanker.of(TwoTower(TwoTowerConfig(num_items=ITEMS, max_history=15))),
    "ease": lambda: EASE(EASEConfig(num_items=ITEMS, rank=8, max_history=30)),
    "trend": _trend,
}
"""By the names of `recstack.models.rankers.RANKERS`."""


def random_member(name: str, weight: float = 1.0) -> Member:
    """The ranker in eval mode, with weights that make scores differ, and its item vectors."""
    torch.manual_seed(sorted(MAKERS).index(name))
    model = MAKERS[name]()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    if name == "ease":
        for vectors in model.buffers():
            torch.nn.init.normal_(vectors[1:], std=0.3)  # the unknown item's stay zero, as what it says of others
    if model.prediction is Prediction.RATING:
        for mean, parameter in model.named_parameters():
            if mean.endswith("mean"):
                parameter.data.fill_(3.0)  # within 1..5, where predictions are not clipped
    with torch.inference_mode():
        return Member(model.eval(), model.encode_items(random_catalogue().item_table()), weight)
