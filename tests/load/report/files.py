"""Writing a result: JSON, the page, and the plots as PNG."""

import json
from pathlib import Path

from tests.load.report.page import page
from tests.load.report.plots import plots
from tests.load.report.style import png
from tests.load.result import Result, to_json


def write(result: Result, folder: Path) -> list[Path]:
    """Write `result.json`, `report.html` and a PNG for each plot into `folder`; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    made = plots(result)
    contents: dict[str, bytes] = {
        "result.json": (json.dumps(to_json(result), indent=2) + "\n").encode(),
        "report.html": page(result, made).encode(),
        **{f"{plot.name}.png": png(plot.figure) for plot in made},
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]
