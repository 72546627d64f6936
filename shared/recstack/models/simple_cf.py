"""SimpleCF: a row of factors per user and per item; their dot product is the rating, or the logit of a like.

With biases it is biased matrix factorisation (Koren et al., Matrix Factorization Techniques for Recommender Systems,
2009, equation 4): overall mean + user bias + item bias + dot product. The tables have the names by which any
collaborative model here can be read: `user_embeddings` and `item_embeddings`.

Shape legend: U users, I items, F factors, B users or rows of a batch, N candidates, E = F + 2 (F without biases).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from recstack.errors import InvalidRequestError
from recstack.features.batch import UserBatch
from recstack.features.catalogue import ItemTable
from recstack.models.config_checks import check_positive
from recstack.models.ranker import Prediction, Ranker

TABLES = ("user_embeddings", "item_embeddings")


@dataclass(frozen=True, kw_only=True, slots=True)
class SimpleCFConfig:
    """Sizes and form of a SimpleCF model.

    binary: predict the probability of a like, not the rating. biases: add the overall mean and a bias per user and
    item. init: name of the function of `torch.nn.init` that fills the tables, called with `init_arguments`.
    """

    num_users: int
    num_items: int
    factors: int = 16
    binary: bool = False
    biases: bool = False
    init: str = "normal_"
    init_arguments: Mapping[str, float] = field(default_factory=lambda: {"mean": 0.0, "std": 0.1})

    def __post_init__(self) -> None:
        check_positive(self, "num_users", "num_items", "factors")
        if not (self.init.endswith("_") and not self.init.startswith("_") and hasattr(nn.init, self.init)):
            raise InvalidRequestError(
                f"init is {self.init!r}; it must name a function of torch.nn.init, such as normal_ or xavier_uniform_"
            )

    @property
    def max_history(self) -> int:
        """0: the model knows users by their id and reads no history."""
        return 0


class SimpleCF(Ranker):
    """Users and items as rows of factors; row 0 of each table is the unknown one."""

    def __init__(
        self,
        config: SimpleCFConfig,
        user_embeddings: Tensor | None = None,
        item_embeddings: Tensor | None = None,
        *,
        freeze_users: bool = False,
        freeze_items: bool = False,
    ) -> None:
        """user_embeddings [U+1, F] and item_embeddings [I+1, F]: pretrained tables, copied; filled by `config.init`
        where left out. freeze_users and freeze_items keep the tables as they are while the rest is trained.

        InvalidRequestError where a table has another shape or `config.init_arguments` do not fit the function.
        """
        super().__init__()
        self.config = config
        self.prediction = Prediction.LIKE if config.binary else Prediction.RATING
        self.user_embeddings = nn.Embedding(config.num_users + 1, config.factors)
        self.item_embeddings = nn.Embedding(config.num_items + 1, config.factors)
        for name, pretrained, frozen in zip(
            TABLES, (user_embeddings, item_embeddings), (freeze_users, freeze_items), strict=True
        ):
            weight = getattr(self, name).weight
            if pretrained is None:
                _fill(weight, config)
            else:
                _load(weight, pretrained, name)
            weight.requires_grad_(not frozen)
        if config.biases:
            self.mean = nn.Parameter(torch.zeros(()))
            self.user_biases = nn.Embedding(config.num_users + 1, 1, _weight=torch.zeros(config.num_users + 1, 1))
            self.item_biases = nn.Embedding(config.num_items + 1, 1, _weight=torch.zeros(config.num_items + 1, 1))

    def user_vectors(self, users_B: Tensor) -> Tensor:
        """Vectors [B, E] of user indices. With biases: factors, bias plus overall mean, 1."""
        factors_BF: Tensor = self.user_embeddings(users_B)
        if not self.config.biases:
            return factors_BF
        bias_B1 = self.user_biases(users_B) + self.mean
        return torch.cat([factors_BF, bias_B1, torch.ones_like(bias_B1)], dim=-1)

    def item_vectors(self, items_B: Tensor) -> Tensor:
        """Vectors [B, E] of item indices. With biases: factors, 1, bias."""
        factors_BF: Tensor = self.item_embeddings(items_B)
        if not self.config.biases:
            return factors_BF
        bias_B1 = self.item_biases(items_B)
        return torch.cat([factors_BF, torch.ones_like(bias_B1), bias_B1], dim=-1)

    def forward(self, users_B: Tensor, items_B: Tensor) -> Tensor:
        """Raw scores [B] of pairs of a user and an item index."""
        return (self.user_vectors(users_B) * self.item_vectors(items_B)).sum(-1)

    def encode_items(self, table: ItemTable) -> Tensor:
        """Vectors [I+1, E] of the items; their features are not read."""
        return self.item_vectors(torch.arange(self.config.num_items + 1, device=self.item_embeddings.weight.device))

    def encode_users(self, batch: UserBatch, item_vectors_IE: Tensor) -> Tensor:
        """Vectors [B, E] of the batch's users."""
        return self.user_vectors(batch.users_B)

    def score(self, state: Tensor, candidates_BNE: Tensor, visible_BN: Tensor | None = None) -> Tensor:
        """Raw scores [B, N]: dot products."""
        return (candidates_BNE @ state.unsqueeze(-1)).squeeze(-1)

    def warm_start_from(self, other: nn.Module) -> tuple[str, ...]:
        """Copy the tables `user_embeddings` and `item_embeddings` of another model where it has them in this size.

        Returns the names of those copied; InvalidRequestError where there is none.
        """
        found = {name: _table(other, name) for name in TABLES}
        fitting = {
            name: table
            for name, table in found.items()
            if table is not None and table.shape == getattr(self, name).weight.shape
        }
        if not fitting:
            has = ", ".join(f"{name} {list(table.shape)}" for name, table in found.items() if table is not None)
            wants = ", ".join(f"{name} {list(getattr(self, name).weight.shape)}" for name in TABLES)
            raise InvalidRequestError(
                f"{type(other).__name__} has {has or 'no user_embeddings and no item_embeddings'}, this model takes "
                f"{wants}; use the same data and as many factors"
            )
        for name, table in fitting.items():
            _load(getattr(self, name).weight, table, name)
        return tuple(fitting)

    @torch.no_grad()
    def generalise(self, trained_users: Tensor, trained_items: Tensor) -> None:
        """Give users and items that training had no rows of, and the unknown ones, the mean row of those it had.

        trained_users [U+1] and trained_items [I+1]: bool. Without it they would keep their random start.
        """
        tables = [(self.user_embeddings, trained_users), (self.item_embeddings, trained_items)]
        if self.config.biases:
            tables += [(self.user_biases, trained_users), (self.item_biases, trained_items)]
        for table, trained in tables:
            table.weight[~trained] = table.weight[trained].mean(0)


@torch.no_grad()
def _fill(weight: Tensor, config: SimpleCFConfig) -> None:
    try:
        getattr(nn.init, config.init)(weight, **config.init_arguments)
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(
            f"torch.nn.init.{config.init} does not take {dict(config.init_arguments)}: {error}"
        ) from error


@torch.no_grad()
def _load(weight: Tensor, table: Tensor, name: str) -> None:
    if table.shape != weight.shape:
        raise InvalidRequestError(
            f"{name} is {list(table.shape)}, expected {list(weight.shape)}: one row per user or item in ascending id "
            f"order after row 0, which is the unknown one, and one column per factor"
        )
    weight.copy_(table)


def _table(model: nn.Module, name: str) -> Tensor | None:
    """A model's table by the convention: a tensor or an embedding."""
    table = getattr(model, name, None)
    return table.weight if isinstance(table, nn.Embedding) else table
