"""Factorization machine: a weight per feature and a dot product per pair of features, and with it its special cases.

Rendle, Factorization Machines, 2010, equation 1 with the pairwise sums of lemma 3.1. Without factors it is linear or
logistic regression; with ids as the only features it is biased matrix factorisation (section V.A).

Every feature here belongs to the user or to the item. So a pair's interactions are those within the user, those within
the item, and one dot product between the two: users and items are summed up once per step, not once per row.

Shape legend: N users or items, K features of each, P features in all, F factors, B rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from recstack.evaluation.labelled_events import LabelledEvents, Rows, Scores
from recstack.features.schema import GENRES, PROFILE_SIZES

BATCH_ROWS = 4096
START_STD = 0.05


@dataclass(frozen=True, slots=True)
class Features:
    """Sparse features of all users or items. index_NK int64, below `size`; value_NK float32, 0 where there is none."""

    index_NK: Tensor
    value_NK: Tensor
    size: int

    def __add__(self, other: "Features") -> "Features":
        """The features of both."""
        index_NK = torch.cat([self.index_NK, other.index_NK + self.size], dim=1)
        return Features(index_NK, torch.cat([self.value_NK, other.value_NK], dim=1), self.size + other.size)


def identity(count: int) -> Features:
    """A feature of its own for each."""
    return Features(torch.arange(count).unsqueeze(1), torch.ones(count, 1), count)


def profile(known: LabelledEvents) -> Features:
    """One-hot gender, age, occupation and region of all users."""
    sizes = np.array(list(PROFILE_SIZES.values()))
    index_NK = torch.from_numpy(known.profiles + np.cumsum(sizes) - sizes)
    return Features(index_NK, torch.ones(index_NK.shape), int(sizes.sum()))


def genres(known: LabelledEvents) -> Features:
    """The genres of all items; those of an item weigh as much together as one other feature."""
    index_NK = torch.from_numpy(known.genres.astype(np.int64))
    real_NK = (index_NK > 0).float()
    return Features(index_NK, real_NK / real_NK.sum(1, keepdim=True).clamp(min=1), len(GENRES) + 1)


class FactorizationMachine(nn.Module):
    """Scores of pairs of a user and an item, both given as rows."""

    def __init__(self, users: Features, items: Features, factors: int) -> None:
        """Column 0 of a table holds the features' weights, the others their factors. All are 0 at first."""
        super().__init__()
        self.users, self.items = users, items
        self.bias = nn.Parameter(torch.zeros(()))
        self.user_table_PF = nn.Parameter(torch.zeros(users.size, 1 + factors))
        self.item_table_PF = nn.Parameter(torch.zeros(items.size, 1 + factors))

    def forward(self, user_B: Tensor, item_B: Tensor) -> Tensor:
        """Scores [B]."""
        user_own_N, user_factors_NF = _sums(self.user_table_PF, self.users)
        item_own_N, item_factors_NF = _sums(self.item_table_PF, self.items)
        between_B = (user_factors_NF[user_B] * item_factors_NF[item_B]).sum(1)
        return self.bias + user_own_N[user_B] + item_own_N[item_B] + between_B

    @torch.no_grad()
    def start(self, known: LabelledEvents, bias: float, generator: torch.Generator) -> None:
        """Random factors for the features that occur in `known`; others keep zeros, which nothing would train."""
        self.bias.fill_(bias)
        for table_PF, features, rows in (
            (self.user_table_PF, self.users, known.user),
            (self.item_table_PF, self.items, known.item),
        ):
            used_P = torch.from_numpy(np.unique(features.index_NK[np.unique(rows)]))
            table_PF[used_P, 1:] = START_STD * torch.randn(len(used_P), table_PF.shape[1] - 1, generator=generator)


def _sums(table_PF: Tensor, features: Features) -> tuple[Tensor, Tensor]:
    """Weights and inner interactions [N], and the sum of the factors [N, F]."""
    terms_NKF = functional.embedding(features.index_NK, table_PF) * features.value_NK.unsqueeze(2)
    total_NF = terms_NKF.sum(1)
    inner_N = 0.5 * (total_NF.square() - terms_NKF.square().sum(1))[:, 1:].sum(1)
    return total_NF[:, 0] + inner_N, total_NF[:, 1:]


def factorization_machine(
    known: LabelledEvents,
    user: Rows,
    item: Rows,
    *,
    rating: bool = False,
    ids: bool = True,
    features: bool = True,
    factors: int = 16,
    epochs: int = 6,
    learning_rate: float = 1e-2,
    weight_decay: float = 0.1,
) -> Scores:
    """Train on `known` and predict: probabilities of a like by log loss, or ratings by squared error.

    ids and features (profile and genres) say what the machine knows of users and items; one of them must be given. A
    user or item without events is predicted from its other features, or else as an average one.
    """
    users = [identity(known.num_users)] * ids + [profile(known)] * features
    items = [identity(known.num_items)] * ids + [genres(known)] * features
    model = FactorizationMachine(sum(users[1:], users[0]), sum(items[1:], items[0]), factors)
    mean = float(known.label.mean())
    generator = torch.Generator().manual_seed(0)
    model.start(known, mean if rating else float(np.log(mean / (1 - mean))), generator)
    loss = functional.mse_loss if rating else functional.binary_cross_entropy_with_logits
    _fit(model, known, loss, generator, epochs, learning_rate, weight_decay)
    with torch.no_grad():
        scores_B = model(torch.from_numpy(user.astype(np.int64)), torch.from_numpy(item.astype(np.int64)))
        predictions: Scores = (scores_B.clamp(1, 5) if rating else scores_B.sigmoid()).double().numpy()
    return predictions


def _fit(
    model: FactorizationMachine,
    known: LabelledEvents,
    loss: Callable[[Tensor, Tensor], Tensor],
    generator: torch.Generator,
    epochs: int,
    learning_rate: float,
    weight_decay: float,
) -> None:
    user, item = (torch.from_numpy(rows.astype(np.int64)) for rows in (known.user, known.item))
    label = torch.from_numpy(known.label)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay)
    steps = epochs * -(-len(label) // BATCH_ROWS)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(epochs):
        order = torch.randperm(len(label), generator=generator)
        for start in range(0, len(order), BATCH_ROWS):
            rows_B = order[start : start + BATCH_ROWS]
            optimizer.zero_grad()
            loss(model(user[rows_B], item[rows_B]), label[rows_B]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()


linear_model = partial(factorization_machine, factors=0, epochs=4, learning_rate=2e-2, weight_decay=0.01)
"""Logistic or linear regression, with the settings that suit it."""
