"""Who takes part under a protocol: a model of ours with a preset, or a baseline."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from services.trainer.evaluation.outcome import Measurement

if TYPE_CHECKING:
    from services.trainer.evaluation.bench import Bench


class Kind(StrEnum):
    """Whose an entrant is."""

    OURS = "ours"
    BASELINE = "baseline"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entrant:
    """One row of a protocol's table.

    name: "dien:full" (model:preset) or "item-kNN". measure: (bench, seed) -> the test figures; it trains where needed.
    split: what it is measured on, a name of `splits.SPLITS`. settings: plain content that the result depends on; a
    change of it makes earlier results void. seeded: whether the
    seed matters; an entrant of which it does not is run once. needs: (protocol, entrant) pairs whose outcome of the
    same seed `measure` asks the bench for, or whose model it trains too; they are run first.
    """

    name: str
    kind: Kind
    measure: Callable[["Bench", int], Measurement]
    split: str = "temporal"
    settings: Mapping[str, Any] = field(default_factory=dict)
    seeded: bool = True
    needs: tuple[tuple[str, str], ...] = ()

    def key(self, dataset: str, sizes: tuple[int, ...]) -> str:
        """Short hash of the settings, the split, the data's name, and how many rows each part of the split has."""
        content = json.dumps([dict(self.settings), self.split, dataset, sizes], sort_keys=True, default=str)
        return hashlib.sha256(content.encode()).hexdigest()[:12]
