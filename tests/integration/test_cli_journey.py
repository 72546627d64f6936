"""What a newcomer does, by command line, with the real services: up, ask, tell, ask again, down."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from recstack.bundle import BundleStore
from recstack.cli.demo_users import contrasting_viewers
from recstack.data import synthetic_world
from recstack.local import StateFile
from recstack.local.processes import is_alive
from recstack.models.dien import DIEN, DIENConfig
from recstack.models.two_tower import TwoTower, TwoTowerConfig
from services.trainer.publish import Models, publish

USER = "1"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with a bundle of untrained models, and what runs in it stopped at the end."""
    home = tmp_path_factory.mktemp("home")
    torch.manual_seed(0)
    dataset = synthetic_world(seed=1, users=100, items=150, events=4_000)
    count = len(dataset.items.ids)
    two_tower, dien = TwoTower(TwoTowerConfig(num_items=count)), DIEN(DIENConfig(num_items=count))
    store = BundleStore(str(home / "bundles"))
    models = Models(retriever=two_tower.eval(), rankers={"dien": dien.eval()}, weights={"dien": 1.0})
    store.activate(publish(store, dataset, models, {}).version)
    yield home
    recstack(home, "down")


def recstack(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "RECSTACK_HOME": str(home), "COLUMNS": "200"}
    environment.pop("REDIS_URL", None)
    return subprocess.run(
        [sys.executable, "-m", "recstack.cli", *arguments], env=environment, capture_output=True, text=True, check=False
    )


def recommended(home: Path) -> list[int]:
    done = recstack(home, "recommend", USER, "--json", "--timeout", "20")
    assert done.returncode == 0, done.stderr
    return [item["item_id"] for item in json.loads(done.stdout)["items"]]


def test_up_ask_tell_ask_again_down_and_up_again(home: Path) -> None:
    up = recstack(home, "up", "--detach", "--free-ports", "--ranking", "plain")
    assert up.returncode == 0, up.stderr
    assert "loading the features of bundle" in up.stderr
    state = StateFile(home).running()
    assert state is not None
    assert len(state.processes) == 5

    again = recstack(home, "up", "--detach")
    assert again.returncode == 1
    assert again.stderr.startswith("error: the stack is already up: gateway at ")

    status = recstack(home, "status")
    assert status.returncode == 0, status.stdout
    assert status.stdout.count(state.bundle_version) == 2  # retrieval and ranking

    first = recommended(home)
    assert len(first) == 10
    sent = recstack(home, "events", "send", USER, str(first[0]), "--type", "rating", "--rating", "5")
    assert sent.returncode == 0, sent.stderr
    assert first[0] not in recommended(home)
    assert "already_watched" in recstack(home, "explain", USER, str(first[0]), "--timeout", "20").stdout

    assert "The stack is stopped" in recstack(home, "down").stdout
    assert not any(is_alive(process.pid) for process in state.processes)

    up = recstack(home, "up", "--detach", "--free-ports", "--ranking", "plain")
    assert "the features are in Redis already" in up.stderr
    assert first[0] not in recommended(home)  # the event survived
    loaded = recstack(home, "features", "load")
    assert "100 histories" in loaded.stdout, loaded.stderr
    assert first[0] not in recommended(home)  # and the load, which merges


def test_the_demo_shows_two_different_viewers(home: Path) -> None:
    store = BundleStore(str(home / "bundles"))
    first, second = contrasting_viewers(store.open(store.active() or "").folder)
    assert first.user_id != second.user_id
    assert first.genre != second.genre


def test_the_demo_runs_from_start_to_end(home: Path) -> None:
    recstack(home, "down")
    demo = recstack(home, "demo", "--no-train", "--ranking", "plain")
    assert demo.returncode == 0, demo.stderr
    for text in (
        "watched last",
        "cold start",
        "neighbours",
        "what moved the probability most",
        "before",
        "is gone",
        "Next: recstack up",
    ):
        assert text in demo.stdout, text
    assert StateFile(home).read() is None
    assert not (home / "demo-redis").exists()
