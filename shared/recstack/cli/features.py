"""`recstack features`: the feature store's content."""

from typing import Annotated

import typer

from recstack.cli.connection import load_settings, service_address
from recstack.cli.console import ConsoleReporter, stderr, stdout

app = typer.Typer(no_args_is_help=True, help="The content of the feature store.")


@app.callback()
def group() -> None:
    """The content of the feature store."""


@app.command()
def load(
    version: Annotated[
        str, typer.Argument(metavar="[VERSION]", help="Bundle version; the active one if omitted.")
    ] = "",
) -> None:
    """Load a bundle's users, items and histories into the running feature store.

    Histories are merged with the stored ones: no event that was recorded is lost.
    """
    from recstack.bundle.store import BundleStore
    from recstack.errors import BundleError
    from recstack.local.feature_loading import load_features

    settings = load_settings()
    chosen = version or BundleStore.of(settings).active()
    if not chosen:
        raise BundleError(f"no bundle is active in {settings.bundle_store}; make one with `recstack train`")
    address = service_address("feature-store", settings.feature_store.address)
    store = settings.feature_store.model_copy(update={"address": address})
    counts = load_features(settings.model_copy(update={"feature_store": store}), chosen, ConsoleReporter(stderr()))
    stdout().print(f"Loaded bundle {chosen}: {counts.rows:,} rows and {counts.histories:,} histories.")
