"""Draw docs/demo.svg: what `recstack demo` shows, on the invented world, so that no real data is in the picture.

    DATASET=synthetic RECSTACK_HOME=.recstack/picture python docs/picture.py
"""

import io
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI

from recstack.cli.demo import Demo
from recstack.config import load_settings

TARGET = Path(__file__).with_name("demo.svg")
WIDTH = 128


def main() -> None:
    """Train, run the demo on a recording console, and save what it printed."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, highlight=False)
    Demo(load_settings(), console, ranking=None).run(preset="quick", train=True, keep=False)
    TARGET.write_text(console.export_svg(title="make demo", theme=MONOKAI))


if __name__ == "__main__":
    main()
