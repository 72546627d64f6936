"""`recstack recommend`, `similar` and `explain`: questions to the gateway."""

import dataclasses
import json
from typing import Annotated, Any

import typer

from recstack import Filter
from recstack.cli.connection import GatewayOption, JsonOption, TimeoutOption, connect
from recstack.cli.console import stdout
from recstack.cli.tables import print_degraded, print_explanations, print_recommendations, similar_table

UserArgument = Annotated[int, typer.Argument(min=0, metavar="USER", help="User id; an unknown one is a new user.")]
CountOption = Annotated[int, typer.Option("-k", "--count", min=1, help="Number of items.")]
GenreOption = Annotated[
    list[str] | None, typer.Option("--genre", metavar="NAME", help="Keep items of this genre; may be repeated.")
]
NotGenreOption = Annotated[
    list[str] | None, typer.Option("--not-genre", metavar="NAME", help="Drop items of this genre; may be repeated.")
]
MinYearOption = Annotated[int | None, typer.Option("--min-year", min=1, help="Earliest release year.")]
MaxYearOption = Annotated[int | None, typer.Option("--max-year", min=1, help="Latest release year.")]


def recommend(
    user: UserArgument,
    count: CountOption = 10,
    genre: GenreOption = None,
    not_genre: NotGenreOption = None,
    min_year: MinYearOption = None,
    max_year: MaxYearOption = None,
    allow_seen: Annotated[bool, typer.Option("--allow-seen", help="Also what the user has seen.")] = False,
    as_json: JsonOption = False,
    gateway: GatewayOption = "",
    timeout: TimeoutOption = 1.0,
) -> None:
    """Recommend items to a user.

    For example: recstack recommend 42 -k 5 --genre Comedy --min-year 1990
    """
    restrictions = Filter(
        include_genres=tuple(genre or ()),
        exclude_genres=tuple(not_genre or ()),
        min_year=min_year,
        max_year=max_year,
        allow_seen=allow_seen,
    )
    with connect(gateway, timeout) as client:
        answer = client.recommend(user, count, filter=restrictions)
    if as_json:
        print_json(answer)
    else:
        print_recommendations(stdout(), answer, f"For user {user}")


def similar(
    item: Annotated[int, typer.Argument(min=1, metavar="ITEM", help="Item id.")],
    count: CountOption = 10,
    as_json: JsonOption = False,
    gateway: GatewayOption = "",
    timeout: TimeoutOption = 1.0,
) -> None:
    """Show the items that are most like one item."""
    with connect(gateway, timeout) as client:
        answer = client.similar_items(item, count)
    if as_json:
        print_json(answer)
        return
    console = stdout()
    console.print(similar_table(answer, f"Like item {item}"))
    print_degraded(console, answer.degraded)


def explain(
    user: UserArgument,
    items: Annotated[list[int], typer.Argument(min=1, metavar="ITEM...", help="Ids of the items to explain.")],
    count: Annotated[int, typer.Option("-k", "--count", min=1, help="Size of the list they would be in.")] = 10,
    as_json: JsonOption = False,
    gateway: GatewayOption = "",
    timeout: TimeoutOption = 2.0,
) -> None:
    """Tell why items are, or are not, recommended to a user."""
    with connect(gateway, timeout) as client:
        answer = client.explain(user, items, count)
    if as_json:
        print_json(answer)
    else:
        print_explanations(stdout(), answer)


def print_json(answer: Any) -> None:
    """A client's answer as JSON, field names as in `recstack`'s types."""
    typer.echo(json.dumps(dataclasses.asdict(answer), indent=2, ensure_ascii=False))
