"""What a serving process loads: libraries of training, plotting and data stay out of it, and so does their memory."""

import json
import subprocess
import sys

import pytest

HEAVY = {
    "torch",
    "faiss",
    "pyarrow",
    "pandas",
    "scipy",
    "sklearn",
    "matplotlib",
    "PIL",
    "recstack.spans",  # OpenTelemetry; redis-py takes of it what it finds, asked or not
    "ray",
    "triton",
    "rich",
    "typer",
}
SHOW = """
import importlib, json, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps(list(sys.modules)))
"""


@pytest.mark.parametrize(
    ("modules", "needed"),
    [
        (["services.gateway.app", "recstack.rpc.main"], set()),
        (["services.feature_store.app", "recstack.rpc.main"], set()),
        (
            ["services.retrieval.app", "recstack.models.fused_retriever", "recstack.models.multimodal"],
            {"torch", "faiss"},
        ),
        (
            [
                "services.ranking.server",
                *(f"recstack.models.{name}" for name in ("dien_served", "dcn", "ease", "trend", "two_tower_ranker")),
                *(f"recstack.models.{name}" for name in ("multimodal", "simple_cf", "dien_notebook")),
            ],
            {"torch"},
        ),
        (["services.ranking.app"], set()),
    ],
    ids=["gateway", "feature store", "retrieval", "ranking", "ranking, before its engine"],
)
def test_a_service_loads_only_the_heavy_libraries_that_it_needs(modules: list[str], needed: set[str]) -> None:
    command = [sys.executable, "-c", SHOW, *modules]
    loaded = set(
        json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    )
    assert loaded & HEAVY == needed
