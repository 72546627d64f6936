"""The variational form of SimpleCF: its expectations against samples, and what it does with little data."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from recstack.errors import InvalidRequestError
from recstack.models.simple_cf import SimpleCF, SimpleCFConfig
from recstack.models.variational_cf import BIAS_PRIOR_STD, VariationalCF

CONFIG = SimpleCFConfig(num_users=3, num_items=4, factors=5, biases=True, init_arguments={"std": 0.5})
USERS, ITEMS = torch.tensor([1, 2, 3]), torch.tensor([4, 1, 1])


@pytest.fixture
def model() -> VariationalCF:
    torch.manual_seed(0)
    model = VariationalCF(SimpleCF(CONFIG), prior_std=0.3)
    with torch.no_grad():
        model.means.mean.fill_(3.4)
        for table in (model.means.user_biases, model.means.item_biases, model.user_log_std, model.item_log_std):
            table.weight.normal_(-1.0, 0.3)
    return model


def sampled_scores(model: VariationalCF, samples: int) -> torch.Tensor:
    """[samples, B] scores of models drawn from the posterior."""
    means = model.means
    user = torch.cat([means.user_embeddings.weight, means.user_biases.weight], 1)
    item = torch.cat([means.item_embeddings.weight, means.item_biases.weight], 1)
    u = Normal(user, model.user_log_std.weight.exp()).sample((samples,))[:, USERS]
    i = Normal(item, model.item_log_std.weight.exp()).sample((samples,))[:, ITEMS]
    return means.mean + (u[..., :-1] * i[..., :-1]).sum(-1) + u[..., -1] + i[..., -1]


@torch.no_grad()
def test_mean_and_variance_are_those_of_samples(model: VariationalCF) -> None:
    scores = sampled_scores(model, 200_000)
    mean, variance = model(USERS, ITEMS)
    torch.testing.assert_close(mean, scores.mean(0), atol=0.02, rtol=0)
    torch.testing.assert_close(variance, scores.var(0), atol=0, rtol=0.03)


@torch.no_grad()
def test_the_loss_is_the_expected_likelihood_of_the_rating(model: VariationalCF) -> None:
    model.log_noise.fill_(-0.2)
    ratings = torch.tensor([1.0, 4.0, 5.0])
    likelihood = Normal(sampled_scores(model, 200_000), math.exp(-0.2)).log_prob(ratings).mean(0)
    expected = -likelihood - 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(model.losses(USERS, ITEMS, ratings), expected, atol=0, rtol=0.03)


@torch.no_grad()
def test_the_divergence_is_that_of_gaussians(model: VariationalCF) -> None:
    expected = torch.zeros(())
    for factors, biases, log_std in (
        (model.means.user_embeddings, model.means.user_biases, model.user_log_std.weight.exp()),
        (model.means.item_embeddings, model.means.item_biases, model.item_log_std.weight.exp()),
    ):
        prior = Normal(torch.zeros(()), torch.tensor(0.3)), Normal(torch.zeros(()), torch.tensor(BIAS_PRIOR_STD))
        expected += kl_divergence(Normal(factors.weight, log_std[:, :-1]), prior[0]).sum()
        expected += kl_divergence(Normal(biases.weight, log_std[:, -1:]), prior[1]).sum()
    torch.testing.assert_close(model.divergence(), expected)


def test_likes_are_learnt_from_samples_of_the_score() -> None:
    torch.manual_seed(0)
    config = SimpleCFConfig(num_users=3, num_items=4, factors=5, biases=True, binary=True)
    model = VariationalCF(SimpleCF(config), prior_std=0.3)
    likes = torch.tensor([1.0, 0.0, 1.0])
    with torch.no_grad():
        model.user_log_std.weight.fill_(-20.0)
        model.item_log_std.weight.fill_(-20.0)
    certain = torch.nn.functional.binary_cross_entropy_with_logits(model.means(USERS, ITEMS), likes, reduction="none")
    torch.testing.assert_close(model.losses(USERS, ITEMS, likes), certain)
    assert "log_noise" not in dict(model.named_parameters())


def test_who_rated_little_stays_near_the_prior() -> None:
    torch.manual_seed(0)
    model = VariationalCF(SimpleCF(CONFIG), prior_std=0.3)
    # User 1 gave the same rating a hundred times, user 2 once, user 3 never.
    users, ratings = torch.tensor([1] * 100 + [2]), torch.full((101,), 1.5)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.04)
    for _ in range(200):
        optimizer.zero_grad()
        (model.losses(users, torch.ones_like(users), ratings).sum() + model.divergence()).backward()
        optimizer.step()
    deviation = model.user_log_std.weight.exp()[:, -1]
    assert deviation[1] < deviation[2] < deviation[3]
    assert deviation[3].item() == pytest.approx(BIAS_PRIOR_STD, rel=0.05)


@pytest.mark.parametrize(
    ("biases", "prior_std", "message"), [(False, 0.3, "set biases=True"), (True, 0.0, "prior_std is 0")]
)
def test_a_wrong_form_is_named(biases: bool, prior_std: float, message: str) -> None:
    config = SimpleCFConfig(num_users=3, num_items=4, biases=biases)
    with pytest.raises(InvalidRequestError, match=message):
        VariationalCF(SimpleCF(config), prior_std)
