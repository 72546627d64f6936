"""What the ratings of a history say, and the memories made of it, against sums taken one by one."""

import torch

from recstack.models.asymmetric_svd import AsymmetricSVD
from recstack.models.neighbours import Neighbours
from recstack.models.opinions import PRIOR_STEPS, RECENT_STEPS, RESIDUAL_SCALE, HistoryStatistics, Residuals

STEPS, WIDTH = 25, 6


def test_a_residual_is_the_opinion_less_what_was_expected() -> None:
    bias_BL, ratings_BL = torch.tensor([[0.0, 2.0]]), torch.tensor([[5, 1]])
    expected = RESIDUAL_SCALE * torch.tensor([[1.0 - 0.5, 0.0 - torch.sigmoid(torch.tensor(2.0))]])
    torch.testing.assert_close(Residuals()(bias_BL, ratings_BL), expected)


def test_statistics_are_those_of_the_steps_so_far() -> None:
    torch.manual_seed(0)
    bias_BL, ratings_BL = torch.randn(2, STEPS), torch.randint(1, 6, (2, STEPS))
    residuals_BL = torch.randn(2, STEPS)
    statistics = HistoryStatistics()
    got_BLS = statistics(bias_BL, ratings_BL, residuals_BL) * statistics.deviation_S
    for length in (1, RECENT_STEPS, STEPS):
        recent = residuals_BL[:, max(0, length - RECENT_STEPS) : length]
        columns = [
            torch.full((2,), length + 1.0).log() - statistics.mean_S[0],
            (ratings_BL[:, :length] - statistics.mean_S[1]).sum(1) / (length + PRIOR_STEPS),
            residuals_BL[:, :length].sum(1) / (length + PRIOR_STEPS),
            recent.sum(1) / (recent.shape[1] + PRIOR_STEPS),
            (bias_BL[:, :length].sigmoid() - statistics.mean_S[4]).sum(1) / (length + PRIOR_STEPS),
        ]
        torch.testing.assert_close(got_BLS[:, length - 1], torch.stack(columns, dim=1), atol=1e-5, rtol=1e-4)


def test_the_linear_memory_is_the_signed_sum_over_the_root_of_the_steps() -> None:
    torch.manual_seed(1)
    items_BLD, residuals_BL = torch.randn(1, 4, WIDTH), torch.randn(1, 4)
    memory = AsymmetricSVD(WIDTH, 3)
    expected = sum(residuals_BL[0, step] * memory.value(items_BLD[0, step]) for step in range(3)) / (1 + 3) ** 0.5
    torch.testing.assert_close(memory.remember(items_BLD, residuals_BL)[0, 2], expected)


def test_neighbours_answer_with_the_opinions_of_like_items() -> None:
    """A candidate takes the value of the step whose key it matches, and nothing where no step is visible."""
    neighbours = Neighbours(item_dim=2, value_dim=1, heads=1, width=2)
    with torch.no_grad():
        for layer in (neighbours.query, neighbours.key):
            layer.weight.copy_(20 * torch.eye(2))
        neighbours.value.weight.copy_(torch.tensor([[1.0], [0.0]]))
    items_BLD, values_BLV = torch.eye(2).unsqueeze(0), torch.tensor([[[0.7], [-0.4]]])
    memory = neighbours.remember(items_BLD, values_BLV)
    found_BNX = neighbours(memory, items_BLD, torch.tensor([[2, 2]]))
    torch.testing.assert_close(found_BNX[0], torch.tensor([[0.7, 0.0], [-0.4, 0.0]]), atol=1e-4, rtol=0)
    assert (neighbours(memory, items_BLD, torch.tensor([[0, -1]])) == 0).all()
