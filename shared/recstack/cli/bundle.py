"""`recstack bundle`: model versions and which of them is served."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recstack.cli.connection import load_settings
from recstack.cli.console import stdout
from recstack.cli.tables import plain_table

if TYPE_CHECKING:
    from recstack.bundle.manifest import Manifest
    from recstack.bundle.store import BundleStore

app = typer.Typer(no_args_is_help=True, help="Model versions, and which of them is served.")

VersionArgument = Annotated[str, typer.Argument(metavar="[VERSION]", help="Bundle version; the active one if omitted.")]


@app.command("list")
def list_bundles() -> None:
    """List the published bundles, newest first; * marks the active one. Unreadable ones come last, with the reason."""
    store, console = _store(), stdout()
    published, active = store.published(), store.active()
    if not published.manifests and not published.unreadable:
        console.print(f"No bundles in {store.url}. Make one with [bold]recstack train[/].")
        return
    table = plain_table("", "version", "dataset", "models", ">size")
    for manifest in published.manifests:
        table.add_row(
            "*" if manifest.version == active else "",
            manifest.version,  # it begins with the time of publishing
            manifest.dataset,
            ", ".join([*manifest.models.values(), *manifest.rankers]),
            _size(manifest),
        )
    if published.manifests:
        console.print(table)
    for version, reason in sorted(published.unreadable.items(), reverse=True):
        mark = "* " if version == active else ""
        console.print(f"{mark}{version} cannot be read: {reason}", markup=False, soft_wrap=True)


@app.command()
def show(version: VersionArgument = "") -> None:
    """Show a bundle's origin, models, metrics and files."""
    store, console = _store(), stdout()
    manifest = store.open(version or _active(store)).manifest
    facts = plain_table("bundle", manifest.version)
    facts.add_row("active", "yes" if manifest.version == store.active() else "no")
    facts.add_row("created (UTC)", _created(manifest))
    facts.add_row("dataset", manifest.dataset)
    facts.add_row("models", ", ".join(f"{role}: {name}" for role, name in manifest.models.items()))
    facts.add_row("rankers", " + ".join(f"{name} {weight:.3g}" for name, weight in manifest.rankers.items()))
    facts.add_row("schema", manifest.schema_hash)
    facts.add_row("code", manifest.git_revision)
    console.print(facts)
    metrics = plain_table("metric", ">value")
    for name, value in sorted(manifest.metrics.items()):
        metrics.add_row(name, f"{value:.4g}")
    console.print(metrics)
    files = plain_table("file", ">bytes", "sha256")
    for name, entry in sorted(manifest.files.items()):
        files.add_row(name, f"{entry.size:,}", f"{entry.sha256[:16]}…")
    console.print(files)


@app.command()
def verify(version: VersionArgument = "") -> None:
    """Check every file of a bundle against its checksum, and its feature schema against this program's."""
    store = _store()
    manifest = store.verify(version or _active(store))
    stdout().print(f"Bundle {manifest.version} is complete and intact: {len(manifest.files)} files, {_size(manifest)}.")


@app.command()
def publish(
    folder: Annotated[Path, typer.Argument(help="Folder of a bundle, for example a copy from another store.")],
    activate: Annotated[bool, typer.Option("--activate", help="Serve it at once.")] = False,
) -> None:
    """Publish a bundle folder into this store under a new version."""
    from recstack.bundle.bundle import Bundle

    bundle, store = Bundle.open(folder), _store()
    bundle.verify()
    origin = bundle.manifest
    manifest = store.publish(
        folder, dataset=origin.dataset, models=origin.models, rankers=origin.rankers, metrics=origin.metrics
    )
    if activate:
        store.activate(manifest.version)
    state = "and active" if activate else f"serve it with: recstack bundle activate {manifest.version}"
    stdout().print(f"Bundle {manifest.version} is published in {store.url}; {state}.")


@app.command("activate")
def activate_bundle(version: Annotated[str, typer.Argument(metavar="VERSION", help="Bundle version.")]) -> None:
    """Verify a bundle and serve it; running services swap without losing a request."""
    manifest = _store().activate(version)
    stdout().print(f"Bundle {manifest.version} is active. Running services swap within seconds: recstack status")


@app.command()
def rollback() -> None:
    """Serve again the bundle that was active before."""
    manifest = _store().rollback()
    stdout().print(f"Rolled back: bundle {manifest.version} is active again.")


def _store() -> "BundleStore":
    from recstack.bundle.store import BundleStore

    settings = load_settings()
    return BundleStore.of(settings)


def _active(store: "BundleStore") -> str:
    from recstack.errors import BundleError

    version = store.active()
    if version is None:
        raise BundleError(f"no bundle is active in {store.url}; make one with `recstack train`, or name a version")
    return version


def _created(manifest: "Manifest") -> str:
    return datetime.fromtimestamp(manifest.created_at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def _size(manifest: "Manifest") -> str:
    return f"{sum(entry.size for entry in manifest.files.values()) / 1e6:.1f} MB"
