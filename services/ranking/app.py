"""Wiring of the ranking service: which engine serves it. Each engine is imported only when it is used."""

import os

from recstack.config import Settings
from services.ranking.ray_environment import ray_environment, temporary_path


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, on the engine that the settings name."""
    if settings.ranking.engine == "plain":
        from services.ranking.server import serve_until_signal as serve_plain

        await serve_plain(settings)
        return
    temp_dir = temporary_path()
    for name, value in ray_environment(settings.ranking, temp_dir).items():
        os.environ.setdefault(name, value)
    from services.ranking.serve_app import serve_until_signal as serve_on_ray

    await serve_on_ray(settings, temp_dir)
