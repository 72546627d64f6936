"""What a run folder tells a reader: files replaced whole, and where a run was made."""

import platform
from pathlib import Path

import torch
from torch import nn

from recstack.models.devices import device_of
from recstack.revision import git_revision


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old one or the new one, never half of it."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)


def environment(model: nn.Module, workers: int) -> dict[str, object]:
    """What a run's figures depend on beside its configuration: code, versions, machine."""
    device = device_of(model)
    return {
        "git_revision": git_revision(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "workers": workers,
    }
