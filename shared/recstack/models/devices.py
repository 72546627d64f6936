"""Which device a model runs on."""

import itertools

import torch
from torch import nn

from recstack.errors import InvalidRequestError


def resolve_device(name: str = "auto") -> torch.device:
    """The torch device for `name`: "auto" is cuda when there is one, else cpu; any other name is taken as it is.

    Raises InvalidRequestError for a name torch does not know and for cuda on a machine without it.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InvalidRequestError(f"device {name!r} is unknown; use auto, cpu, cuda or cuda:<number>") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InvalidRequestError(f"device {name!r} was asked for, but torch finds no CUDA here; use auto or cpu")
    return device


def device_of(model: nn.Module) -> torch.device:
    """Where a model is, from its weights or, where it has none, its buffers."""
    return next(itertools.chain(model.parameters(), model.buffers())).device
