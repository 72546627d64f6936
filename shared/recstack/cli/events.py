"""`recstack events`: tell the stack what users did."""

from dataclasses import replace
from typing import Annotated

import typer

from recstack import Event, EventType, InvalidRequestError
from recstack.cli.connection import GatewayOption, TimeoutOption, connect
from recstack.cli.console import stdout
from recstack.cli.recommend import UserArgument

app = typer.Typer(no_args_is_help=True, help="Tell the stack what users did.")


@app.callback()
def group() -> None:
    """Tell the stack what users did."""


@app.command()
def send(
    user: UserArgument,
    item: Annotated[int, typer.Argument(min=1, metavar="ITEM", help="Item that the user acted on.")],
    kind: Annotated[EventType, typer.Option("--type", help="What the user did.")] = EventType.WATCH,
    rating: Annotated[float | None, typer.Option(min=1, max=5, help="1 to 5, with --type rating.")] = None,
    event_id: Annotated[str, typer.Option(help="Unique id; sending it again changes nothing.")] = "",
    channel: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Channel that had recalled the item; may be repeated.")
    ] = None,
    arm: Annotated[str, typer.Option(metavar="NAME", help="Arm of the answer that the item came in.")] = "",
    gateway: GatewayOption = "",
    timeout: TimeoutOption = 1.0,
) -> None:
    """Record one event; the user's next recommendations take it into account.

    For example: recstack events send 42 1193 --type rating --rating 5

    Channels and the arm, as `recstack recommend --json` tells them, make the event count in click rates.
    """
    if (kind is EventType.RATING) != (rating is not None):
        raise InvalidRequestError(
            f"--type {kind} with rating {rating}; give --rating with --type rating, and only with it"
        )
    names = tuple(name.replace("-", "_") for name in channel or ())
    event = Event(item_id=item, type=kind, rating=rating, channels=names, arm=arm)
    if event_id:
        event = replace(event, event_id=event_id)
    with connect(gateway, timeout) as client:
        (written,) = client.record_events(user, [event])
    what = "Recorded" if written else "Known already, nothing changed"
    stdout().print(f"{what}: {kind} of item {item} by user {user} (event {event.event_id}).", markup=False)
