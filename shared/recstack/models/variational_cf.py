"""SimpleCF while it is trained with every factor and bias as a Gaussian in place of a number.

Lim and Teh, Variational Bayesian Approach to Movie Rating Prediction, 2007, with independent Gaussians and gradients:
the expected loss under the posterior plus the posterior's divergence from the prior bounds the evidence. A row with few
ratings keeps a wide posterior and a mean near zero, so each row is regularised by how much is known of it, which no
weight decay does. Both expectations are in closed form for a squared error. What is kept is the means: a SimpleCF.

The prior's width is fixed: a learnt one prunes most factors away, a known trap of independent posteriors.

Shape legend: as in `simple_cf`.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from recstack.errors import InvalidRequestError
from recstack.models.simple_cf import SimpleCF

START_STD = 0.18
BIAS_PRIOR_STD = 0.4


class VariationalCF(nn.Module):
    """The posterior of a SimpleCF with biases: its rows are the means, the tables here the logs of the deviations."""

    def __init__(self, means: SimpleCF, prior_std: float) -> None:
        """prior_std: standard deviation of a factor before any rating is known."""
        super().__init__()
        if not means.config.biases:
            raise InvalidRequestError("the variational form is for a SimpleCF with biases; set biases=True")
        if prior_std <= 0:
            raise InvalidRequestError(f"prior_std is {prior_std}; it must be above 0")
        self.means = means
        self.prior_std = prior_std
        self.user_log_std = _log_std(means.config.num_users, means.config.factors)
        self.item_log_std = _log_std(means.config.num_items, means.config.factors)
        if not means.config.binary:
            self.log_noise = nn.Parameter(torch.zeros(()))

    def losses(self, users_B: Tensor, items_B: Tensor, targets_B: Tensor) -> Tensor:
        """Expected negative log-likelihood [B] of ratings, or of likes (one sample of the score stands for all)."""
        mean_B, variance_B = self(users_B, items_B)
        if not self.means.config.binary:
            expected_B = (targets_B - mean_B).square() + variance_B
            loss_B: Tensor = expected_B / (2 * (2 * self.log_noise).exp()) + self.log_noise
            return loss_B
        # The score itself is sampled and not its many factors, so that gradients are less noisy: Kingma, Salimans and
        # Welling, Variational Dropout and the Local Reparameterization Trick, 2015.
        sampled_B = mean_B + variance_B.sqrt() * torch.randn_like(mean_B)
        return functional.binary_cross_entropy_with_logits(sampled_B, targets_B, reduction="none")

    def forward(self, users_B: Tensor, items_B: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance [B] of the raw score of pairs of a user and an item index."""
        user_BE, item_BE = self.means.user_vectors(users_B), self.means.item_vectors(items_B)
        user_var_BE = _variances(self.user_log_std(users_B), bias_last=False)
        item_var_BE = _variances(self.item_log_std(items_B), bias_last=True)
        variance_BE = user_var_BE * (item_BE.square() + item_var_BE) + user_BE.square() * item_var_BE
        return (user_BE * item_BE).sum(-1), variance_BE.sum(-1)

    def divergence(self) -> Tensor:
        """Kullback-Leibler divergence of the whole posterior from the prior, in nats."""
        means = self.means
        return self._divergence(means.user_embeddings, means.user_biases, self.user_log_std) + self._divergence(
            means.item_embeddings, means.item_biases, self.item_log_std
        )

    def _divergence(self, factors: nn.Embedding, biases: nn.Embedding, log_std: nn.Embedding) -> Tensor:
        factors_NF, bias_N1 = log_std.weight[:, :-1], log_std.weight[:, -1:]
        return _gaussian_divergence(factors.weight, factors_NF, self.prior_std) + _gaussian_divergence(
            biases.weight, bias_N1, BIAS_PRIOR_STD
        )


def _log_std(count: int, factors: int) -> nn.Embedding:
    """Factors' columns, then the bias."""
    shape = (count + 1, factors + 1)
    return nn.Embedding(*shape, _weight=torch.full(shape, math.log(START_STD)))


def _variances(log_std_BF: Tensor, bias_last: bool) -> Tensor:
    """[B, E] in the order of SimpleCF's vectors, whose constant 1 has no variance."""
    variance_BF = (2 * log_std_BF).exp()
    factors_BF, bias_B1 = variance_BF[:, :-1], variance_BF[:, -1:]
    certain_B1 = torch.zeros_like(bias_B1)
    return torch.cat([factors_BF, *((certain_B1, bias_B1) if bias_last else (bias_B1, certain_B1))], dim=1)


def _gaussian_divergence(mean: Tensor, log_std: Tensor, prior_std: float) -> Tensor:
    expected_square = (2 * log_std).exp() + mean.square()
    return (math.log(prior_std) - log_std + expected_square / (2 * prior_std**2) - 0.5).sum()
