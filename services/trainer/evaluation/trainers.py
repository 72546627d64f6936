"""What a result depends on beside code and data: the content of presets."""

from dataclasses import asdict
from typing import Any

from services.trainer.trainers import find_trainer


def preset_content(model: str, preset: str) -> dict[str, Any]:
    """A preset as plain content."""
    return asdict(find_trainer(model).preset(preset))
