"""The global random generators of a process: seeded, read and put back."""

import random
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch

GeneratorStates = Mapping[str, Any]
"""State of each generator, in plain values and tensors."""


def seed_everything(seed: int) -> None:
    """Seed python's, numpy's and torch's global generators (all devices)."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def generator_states() -> GeneratorStates:
    """Where the generators stand."""
    numpy_state = cast("tuple[Any, ...]", np.random.get_state(legacy=True))
    return {
        "python": random.getstate(),
        "numpy": (numpy_state[0], numpy_state[1].tolist(), *numpy_state[2:]),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_generators(states: GeneratorStates) -> None:
    """Put the generators back to `states`; those of GPUs only where there are as many as then."""
    random.setstate(states["python"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, np.array(keys, np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    cuda: Sequence[torch.Tensor] = states["cuda"]
    if cuda and len(cuda) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(cuda)
