"""Kernels for CUDA, and the one place that decides where they run.

On a CPU, while gradients are wanted, or without Triton and the C compiler that it builds its launcher with, everything
is plain torch (`recstack.models.rollout`, with gradients `recstack.models.recurrence`). The first use on each kind of
device says in the log which it is.

Shape legend: as in `recstack.models.recurrence`; L steps of a history.
"""

import functools
import importlib
import logging
import os
import shutil
from types import ModuleType

import torch
from torch import Tensor

from recstack.models import rollout
from recstack.models.recurrence import evolve

log = logging.getLogger(__name__)


def last_state(inputs_KBMG: Tensor, attention_KBN: Tensor, recurrent_HG: Tensor) -> Tensor:
    """The state [B, N, H] of an attentional GRU after all steps, from zero; arguments as those of `evolve`."""
    if torch.is_grad_enabled():
        return evolve(inputs_KBMG, attention_KBN, recurrent_HG)[-1]
    kernel = _kernel_for(inputs_KBMG, recurrent_HG)
    state_BNH: Tensor = (kernel.augru if kernel else rollout.last_state)(inputs_KBMG, attention_KBN, recurrent_HG)
    return state_BNH


def all_states(inputs_BLG: Tensor, recurrent_HG: Tensor) -> Tensor:
    """States [B, L, H] of a GRU after each step, from zero, without gradients. inputs_BLG: its gates' inputs."""
    kernel = _kernel_for(inputs_BLG, recurrent_HG)
    states_BLH: Tensor = (kernel.gru if kernel else rollout.all_states)(inputs_BLG, recurrent_HG)
    return states_BLH


def _kernel_for(inputs: Tensor, recurrent_HG: Tensor) -> ModuleType | None:
    kernel = triton_kernel("augru", inputs.device.type)
    return kernel if kernel is not None and kernel.serves(inputs, recurrent_HG) else None


@functools.cache
def triton_kernel(name: str, device_type: str) -> ModuleType | None:
    """The module `name` of this package if its kernels can run on such a device, else None."""
    if device_type != "cuda":
        log.info("%s on %s: plain torch", name, device_type)
        return None
    try:
        module = importlib.import_module(f"{__name__}.{name}")
    except ImportError as error:
        log.warning("%s on %s: plain torch, for want of Triton (%s); install recstack[gpu]", name, device_type, error)
        return None
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        log.warning("%s on %s: plain torch, for want of a C compiler for Triton; install gcc", name, device_type)
        return None
    log.info("%s on %s: Triton kernel", name, device_type)
    return module
