"""What one entrant came to under one protocol with one seed, in memory and on disk.

On disk: NAME.json with the figures and how they came about, and NAME.npz with the arrays for the plots. The JSON is
written last, so a result is either whole or absent.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """What an entrant's code returns.

    metrics: test figures by name; one that does not apply is left out. arrays: compact predictions for plots and for
    entrants that build on this one. seconds and samples_per_second: of the training alone; None where there is none.
    history: a row per epoch, as in FitResult. note: what the reader of the table should know, for example a choice
    that was made on validation.
    """

    metrics: Mapping[str, float]
    arrays: Arrays = field(default_factory=dict)
    seconds: float | None = None
    samples_per_second: float | None = None
    history: tuple[Mapping[str, float], ...] = ()
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """A measurement with its identity and its circumstances.

    key: `Entrant.key` at the time; a result with another key is void. settings: what the key was made from. machine,
    threads, git_revision: where, with how many torch threads and from which commit it was made.
    """

    protocol: str
    entrant: str
    seed: int
    key: str
    settings: Mapping[str, Any]
    measured: Measurement
    machine: str
    threads: int
    git_revision: str

    def save(self, path: Path) -> None:
        """Write `path`.json and `path`.npz."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(f"{path}.npz", allow_pickle=False, **self.measured.arrays)
        content = asdict(self)
        del content["measured"]["arrays"]
        partial = Path(f"{path}.partial")
        partial.write_text(json.dumps(content, indent=1, default=str) + "\n")
        partial.replace(f"{path}.json")

    @classmethod
    def load(cls, path: Path) -> "Outcome | None":
        """What `save` wrote, or None where there is nothing whole."""
        try:
            content = json.loads(Path(f"{path}.json").read_text())
        except FileNotFoundError:
            return None
        measured = content.pop("measured")
        measured["history"] = tuple(measured["history"])
        with np.load(f"{path}.npz") as arrays:
            return cls(measured=Measurement(arrays=dict(arrays), **measured), **content)
