"""`recstack demo`: the whole stack once, from training to recommendations that have learned from an event."""

import shutil
import subprocess
import sys
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from recstack.bundle.store import BundleStore
from recstack.cli.console import ConsoleReporter
from recstack.cli.demo_users import Viewer, contrasting_viewers, recent_history
from recstack.cli.tables import plain_table, print_explanations, print_recommendations, similar_table
from recstack.client import Client
from recstack.client.types import EventType, Recommendation, RecommendationList
from recstack.config import Settings
from recstack.errors import StackError
from recstack.local import LocalStack, stop_on_signals, watch

_UNKNOWN_USER = 2_000_000_000
_K = 8
_TIMEOUT_SECONDS = 5.0  # caches are cold right after the start; the demo must not stumble over that


class Demo:
    """Each step says in one sentence what it shows. The stack has its own ports and an empty Redis."""

    def __init__(self, settings: Settings, console: Console, ranking: Literal["ray", "plain"] | None) -> None:
        self._console = console
        self._home = settings.home
        self._redis_folder = settings.home.resolve() / "demo-redis"
        self._stack = LocalStack(
            settings,
            ranking=ranking,
            free_ports=True,
            redis_folder=self._redis_folder,
            reporter=ConsoleReporter(console),
        )
        self._step_number = 0

    def run(self, preset: Literal["quick", "full"], train: bool, keep: bool) -> None:
        """Everything, in order. keep: leave the stack up at the end, until Ctrl-C."""
        if train:
            self._step(f"Train the models ({preset}): retrieval finds candidates, ranking puts them in order.")
            self._train(preset)
        self._step("Start Redis and four services: feature store, retrieval, ranking and the gateway.")
        stop_on_signals()
        try:
            with self._stack as stack:
                with stack.client(_TIMEOUT_SECONDS) as client:
                    self._show(client)
                if keep:
                    self._console.print("\nThe stack stays up: ask it from another terminal. [bold]Ctrl-C[/] stops it.")
                    watch(stack)
                self._step("Stop everything.")
        except KeyboardInterrupt:
            self._console.print("Stopped.")
            return
        finally:
            shutil.rmtree(self._redis_folder, ignore_errors=True)
        self._console.print(
            "\nNext: [bold]recstack up -d[/] starts the stack for good, [bold]recstack recommend 42[/] asks it, "
            "[bold]recstack down[/] stops it.\nWith Python: [bold]from recstack import Client[/]."
        )

    def _train(self, preset: str) -> None:
        done = subprocess.run([sys.executable, "-m", "recstack.cli", "train", "--preset", preset], check=False)
        if done.returncode:
            raise StackError(f"training ended with exit status {done.returncode}; its last messages are above")

    def _show(self, client: Client) -> None:
        bundle = BundleStore.of(self._stack.settings).open(self._stack.state.bundle_version)
        first, second = contrasting_viewers(bundle.folder)
        before = self._show_viewer(client, first)
        self._show_viewer(client, second)

        self._step("Recommend to somebody new: without profile and history, the answer is marked as a cold start.")
        print_recommendations(self._console, client.recommend(_UNKNOWN_USER, _K), f"For user {_UNKNOWN_USER}")

        best = before.items[0]
        self._step(f"Find items like “{best.title}”: its neighbours in the space of the retrieval model.")
        self._console.print(similar_table(client.similar_items(best.item_id, _K), f"Like {escape(best.title)}"))

        self._step(f"Explain why “{best.title}” came first: who recalled it, and which history moved its score.")
        print_explanations(self._console, client.explain(first.user_id, [best.item_id], _K))

        self._step(f"User {first.user_id} watches “{best.title}” and rates it 5: the very next answer knows.")
        client.record_events(first.user_id, [best.event(EventType.RATING, rating=5.0)])
        after = client.recommend(first.user_id, _K)
        self._console.print(before_and_after(before, after))
        if best.item_id not in {item.item_id for item in after}:
            self._console.print(f"“{escape(best.title)}” is gone: it has been seen now.")

    def _show_viewer(self, client: Client, viewer: Viewer) -> RecommendationList:
        self._step(f"Recommend to user {viewer.user_id}, who likes {viewer.genre} more than most.")
        history = plain_table("watched last", ">rating")
        for line in recent_history(self._stack.settings, viewer.user_id, 5):
            history.add_row(escape(line.title), f"{line.rating:g}" if line.rating else "")
        self._console.print(history)
        answer = client.recommend(viewer.user_id, _K)
        print_recommendations(self._console, answer, f"For user {viewer.user_id}")
        if not answer.items:
            raise StackError(f"the gateway recommends nothing to user {viewer.user_id}; see {self._home / 'logs'}")
        return answer

    def _step(self, sentence: str) -> None:
        self._step_number += 1
        self._console.print(f"\n[bold cyan]{self._step_number}.[/] [bold]{escape(sentence)}[/]")


def before_and_after(before: RecommendationList, after: RecommendationList) -> Table:
    """Two lists side by side; the last column says how each item of the new list moved."""
    old_place = {item.item_id: place for place, item in enumerate(before)}
    table = plain_table(">#", "before", "after", "moved")
    for place in range(max(len(before), len(after))):
        old = before.items[place] if place < len(before) else None
        new = after.items[place] if place < len(after) else None
        table.add_row(str(place + 1), _title(old), _title(new), _move(new, place, old_place))
    return table


def _title(item: Recommendation | None) -> str:
    return escape(item.title) if item else ""


def _move(item: Recommendation | None, place: int, old_place: dict[int, int]) -> str:
    if item is None:
        return ""
    if item.item_id not in old_place:
        return "[green]new[/]"
    steps = old_place[item.item_id] - place
    return f"up {steps}" if steps > 0 else f"down {-steps}" if steps < 0 else "[dim]same[/]"
