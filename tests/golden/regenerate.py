"""Writes golden.json anew: `python -m tests.golden.regenerate [MODEL]...`, all models when none is named.

Do it when a change of a model or of a preset "quick" is meant to change its figures, and say in the commit why they
moved. Never to make a failure go away that nobody understands.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from tests.golden.runs import SMALL, golden_run, golden_world

GOLDEN = Path(__file__).with_name("golden.json")
TOLERANCES = {"auc": 0.01, "gauc": 0.015, "logloss": 0.01, "rmse": 0.01, "recall@100": 0.015, "ndcg@20": 0.015}
"""How far a figure may be off, either way: several times what another processor or another number of threads does."""


def main() -> None:
    """Run and write."""
    torch.set_num_threads(1)
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    for model in sys.argv[1:] or SMALL:
        with TemporaryDirectory() as folder:
            figures = golden_run(model, golden_world(), Path(folder))
        golden[model] = {
            name: {"value": figures[name], "tolerance": tolerance}
            for name, tolerance in TOLERANCES.items()
            if name in figures
        }
        print(model, golden[model])
    GOLDEN.write_text(json.dumps(golden, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
