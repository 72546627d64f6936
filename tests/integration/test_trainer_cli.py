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
    # One thread: on a busy machine two wait for each other, many times longer than they work.
    environment = {**os.environ, "RECSTACK_HOME": str(home), "COLUMNS": "160", "OMP_NUM_THREADS": "1"}
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
    assert manifest.models == {"retrieval": "fused", "content": "multimodal"}
    assert manifest.held_rankers == ("dcn", "dien", "ease", "trend", "two_tower")
    assert "trend" in manifest.rankers
    assert set(manifest.rankers) <= set(manifest.held_rankers)
    assert manifest.metrics["dien/validation_auc"] > 0.65
    for model in ("two_tower", "multimodal", "dien", "dcn"):
        run = home / "runs" / "first" / model
        assert (run / "checkpoint.pt").is_file()
        assert (run / "metrics.jsonl").read_text().count("\n") >= 1


def test_half_a_minute_of_training_beats_popularity_at_recall_and_every_baseline_at_ranking(
    home: Path, tmp_path: Path
) -> None:
    done = recstack(
        home, "evaluate", "C1", "T1", "--bundle", "active", "--seeds", "1", "--out", str(tmp_path), *SYNTHETIC
    )
    assert done.returncode == 0, done.stderr
    assert "R@100" in done.stdout
    ranking, retrieval = json.loads((tmp_path / "quality/quality.json").read_text())["protocols"]
    recall = {
        row["name"]: row["metrics"]["recall@100"]["mean"] for row in retrieval["rows"] if row["kind"] != "published"
    }
    ours = next(value for name, value in recall.items() if name.startswith("retrieval of "))
    assert ours > recall["popularity"] + 0.01
    aucs = {row["name"]: row["metrics"]["auc"]["mean"] for row in ranking["rows"]}
    baselines = [aucs[row["name"]] for row in ranking["rows"] if row["kind"] == "baseline"]
    assert next(auc for name, auc in aucs.items() if name.startswith("dien of ")) > max(baselines) + 0.02
    assert "# Quality" in (tmp_path / "quality.md").read_text()


def test_a_bundle_is_not_judged_on_other_data(home: Path, tmp_path: Path) -> None:
    manifest = next((home / "bundles").glob("*/manifest.json"))
    original = manifest.read_text()
    manifest.write_text(json.dumps(json.loads(original) | {"dataset": "ml-1m"}))
    try:
        done = recstack(home, "evaluate", "C1", "--bundle", "active", "--out", str(tmp_path), *SYNTHETIC)
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
        (["train", "dine", *SYNTHETIC], "no model 'dine'; the models are two_tower, multimodal, simple_cf, dien, dcn"),
        (["train", "--preset", "best", *SYNTHETIC], "two_tower has no preset 'best'; its presets are quick, full"),
        (["train", "dien", *SYNTHETIC], "no bundle is active"),
        (["train", "dien", "--factors", "8", *SYNTHETIC], "factors are options of simple_cf, which is not trained"),
        (
            ["evaluate", "C1", "--bundle", "19990101-000000-abcdef", *SYNTHETIC],
            "no bundle '19990101-000000-abcdef'",
        ),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, arguments: list[str], words: str) -> None:
    done = recstack(tmp_path, *arguments)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
