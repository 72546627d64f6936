"""`recstack train` and `recstack evaluate` as a newcomer runs them, on the invented world."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from recstack.bundle import BundleStore

SYNTHETIC = ["--dataset", "synthetic"]


def recstack(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "RECSTACK_HOME": str(home), "COLUMNS": "160"}
    command = [sys.executable, "-m", "recstack.cli", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    done = recstack(home, "train", "--preset", "quick", "--run", "first", *SYNTHETIC)
    assert done.returncode == 0, done.stderr
    assert "an invented world" in done.stdout
    assert "It is active" in done.stdout
    return home


def test_training_publishes_a_bundle_that_verifies_and_keeps_its_run(home: Path) -> None:
    store = BundleStore(str(home / "bundles"))
    manifest = store.verify(store.active() or "")
    assert manifest.dataset == "synthetic"
    assert manifest.models == {"retrieval": "two_tower", "ranking": "dien"}
    assert manifest.metrics["ranking/validation_auc"] > 0.65
    for task in ("retrieval", "ranking"):
        run = home / "runs" / "first" / task
        assert (run / "checkpoint.pt").is_file()
        assert (run / "metrics.jsonl").read_text().count("\n") >= 1


def test_half_a_minute_of_training_beats_popularity_at_recall_and_every_baseline_at_ranking(
    home: Path, tmp_path: Path
) -> None:
    done = recstack(home, "evaluate", "--out", str(tmp_path), *SYNTHETIC)
    assert done.returncode == 0, done.stderr
    assert "R@100" in done.stdout
    retrieval, ranking = json.loads((tmp_path / "evaluation.json").read_text())["sections"]
    recall = {row["name"]: row["recall_at_100"] for row in retrieval["rows"]}
    assert recall["two-tower"] > recall["popularity"] + 0.01
    ours, *baselines = ranking["rows"]
    assert ours["auc"] > max(row["auc"] for row in baselines) + 0.05
    assert "| DIEN |" in (tmp_path / "evaluation.md").read_text()


def test_a_bundle_is_not_judged_on_other_data(home: Path, tmp_path: Path) -> None:
    manifest = next((home / "bundles").glob("*/manifest.json"))
    original = manifest.read_text()
    manifest.write_text(json.dumps(json.loads(original) | {"dataset": "ml-1m"}))
    try:
        done = recstack(home, "evaluate", "--out", str(tmp_path), *SYNTHETIC)
    finally:
        manifest.write_text(original)
    assert done.returncode == 1
    assert done.stderr.startswith("error: bundle ")
    assert "was trained on ml-1m, the data given is synthetic" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--dataset", "netflix"], "expected one of auto, ml-1m, synthetic"),
        (["train", "--data-path", "/does/not/exist"], "cannot read /does/not/exist/users.dat"),
        (["evaluate", "19990101-000000-abcdef", *SYNTHETIC], "no bundle '19990101-000000-abcdef'"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, arguments: list[str], words: str) -> None:
    done = recstack(tmp_path, *arguments)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
