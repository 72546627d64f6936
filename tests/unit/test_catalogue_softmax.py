"""The chunked softmax over the catalogue: the loss and both gradients are those of the plain computation."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from services.trainer.tasks import catalogue_softmax
from services.trainer.tasks.catalogue_softmax import unseen_cross_entropy

USERS, STEPS, ITEMS, DIM = 5, 6, 20, 4


def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """States, items, targets and steps; users have 2 to 6 steps, padded with 0."""
    torch.manual_seed(0)
    lengths = torch.tensor([6, 2, 6, 4, 5])
    events = torch.stack([torch.randperm(ITEMS)[: STEPS + 1] + 1 for _ in range(USERS)])
    targets = events.masked_fill(torch.arange(STEPS + 1) > lengths[:, None], 0)
    targets[1:3, 0] = 0  # their windows begin in the middle of a history
    steps = events[:, :STEPS].masked_fill(torch.arange(STEPS) >= lengths[:, None], 0)
    states = torch.randn(USERS, STEPS + 1, DIM, requires_grad=True)
    return states, torch.randn(ITEMS + 1, DIM, requires_grad=True), targets, steps


def plain(states: Tensor, items: Tensor, targets: Tensor, steps: Tensor) -> Tensor:
    """One state at a time, with the candidates written out."""
    total = torch.zeros(())
    for user in range(USERS):
        for state in range(STEPS + 1):
            target = int(targets[user, state])
            if target:
                seen = set(steps[user, :state].tolist())
                candidates = [item for item in range(1, ITEMS + 1) if item not in seen]
                logits = items[candidates] @ states[user, state]
                total = total + functional.cross_entropy(logits, torch.tensor(candidates.index(target)))
    return total


@pytest.mark.parametrize("states_per_chunk", [1, 14, 1000])
def test_loss_and_gradients_are_the_plain_ones(states_per_chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue_softmax, "STATES_PER_CHUNK", states_per_chunk)
    states, items, targets, steps = inputs()
    expected = plain(states, items, targets, steps)
    gradients = torch.autograd.grad(3 * expected, (states, items))
    loss = unseen_cross_entropy(states, items, targets, steps)
    torch.testing.assert_close(loss, expected)
    for got, wanted in zip(torch.autograd.grad(3 * loss, (states, items)), gradients, strict=True):
        torch.testing.assert_close(got, wanted)


def test_bfloat16_comes_close() -> None:
    states, items, targets, steps = inputs()
    expected = plain(states, items, targets, steps)
    gradient = torch.autograd.grad(expected, items)[0]
    with torch.autocast("cpu", torch.bfloat16):
        loss = unseen_cross_entropy(states, items, targets, steps)
    assert loss.item() == pytest.approx(expected.item(), rel=0.02)
    torch.testing.assert_close(torch.autograd.grad(loss, items)[0], gradient, rtol=0.1, atol=0.1)
