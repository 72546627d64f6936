"""The optimizer of a run."""

import torch
from torch import nn

from services.trainer.fit.config import FitConfig


def make_optimizer(model: nn.Module, config: FitConfig) -> torch.optim.Optimizer:
    """The optimizer that `config` names, for all weights of `model` that learn.

    Decay is on matrices only: decaying biases and norms shrinks what they are there to shift.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    match config.optimizer:
        case "adamw":
            return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
        case "adam":
            return torch.optim.Adam(groups, lr=config.learning_rate, fused=True)
        case "rmsprop":
            # Hinton's decay of 0.9 (lecture 6e of Neural Networks for Machine Learning, 2012), not torch's 0.99.
            return torch.optim.RMSprop(groups, lr=config.learning_rate, alpha=0.9, foreach=True)
