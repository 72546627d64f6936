"""What is true in the synthetic world, so that a test can compare a model with the best possible one."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

THRESHOLDS = np.array([-2.9, -1.7, 0.0, 1.8])
"""Utility from which a film more likely than not gets 2, 3, 4 and 5 stars."""

MEAN_UTILITY = -0.9


@dataclass(frozen=True, slots=True)
class SyntheticTruth:
    """Latent factors by row of Users and Items. U users, I items, D axes; all float64.

    user_factors [U, D] tastes at the start; user_drift [U, D] what is added to them over the whole span;
    user_bias [U]; item_factors [I, D]; item_quality [I]; item_popularity [I] chance to be met, sums to 1.
    """

    user_factors: NDArray[np.float64]
    user_drift: NDArray[np.float64]
    user_bias: NDArray[np.float64]
    item_factors: NDArray[np.float64]
    item_quality: NDArray[np.float64]
    item_popularity: NDArray[np.float64]
    start_ms: int
    span_ms: int

    def utility(
        self, user: NDArray[np.integer], item: NDArray[np.integer], timestamp_ms: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """[N] how much each user likes each item at each time, in logits of P(rating >= 4)."""
        passed = np.clip((timestamp_ms - self.start_ms) / self.span_ms, 0, 1)
        taste = self.user_factors[user] + passed[:, None] * self.user_drift[user]
        match = np.einsum("nd,nd->n", taste, self.item_factors[item])
        return np.asarray(MEAN_UTILITY + self.user_bias[user] + self.item_quality[item] + match)

    def like_probability(
        self, user: NDArray[np.integer], item: NDArray[np.integer], timestamp_ms: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """[N] true probability that each rating is 4 or 5."""
        return np.asarray(expit(self.utility(user, item, timestamp_ms)))
