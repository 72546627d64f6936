"""A replica of a Ray cluster, without the cluster: when it counts as started."""

import asyncio
from pathlib import Path

from recstack.bundle import BundleStore
from recstack.config import BundleSettings, Settings
from services.ranking.serve_app import ClusterReplica
from tests.helpers.ranking_bundles import publish_bundle, rank_request


class Replica(ClusterReplica):
    """Ended by the test; Serve would await `__del__`."""

    async def stop(self) -> None:
        """As Serve ends it."""
        await ClusterReplica.__del__(self)

    def __del__(self) -> None:
        """Nothing is left to do."""


class Context:
    """What Serve gives with a call."""

    def invocation_metadata(self) -> list[tuple[str, str]]:
        """The caller's."""
        return []


async def test_it_has_started_once_it_has_a_bundle(tmp_path: Path) -> None:
    """Otherwise KubeRay would move callers to a cluster that cannot answer, and remove the one that does."""
    store = BundleStore(str(tmp_path / "bundles"))
    settings = Settings(home=tmp_path, bundle=BundleSettings(store=store.url, poll_seconds=0.05))
    replica = object.__new__(Replica)  # Serve, too, makes it and then awaits __init__
    starting = asyncio.ensure_future(replica.__init__(settings.model_dump(mode="json")))  # type: ignore[misc]
    done, _ = await asyncio.wait({starting}, timeout=0.5)
    assert not done
    version = publish_bundle(store, tmp_path / "work")
    await asyncio.wait_for(starting, 60)
    try:
        assert (await replica.Rank(rank_request(), Context())).bundle_version == version
    finally:
        await replica.stop()
