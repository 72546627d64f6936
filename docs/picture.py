"""Draw docs/demo.svg: a recommendation, why it came, and what an event changes, on the invented world.

DATASET=synthetic RECSTACK_HOME=.recstack/picture .venv/bin/recstack train --preset quick
RECSTACK_HOME=.recstack/picture .venv/bin/python docs/picture.py
"""

import io
import re
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI

from recstack import Event, EventType
from recstack.bundle import BundleStore
from recstack.cli.demo import before_and_after
from recstack.cli.demo_users import contrasting_viewers
from recstack.cli.tables import print_explanations, print_recommendations
from recstack.config import load_settings
from recstack.local import LocalStack

TARGET = Path(__file__).with_name("demo.svg")
WIDTH, ITEMS = 124, 6


def main() -> None:
    """Start the stack with an empty Redis, ask it as the CLI does, and save what the CLI would print."""
    settings = load_settings()
    store = BundleStore.of(settings)
    viewer, _ = contrasting_viewers(store.open(store.active() or "").folder)
    user = viewer.user_id
    console = Console(record=True, width=WIDTH, file=io.StringIO(), highlight=False)
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalStack(settings, free_ports=True, redis_folder=Path(folder)) as stack,
        stack.client(timeout=5.0) as client,
    ):
        for _ in range(20):  # caches are cold at first; the picture shows a running stack
            before = client.recommend(user, ITEMS)
        console.print(f"[bold green]$[/] recstack recommend {user} -k {ITEMS}\n")
        print_recommendations(console, before, f"For user {user}")
        best = before.items[0]
        console.print(f"\n[bold green]$[/] recstack explain {user} {best.item_id}\n")
        print_explanations(console, client.explain(user, [best.item_id], ITEMS))
        console.print(f"[bold green]$[/] recstack events send {user} {best.item_id} --type rating --rating 5\n")
        client.record_events(user, [Event(item_id=best.item_id, type=EventType.RATING, rating=5.0)])
        console.print(before_and_after(before, client.recommend(user, ITEMS)))
    svg = console.export_svg(title="recstack", theme=MONOKAI)
    TARGET.write_text(re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL))  # a picture fetches nothing


if __name__ == "__main__":
    main()
