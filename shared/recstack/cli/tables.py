"""Answers of the gateway as tables for people."""

from collections.abc import Iterable, Sequence
from typing import Literal

from rich import box
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from recstack.client.types import (
    Explanation,
    Explanations,
    Recommendation,
    RecommendationList,
    ScoreKind,
    SimilarItems,
    StageTiming,
)

_BAR_CELLS = 8
_WORTH_SHOWING_MS = 0.1
_SCORE_NAMES = {
    ScoreKind.UNSPECIFIED: "score",
    ScoreKind.LIKE_PROBABILITY: "probability",
    ScoreKind.RATING: "rating",
}


def plain_table(*columns: str, title: str = "") -> Table:
    """A table with a header line and no frame. A column name that starts with ">" is right-aligned.

    What does not fit is folded, never cut: versions and addresses are there to be copied.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title or None, title_justify="left", title_style="bold")
    for column in columns:
        justify: Literal["left", "right"] = "right" if column.startswith(">") else "left"
        table.add_column(column.removeprefix(">"), justify=justify, overflow="fold")
    return table


def recommendation_table(items: Iterable[Recommendation], kind: ScoreKind, title: str = "") -> Table:
    """Rank, item, title, year, genres, channels and score (of the given kind) of each item."""
    table = plain_table(">#", ">item", "title", ">year", "genres", "recalled by", f">{_SCORE_NAMES[kind]}", title=title)
    for position, item in enumerate(items, start=1):
        table.add_row(
            str(position),
            str(item.item_id),
            escape(item.title),
            str(item.year or ""),
            escape(", ".join(item.genres)),
            _channels(item.channels),
            f"{item.score:.3f}",
        )
    return table


def print_recommendations(console: Console, answer: RecommendationList, title: str) -> None:
    """The items, then what there is to know about the answer."""
    if answer.items:
        console.print(recommendation_table(answer.items, answer.score_kind, title))
    else:
        console.print(f"[bold]{escape(title)}[/]: nothing qualifies. Loosen the restrictions, or add --allow-seen.")
    if answer.cold_start:
        console.print("[yellow]cold start[/]: this user has neither profile nor history, so these suit anybody")
    print_degraded(console, answer.degraded)
    if answer.timings:
        console.print(stage_times(answer.timings))
    version = ", ".join(sorted(set(answer.bundle_versions.values()))) or "none"
    arm = f" · arm {escape(answer.arm)}" if answer.arm not in ("", *answer.bundle_versions.values()) else ""
    console.print(
        f"[dim]{answer.candidates} candidates · bundle {version}{arm} · request {escape(answer.request_id)}[/]"
    )


def similar_table(answer: SimilarItems, title: str) -> Table:
    """Rank, item, title, year, genres and similarity of each neighbour."""
    table = plain_table(">#", ">item", "title", ">year", "genres", ">similarity", title=title)
    for position, item in enumerate(answer.items, start=1):
        genres, similarity = escape(", ".join(item.genres)), f"{item.similarity:.3f}"
        table.add_row(str(position), str(item.item_id), escape(item.title), str(item.year or ""), genres, similarity)
    return table


def print_explanations(console: Console, answer: Explanations) -> None:
    """One paragraph per item: verdict, channels, and the history that moved the score most."""
    for item in answer.items:
        console.print(_explanation(item, _SCORE_NAMES[answer.score_kind]))
        console.print()
    print_degraded(console, answer.degraded)


def print_degraded(console: Console, reasons: Sequence[str]) -> None:
    """One line for each thing that was answered in a lesser way."""
    for reason in reasons:
        console.print(f"[yellow]degraded[/]: {escape(reason)}")


def stage_times(timings: Sequence[StageTiming]) -> RenderableType:
    """One line: the total, and each stage with its milliseconds and a bar in proportion to the slowest."""
    stages = [timing for timing in timings if "/" not in timing.stage and timing.stage != "total"]
    stages = [timing for timing in stages if timing.duration_ms >= _WORTH_SHOWING_MS]
    total = next((timing.duration_ms for timing in timings if timing.stage == "total"), None)
    slowest = max((timing.duration_ms for timing in stages), default=0.0) or 1.0
    line = Text(f"{total:.1f} ms in all" if total is not None else "stages, ms", style="bold")
    for timing in stages:
        cells = round(_BAR_CELLS * timing.duration_ms / slowest)
        line.append(f"  {timing.stage} {timing.duration_ms:.1f}", style="not bold")
        line.append(" " + "▇" * cells if cells else "", style="cyan")
    return line


def _explanation(item: Explanation, score_name: str) -> RenderableType:
    parts: list[RenderableType] = [
        f"[bold]{escape(item.title) or 'item'}[/] ({item.item_id}): {_verdict(item, score_name)}"
    ]
    for seen in item.channels:
        seed = f", as a neighbour of item {seen.seed_item_id}" if seen.seed_item_id else ""
        parts.append(f"  recalled by {_channels([seen.channel])} at rank {seen.rank} (score {seen.score:.3f}){seed}")
    if item.influences:
        table = plain_table(f"  what moved the {score_name} most", ">effect", ">rated")
        for event in item.influences:
            title = escape(event.title) or str(event.item_id)
            effect = f"[{'green' if event.influence > 0 else 'red'}]{event.influence:+.3f}[/]"
            table.add_row(f"  {title}", effect, f"{event.rating:g}" if event.rating else "")
        parts.append(table)
    return Group(*parts)


def _verdict(item: Explanation, score_name: str) -> str:
    rank = f", rank {item.score_rank} by score" if item.score_rank else ""
    if item.position:
        return f"[green]recommended at position {item.position}[/]; {score_name} {item.score:.3f}{rank}"
    reason = f"dropped: {escape(item.drop_reason)}" if item.drop_reason else "recalled, but not among the best"
    return f"[red]not recommended[/], {reason}; {score_name} {item.score:.3f}{rank}"


def _channels(channels: Iterable[str]) -> str:
    return ", ".join(channel.replace("_", "-") for channel in channels)
